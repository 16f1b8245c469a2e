"""Generated messages as they come in real life: some late, some twice, some broken. The same for every domain."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Message = tuple[bytes | None, bytes | None]
"""Key and value."""


@dataclass(frozen=True)
class Shares:
    """How many of the messages are not as they should be, each 0 to 1."""

    late: float = 0.0
    """Sent long after their event time, when newer events have been sent."""
    duplicate: float = 0.0
    """Sent a second time."""
    malformed: float = 0.0
    """Rubbish instead of an event."""


def in_disorder(
    events: Iterator[Message],
    rubbish: Callable[[random.Random, Message], Message],
    chance: random.Random,
    count: int,
    shares: Shares,
) -> Iterator[Message]:
    """Messages in the order in which they are sent.

    Args:
        events: Good ones by event time, without end.
        rubbish: Makes a broken one of a good one.
        chance: Where all decisions come from.
        count: Number of messages, the broken and repeated ones included.
        shares: What goes wrong.
    """
    held: list[tuple[int, Message]] = []
    for sent in range(count):
        if held and held[0][0] <= sent:
            yield heapq.heappop(held)[1]
        elif chance.random() < shares.malformed:
            yield rubbish(chance, next(events))
        else:
            message = next(events)
            if chance.random() < shares.duplicate:
                heapq.heappush(held, (sent + 1 + chance.randrange(1 + count // 10), message))
            if chance.random() < shares.late:
                heapq.heappush(held, (sent + count // 20 + chance.randrange(1 + count // 10), message))
                message = next(events)
            yield message


def weighted(chance: random.Random, choices: tuple[tuple[str, int], ...]) -> str:
    """One of the names, as often as its weight says."""
    return chance.choices([name for name, _ in choices], [weight for _, weight in choices])[0]
