"""Sending generated events to Kafka with a progress bar, as the command line and the demo do it."""

from __future__ import annotations

from rich.console import Console

from lakehouse.domains.pgr.source import Shares, service_events
from lakehouse.progress import counting
from lakehouse.settings import Settings


def produce_service_events(
    settings: Settings,
    console: Console,
    count: int,
    *,
    seed: int,
    shares: Shares,
    days: float = 14.0,
    rate: float | None = None,
) -> int:
    """Send grievance events; the topic is made first where it is missing.

    Args:
        settings: Where Kafka is, and the topic's name.
        console: For the bar.
        count: Number of messages, broken and repeated ones included.
        seed: The same seed makes the same cases.
        shares: How many are not as they should be.
        days: Days over which the cases are submitted, up to now.
        rate: Messages a second; None: as fast as it goes.

    Returns:
        Number of messages that Kafka acknowledged.

    Raises:
        LakehouseError: the brokers refuse or do not answer.
    """
    from lakehouse.adapters.kafka.produce import send
    from lakehouse.domains.feeds import ensure_topics

    ensure_topics(settings)
    messages = service_events(count, seed=seed, days=days, shares=shares)
    with counting(console, f"Sending events to {settings.kafka_topic}", count) as advance:
        return send(settings, settings.kafka_topic, messages, rate=rate, on_sent=advance)
