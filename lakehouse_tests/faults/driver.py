"""A process that drains the topic of the settings with the product's own loop, to be run twice at once, or killed.

    python -m lakehouse_tests.faults.driver [--die-at STEP --batch NUMBER]

Says ``commit`` on a line of its own after every batch. With ``--die-at`` it kills itself, as a power cut would, when
the batch of that number (from 1) has done that step.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.adapters.kafka.resource import KafkaResource
from lakehouse.domains.pgr.bronze import FEED
from lakehouse.ledger.writer import LedgeredWriter
from lakehouse.settings import load


def main() -> None:
    """Drain until the topic is empty."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--die-at")
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    commits = 0

    def on_step(step: str) -> None:
        if step == arguments.die_at and commits + 1 == arguments.batch:
            os.kill(os.getpid(), signal.SIGKILL)

    kafka, topic = KafkaResource(), FEED.topic_name
    state = kafka.topic(topic)
    assert state is not None
    writer = LedgeredWriter(connect(load()), FEED.contract, topic, run_id=f"driver-{os.getpid()}", on_step=on_step)
    for batch in kafka.drain(topic, state.topic_id, writer.start(state)):
        writer.append(batch)
        commits += 1
        sys.stdout.write("commit\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
