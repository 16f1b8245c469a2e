"""A process that drains the topic of the settings with the product's own loop, to be run twice at once, or killed.

It does what a run of the job does, without Dagster, whose start would take longer than the work.

    python -m lakehouse_tests.faults.driver [--at STEP --batch NUMBER --signal KILL]

Says ``commit`` on a line of its own after every batch. With ``--at`` it sends itself a signal when the batch of that
number (from 1) has done that step: KILL ends it as a power cut would, STOP freezes it until it is sent CONT.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.adapters.kafka.client import describe_topic, open_admin, open_consumer
from lakehouse.adapters.kafka.drain import Limits, drain
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.ledger.writer import LedgeredWriter
from lakehouse.settings import load


def main() -> None:
    """Drain until the topic is empty."""
    # What a shell starts in the background ignores Ctrl-C, and what that starts as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser()
    parser.add_argument("--at")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--signal", choices=["KILL", "STOP"], default="KILL")
    arguments = parser.parse_args()
    commits = 0

    def on_step(step: str) -> None:
        if step == arguments.at and commits + 1 == arguments.batch:
            os.kill(os.getpid(), signal.Signals[f"SIG{arguments.signal}"])

    settings = load()
    topic = settings.kafka_topic
    state = describe_topic(open_admin(settings), topic)
    assert state is not None
    writer = LedgeredWriter(connect(settings), SERVICE_EVENT, topic, run_id=f"driver-{os.getpid()}", on_step=on_step)
    limits = Limits(settings.batch_size, settings.flush_interval_sec, settings.drain_idle_sec, settings.drain_max_sec)
    batches = drain(open_consumer(settings), topic, state.topic_id, writer.start(state), limits)
    for _ in writer.append_all(batches):
        commits += 1
        sys.stdout.write("commit\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
