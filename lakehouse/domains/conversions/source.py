"""Conversions as the Roman numeral service reports them, by users whose attributes drift.

Used by ``lakehouse produce conversions`` and the tests. The same seed and end time make the same events.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from lakehouse.domains.disorder import Message, Shares, in_disorder, weighted

LARGEST = 3999
USERS = 500
ANONYMOUS = 0.2
DRIFT = 0.01
"""Share of the events before which the user's API key or network changes."""
CAMEL_CASE = 0.3
"""Share of the events in the service's own spelling."""
PAGE = 100
_KINDS = (("SINGLE", 85), ("RANGE", 15))
NUMERALS = (
    *((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL")),
    *((10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")),
)


def conversion_events(
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


def roman(number: int) -> str:
    """A number from 1 to 3999 as a Roman numeral."""
    text = ""
    for value, letters in NUMERALS:
        repeats, number = divmod(number, value)
        text += letters * repeats
    return text


def _events(chance: random.Random, count: int, end: datetime, days: float) -> Iterator[Message]:
    """Events by event time, without end; none later than the end."""
    step = timedelta(days=days) / max(count, 1)
    moment = end - timedelta(days=days)
    users: list[list[str | None]] = [[_api_key(chance), _address(chance)] for _ in range(USERS)]
    while True:
        moment = min(moment + step, end)
        number = None if chance.random() < ANONYMOUS else int(chance.paretovariate(1.2)) % USERS
        if number is not None and chance.random() < DRIFT:
            attribute = chance.randrange(2)
            users[number][attribute] = (_api_key, _address)[attribute](chance)
        yield _message(chance, moment, number, users[number] if number is not None else [None, _address(chance)])


def _message(chance: random.Random, moment: datetime, user: int | None, attributes: list[str | None]) -> Message:
    event_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    has_failed = chance.random() < 0.02
    event: dict[str, object] = {
        "event_id": event_id,
        "event_time": moment.isoformat() if chance.random() < 0.5 else int(moment.timestamp() * 1000),
        "event_type": weighted(chance, _KINDS),
        # The service numbers its users, and others that speak for it write the number as text.
        "user_id": user if user is None or chance.random() < 0.5 else str(user),
        "api_key_prefix": attributes[0],
        "client_ip": attributes[1],
        "correlation_id": f"{chance.getrandbits(64):016x}",
        "response_time_nanos": int(chance.lognormvariate(13, 0.8)),
        "status": "ERROR" if has_failed else "SUCCESS",
    }
    if event["event_type"] == "SINGLE":
        number = 1 + int(chance.paretovariate(0.7)) % LARGEST
        event |= {"input_number": number, "output_roman": None if has_failed else roman(number)}
    else:
        first, last = sorted(chance.sample(range(1, LARGEST + 1), 2))
        offset = chance.randrange(0, last - first + 1, PAGE)
        found = 0 if has_failed else min(PAGE, last - first + 1 - offset)
        event |= {"range_min": first, "range_max": last, "result_count": found}
        event |= {"page_offset": offset, "page_limit": PAGE}
    if chance.random() < CAMEL_CASE:
        event = {_camel_case(name): value for name, value in event.items()}
    return event_id.encode(), json.dumps(event, separators=(",", ":")).encode()


def _rubbish(chance: random.Random, message: Message) -> Message:
    """A message as broken as they come."""
    key, value = message
    event = json.loads(value or b"{}")
    changes: tuple[dict[str, object], ...] = (
        {"event_id": None},
        {"event_id": 42},
        {"event_time": "2024-02-30T10:00:00Z"},
        {"event_time": "yesterday"},
        {"event_time": True},
        {"event_type": ""},
        {"input_number": "seven"},
        {"input_number": 1.5},
        {"range_min": 2**63},
        {"user_id": "X" * 101},
        {"status": "a\x00b"},
        # These are refused by silver: they are well formed, but make no sense.
        {"event_type": "SINGLE", "input_number": LARGEST + 1},
        {"event_type": "SINGLE", "input_number": 4, "output_roman": "IIII"},
        {"event_type": "RANGE", "range_min": 10, "range_max": 1},
        {"response_time_nanos": -1},
    )
    snake = {_snake_case(name): value for name, value in event.items()}
    broken: list[bytes | None] = [json.dumps(snake | change).encode() for change in changes]
    broken += [None, b"", b"\xff\xfe\x00rubbish", (value or b"")[: len(value or b"") // 2], b"[1, 2, 3]", b"just text"]
    return key, chance.choice(broken)


def _api_key(chance: random.Random) -> str:
    return f"rn_{chance.getrandbits(32):08x}"


def _address(chance: random.Random) -> str:
    return f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(1, 255)}"


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
