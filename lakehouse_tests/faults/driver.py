"""A process that drains the topic of the settings with the product's own loop, to be run twice at once, or harmed.

It does what a run of the job does, without Dagster, whose start would take longer than the work.

    python -m lakehouse_tests.faults.driver [--at STEP --batch NUMBER --then KILL] [--full DISK] [--gone TABLE]

Says ``commit`` on a line of its own after every batch. With ``--at`` something happens when a batch has come to that
step of `failpoints.STEPS` for the time of that number (from 1): KILL ends the process as a power cut would, STOP
freezes it until it is sent CONT, UNKNOWN loses what the catalog answered. After the commits before that number there is
no space for what ``--full`` names (see `failpoints.DISKS`), and the files that ``--gone`` names do not answer.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitStateUnknownException

from lakehouse.adapters.batch import Batch
from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.adapters.kafka.client import describe_topic, open_admin, open_consumer
from lakehouse.adapters.kafka.drain import Limits, drain
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.ledger.writer import LedgeredWriter
from lakehouse.settings import Settings, load
from lakehouse_tests.failpoints import DISKS, STEPS, OnStep, WatchedFileIO, watched


def main() -> None:
    """Drain until the topic is empty."""
    # What a shell starts in the background ignores Ctrl-C, and what that starts as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser()
    parser.add_argument("--at", choices=STEPS)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--then", choices=["KILL", "STOP", "UNKNOWN"], default="KILL")
    parser.add_argument("--full", choices=DISKS)
    parser.add_argument("--gone")
    arguments = parser.parse_args()
    reached: Counter[str] = Counter()

    def on_step(step: str) -> None:
        reached[step] += 1
        if reached["after the swap"] == arguments.batch - 1:
            WatchedFileIO.full = arguments.full
            WatchedFileIO.gone = arguments.gone
        if step == arguments.at and reached[step] == arguments.batch:
            if arguments.then == "UNKNOWN":
                raise CommitStateUnknownException("the catalog did not answer in time")
            os.kill(os.getpid(), signal.Signals[f"SIG{arguments.then}"])

    settings = load()
    catalog = connect(settings)
    assert isinstance(catalog, SqlCatalog)
    with watched(catalog, on_step):
        for _ in drain_topic(settings, catalog, on_step):
            sys.stdout.write("commit\n")
            sys.stdout.flush()


def drain_topic(settings: Settings, catalog: Catalog, on_step: OnStep = lambda step: None) -> Iterator[None]:
    """Land the topic of the settings, batch by batch."""
    topic = settings.kafka_topic
    state = describe_topic(open_admin(settings), topic)
    assert state is not None
    writer = LedgeredWriter(catalog, SERVICE_EVENT, topic, run_id=f"driver-{os.getpid()}")
    limits = Limits(settings.batch_size, settings.flush_interval_sec, settings.drain_idle_sec, settings.drain_max_sec)
    start = writer.start(state)

    def poll() -> Iterator[Batch]:
        with closing(open_consumer(settings)) as consumer:
            for batch in drain(consumer, topic, state.topic_id, start, limits):
                on_step("after poll")
                yield batch

    for _ in writer.append_all(poll()):
        on_step("before reporting")
        yield


if __name__ == "__main__":
    main()
