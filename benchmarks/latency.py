"""From produced to visible at 1,000 events a second while a run is draining.

The draining run is the product's own loop with the default settings, in a process of its own; the producer is another.
A reader asks the catalog for a new snapshot every 50 ms; once the run has ended, the event ids of the files that each
snapshot added are joined with the producer's log. An event's latency ends when the reader has *seen* the snapshot.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.manifest import ManifestEntryStatus
from pyiceberg.table import Table
from rich.console import Console

from benchmarks import report
from benchmarks.events import PARTITIONS, Produced
from benchmarks.lab import Lab, bars, machine, open_lab
from benchmarks.measure import Sample, judge, quantiles, run_child
from lakehouse.adapters.kafka.client import ensure_topic
from lakehouse.naming import Domain, Topic

POLL_SECONDS = 0.05
AIMS = {"p50": 8.0, "p99": 20.0}


class Watcher:
    """Notes when each snapshot of a table was first seen by a reader."""

    def __init__(self, table: Table) -> None:
        """Nothing has been seen yet."""
        self.table = table
        self.seen: dict[int, float] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._end.wait(POLL_SECONDS)
            self.table.refresh()
            now = time.time()
            for snapshot in self.table.snapshots():
                self.seen.setdefault(snapshot.snapshot_id, now)

    def visible(self) -> pa.Table:
        """Event ids and the time at which each was first seen to be there."""
        parts = []
        for snapshot in self.table.snapshots():
            for path in _added_files(self.table, snapshot.snapshot_id):
                ids = pq.read_table(path.removeprefix("file://"), columns=["event_id"])["event_id"]
                seen = pa.repeat(self.seen[snapshot.snapshot_id], len(ids))
                parts.append(pa.table({"event_id": ids, "seen": seen}))
        return pa.concat_tables(parts)


def _added_files(table: Table, snapshot_id: int) -> list[str]:
    snapshot = table.snapshot_by_id(snapshot_id)
    assert snapshot is not None
    return [
        entry.data_file.file_path
        for manifest in snapshot.manifests(table.io)
        if manifest.added_snapshot_id == snapshot_id
        for entry in manifest.fetch_manifest_entry(table.io)
        if entry.status == ManifestEntryStatus.ADDED
    ]


def run(rate: int, seconds: int, *, running: bool, console: Console) -> Sample:
    """The whole benchmark."""
    started = machine()
    with open_lab(console, running=running) as lab, bars(console) as progress:
        topic, table = lab.topic("bench-latency"), lab.table("bench_latency")
        ensure_topic(lab.admin, Topic(topic, Domain.PGR, "entity_id", PARTITIONS, retention_hours=24))
        log = lab.folder / "sent"
        results: dict[str, Sample] = {}

        def child(name: str, arguments: list[str]) -> Callable[[], None]:
            task = progress.add_task(name, total=rate * seconds)

            def work() -> None:
                results[name] = run_child(lab, arguments, lambda rows: progress.update(task, completed=rows), tag=name)

            return work

        drainer = threading.Thread(
            target=child("landed", ["benchmarks.worker", topic, table, "--until-idle"]), name="drainer"
        )
        sender = child("sent", ["benchmarks.sender", topic, str(rate), str(seconds), str(log)])
        with Watcher(lab.catalog.load_table(("bronze", table))) as watcher:
            drainer.start()
            time.sleep(_settle(lab))
            sender()
            drainer.join()
        latencies = _join(watcher.visible(), log)
        verdict = judge(lab, table, Produced(topic, rate * seconds, 0, 0.0, _ids(log), log))
        settings = lab.settings
        limits = {name: getattr(settings, name) for name in ("batch_size", "flush_interval_sec", "drain_idle_sec")}
    landed = results["landed"]
    return {
        "benchmark": "latency",
        "machine": started,
        "method": " ".join((__doc__ or "").split()) + " CPU of Kafka includes taking the events from the producer.",
        "rate": rate,
        "seconds": seconds,
        "settings": limits,
        "latency_seconds": latencies,
        "verdict": verdict,
        "worker": {name: landed[name] for name in ("rows", "commits", "seconds", "cpu", "cpu_seconds", "peak_mb")},
        "aims": [
            {"aim": f"{name} at most {bound:g} s", "measured": latencies[name], "met": latencies[name] <= bound}
            for name, bound in AIMS.items()
        ]
        + [{"aim": "every event visible once", "measured": verdict["exact"], "met": verdict["exact"]}],
    }


def _settle(lab: Lab) -> float:
    """Seconds until the run is up and waits for records; well below the idle time that would end it."""
    return min(5.0, lab.settings.drain_idle_sec / 2)


def _ids(log: Path) -> Path:
    ids = log.with_suffix(".ids")
    ids.write_text("".join(line.split()[0] + "\n" for line in log.read_text().splitlines()))
    return ids


def _join(visible: pa.Table, log: Path) -> dict[str, float]:
    lines = [line.split() for line in log.read_text().splitlines()]
    sent = pa.table(
        {"event_id": [line[0] for line in lines], "sent": pa.array([float(line[1]) for line in lines], pa.float64())}
    )
    joined = visible.join(sent, "event_id", join_type="inner")
    latency = pc.subtract(joined["seen"], joined["sent"])
    return quantiles(latency)


def main() -> None:
    """Read the flags, run, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=1_000, help="events a second (default: 1,000)")
    parser.add_argument("--seconds", type=int, default=90, help="how long they are produced (default: 90)")
    parser.add_argument("--running", action="store_true", help="use the running stack instead of one of its own")
    parser.add_argument("--name", default="latency", help="name of the result file (default: latency)")
    arguments = parser.parse_args()
    console = Console()
    result = run(arguments.rate, arguments.seconds, running=arguments.running, console=console)
    report.publish(arguments.name, result, console)


if __name__ == "__main__":
    main()
