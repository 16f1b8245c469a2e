"""What the service counts, for Prometheus."""

from __future__ import annotations

from contextlib import AbstractContextManager

from prometheus_client import Counter, Gauge, Histogram

ACCEPTED = Counter("lakehouse_events_accepted", "Events that all replicas of the topic have.")
REFUSED = Counter("lakehouse_events_refused", "Events that are not as they should be.")
LISTENERS = Gauge("lakehouse_live_listeners", "Streams of the live page that are open.")
_SECONDS = Histogram(
    "lakehouse_ingest_seconds",
    "Time from a request for ingestion to its answer, failed ones included.",
    ["kind"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
_BY_KIND = {kind: _SECONDS.labels(kind) for kind in ("event", "batch")}


def timed(kind: str) -> AbstractContextManager[object]:
    """Measures how long a request of a kind takes, `event` or `batch`."""
    return _BY_KIND[kind].time()
