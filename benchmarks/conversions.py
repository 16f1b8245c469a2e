"""Conversions for the benchmarks: what the product's generator makes, some of them cut off, and files that say which.

The ids go to files before the messages are sent; `judge.py` holds the tables against these files.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from lakehouse.adapters.kafka.client import ensure_topic, open_admin
from lakehouse.adapters.kafka.produce import send
from lakehouse.domains.conversions.source import conversion_events
from lakehouse.domains.disorder import Message, Shares
from lakehouse.naming import CONVERSIONS_TOPIC, Topic
from lakehouse.settings import Settings

DUPLICATE, BROKEN = 0.01, 0.001
"""Shares of the messages."""


@dataclass(frozen=True)
class Stream:
    """What lies in a topic, and the files of ids that say so."""

    topic: Topic
    count: int
    mean_bytes: float
    counts: dict[str, int]
    ids: Path
    """Of events that must become rows."""
    repeats: Path
    """Of messages that repeat one of these."""
    broken: Path
    """Keys of messages that no contract accepts."""


def produce(settings: Settings, name: str, count: int, folder: Path, on_sent: Callable[[int], None]) -> Stream:
    """Create a topic and fill it through the product's producer."""
    topic = replace(CONVERSIONS_TOPIC, name=name)
    ensure_topic(open_admin(settings), topic)
    paths = {kind: folder / f"{name}.{kind}" for kind in ("ids", "repeats", "broken")}
    counts = dict.fromkeys(paths, 0)
    size = 0
    with ExitStack() as stack:
        files = {kind: stack.enter_context(path.open("w")) for kind, path in paths.items()}

        def messages() -> Iterator[Message]:
            nonlocal size
            for kind, (key, value) in _judged(count):
                files[kind].write(f"{(key or b'').decode()}\n")
                counts[kind] += 1
                size += len(value or b"")
                yield key, value

        send(settings, name, messages(), on_sent=on_sent)
    return Stream(topic, count, round(size / max(count, 1), 1), counts, **paths)


def _judged(count: int) -> Iterator[tuple[str, Message]]:
    """Messages, and what must become of each."""
    chance = random.Random(1)  # noqa: S311
    seen: set[bytes | None] = set()
    for key, value in conversion_events(count, seed=1, shares=Shares(duplicate=DUPLICATE)):
        if chance.random() < BROKEN:
            yield "broken", (key, (value or b"")[: len(value or b"") // 2])
        elif key in seen:
            yield "repeats", (key, value)
        else:
            seen.add(key)
            yield "ids", (key, value)
