"""Game events as backends report them: players log in, play, score, buy, level up and log out.

Used by ``lakehouse produce players`` and the tests. The same seed and end time make the same events.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from lakehouse.domains.disorder import Message, Shares, in_disorder, weighted
from lakehouse.domains.players.contract import HIGHEST_SCORE, SCORE_EVENT

PLAYERS, GAMES = 2_000, 12
_KINDS = (
    (SCORE_EVENT, 50),
    ("player_login", 12),
    ("player_logout", 10),
    ("match_started", 10),
    ("match_ended", 10),
    ("level_up", 5),
    ("item_purchased", 3),
)
_ITEMS = ("potion", "sword", "shield", "skin: “Ünicorn”", "map")


def player_events(
    count: int,
    *,
    seed: int = 0,
    end: datetime | None = None,
    days: float = 1.0,
    shares: Shares | None = None,
) -> Iterator[Message]:
    """Messages for the topic, in the order in which they are sent.

    Args:
        count: Number of messages, the broken and repeated ones included.
        seed: Makes the events repeatable, with the same ``end``.
        end: The last event happens about then; now, if not given.
        days: Length of the time in which they happen.
        shares: What goes wrong.
    """
    chance = random.Random(seed)  # noqa: S311
    end = end or datetime.now(UTC)
    return in_disorder(_events(chance, count, end, days), _rubbish, chance, count, shares or Shares())


def _events(chance: random.Random, count: int, end: datetime, days: float) -> Iterator[Message]:
    """Events by event time, without end; none later than the end. Few players do most."""
    step = timedelta(days=days) / max(count, 1)
    moment = end - timedelta(days=days)
    while True:
        moment = min(moment + step, end)
        kind = weighted(chance, _KINDS)
        player = f"player-{int(chance.paretovariate(0.9)) % PLAYERS:04}"
        event = {
            "event_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            "event_type": kind,
            "player_id": player,
            "game_id": f"game-{int(chance.paretovariate(1.1)) % GAMES:02}",
            "timestamp": moment.isoformat(),
            "data": _details(chance, kind),
            "ingested_at": moment.isoformat(),
        }
        yield player.encode(), json.dumps(event, separators=(",", ":")).encode()


def _details(chance: random.Random, kind: str) -> dict[str, object]:
    if kind == SCORE_EVENT:
        return {"score": chance.choice((10, 25, 50, 100, 250)), "match": {"round": chance.randrange(1, 9)}}
    if kind == "item_purchased":
        return {"item": chance.choice(_ITEMS), "price": chance.randrange(1, 40) * 5}
    return {"level": chance.randrange(2, 60)} if kind == "level_up" else {}


def _rubbish(chance: random.Random, message: Message) -> Message:
    """A message as broken as they come."""
    key, value = message
    event = json.loads(value or b"{}")
    scored = {"event_type": SCORE_EVENT}
    changes: tuple[dict[str, object], ...] = (
        {"event_id": None},
        {"player_id": ""},
        {"player_id": 1.5},
        {"game_id": "X" * 101},
        {"timestamp": "2026-02-30T10:00:00Z"},
        {"timestamp": "soon"},
        {"event_type": 7},
        {"data": "none"},
        {"data": [1]},
        {"data": {"note": "a\x00b"}},
        scored | {"data": {}},
        scored | {"data": {"score": None}},
        scored | {"data": {"score": "12"}},
        scored | {"data": {"score": 0.5}},
        scored | {"data": {"score": HIGHEST_SCORE + 1}},
        scored | {"data": {"score": -(2**70)}},
    )
    broken: list[bytes | None] = [json.dumps(event | change).encode() for change in changes]
    broken += [None, b"", b"\xff\xfe\x00rubbish", (value or b"")[: len(value or b"") // 2], b"[1, 2, 3]", b"just text"]
    return key, chance.choice(broken)
