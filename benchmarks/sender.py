"""A producer of its own at a fixed rate, which writes down each id and the moment it was handed to the client."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from benchmarks.child import Child
from benchmarks.events import events
from lakehouse import settings as settings_module
from lakehouse.adapters.kafka.produce import send


def _messages(count: int, log: TextIO, child: Child) -> Iterator[tuple[bytes, bytes]]:
    for number, event in enumerate(events(count, seed=1), start=1):
        log.write(f"{event.event_id} {time.time():.6f}\n")
        if number % 1000 == 0:
            child.progress(number)
        yield event.key, event.value


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("topic")
    parser.add_argument("rate", type=int)
    parser.add_argument("seconds", type=int)
    parser.add_argument("log", type=Path)
    arguments = parser.parse_args()
    settings = settings_module.load()
    total = arguments.rate * arguments.seconds
    speaker = Child()
    with arguments.log.open("w") as file:
        send(settings, arguments.topic, _messages(total, file, speaker), rate=arguments.rate)
    speaker.done(total, 0)
