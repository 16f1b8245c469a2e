"""Game events for the benchmarks of the players: of 20,000 players in 50 games, half of them scores, all of today.

They are plain tuples, so that what every store should say is recounted of them as the tests do.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime

from lakehouse_tests.stores import Event

PLAYERS, GAMES = 20_000, 50
SCORED = "player_score"
_OTHERS = ("player_login", "player_logout", "match_started", "match_ended", "level_up", "item_purchased")
_SCORES = (10, 25, 50, 100, 250)


def player(number: int) -> str:
    """Id of a player."""
    return f"player-{number:07}"


def game(number: int) -> str:
    """Id of a game."""
    return f"game-{number:02}"


def events(count: int, *, seed: int, players: int = PLAYERS) -> Iterator[Event]:
    """Events by time, the last of them now; any player does as much as another, which makes the most totals and scores.

    Args:
        count: Number of events.
        seed: Makes all but the times repeatable.
        players: Of how many players; as many as events: one of each.
    """
    chance = random.Random(seed)  # noqa: S311
    end = datetime.now(UTC)
    begin = end.replace(hour=0, minute=0, second=0, microsecond=0)
    step = (end - begin) / count
    for number in range(count):
        who = number if players == count else int(chance.random() * players)
        kind = SCORED if chance.random() < 0.5 else chance.choice(_OTHERS)
        score = chance.choice(_SCORES) if kind == SCORED else None
        yield Event(player(who), game(int(chance.random() * GAMES)), kind, begin + number * step, score)
