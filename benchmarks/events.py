"""Events for the benchmarks: about 300 bytes each, unique ids, one service, event times of two days.

All but the ids comes from a stock of different events, so that ten millions are written in a minute or two.
The ids go to files before the first message is sent; `judge.py` holds the tables against these files.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lakehouse.adapters.kafka.client import ensure_topic, open_admin
from lakehouse.adapters.kafka.produce import send
from lakehouse.naming import Domain, Topic
from lakehouse.settings import Settings

PARTITIONS = 3
DAYS = 2
STOCK = 100_000
"""Events that differ in more than their id: far more than a compressor looks back."""

_TENANTS = ("pb.amritsar", "pb.jalandhar", "pb.ludhiana", "pb.patiala", "pb.mohali")
_STEPS = (
    ("CaseSubmitted", "OPEN"),
    ("CaseAssigned", "ASSIGNED"),
    ("CaseResolved", "RESOLVED"),
    ("CaseClosed", "CLOSED"),
)
_CHANNELS = ("MOBILE", "WEB", "WHATSAPP", "CSC")
_PRIORITIES = ("LOW", "MEDIUM", "HIGH", "CRITICAL")


@dataclass(frozen=True)
class Event:
    """One message and what is known about it."""

    event_id: str
    key: bytes
    value: bytes
    is_broken: bool


@dataclass(frozen=True)
class Produced:
    """What lies in a topic, and the files that say so."""

    topic: str
    rows: int
    """Events that must become rows."""
    broken: int
    """Messages that must become dead letters."""
    mean_bytes: float
    ids: Path
    broken_ids: Path


def events(count: int, *, seed: int, broken: float = 0.0) -> Iterator[Event]:
    """Events in the order in which they are sent.

    Args:
        count: Number of messages, the broken ones included.
        seed: Makes all but the time repeatable.
        broken: Share of messages that the contract refuses. They keep their event id readable in the payload.
    """
    chance = random.Random(seed)  # noqa: S311
    start = datetime.now(UTC) - timedelta(days=DAYS)
    size = min(count, STOCK)
    records = [_record(chance, start + number * timedelta(days=DAYS) / size) for number in range(size)]
    stock = [(record["entity_id"].encode(), _text(record)[1:].encode()) for record in records]
    for number in range(count):
        event_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        key, rest = stock[number % size]
        is_broken = broken > 0 and chance.random() < broken
        if is_broken:
            value = _broken(chance, {"event_id": event_id, **records[number % size]})
        else:
            value = b'{"event_id":"%b",%b' % (event_id.encode(), rest)
        yield Event(event_id, key, value, is_broken)


def produce(
    settings: Settings,
    topic: str,
    count: int,
    folder: Path,
    *,
    seed: int = 0,
    broken: float = 0.0,
    on_sent: Callable[[int], None] = lambda count: None,
) -> Produced:
    """Create a topic and fill it, through the product's producer; the ids go to two files in ``folder``."""
    ensure_topic(open_admin(settings), Topic(topic, Domain.PGR, "entity_id", PARTITIONS, retention_hours=24))
    ids, broken_ids = folder / f"{topic}.ids", folder / f"{topic}.broken"
    counted = {True: 0, False: 0}
    size = 0

    with ExitStack() as stack:
        files = {False: stack.enter_context(ids.open("w")), True: stack.enter_context(broken_ids.open("w"))}

        def messages() -> Iterator[tuple[bytes, bytes]]:
            nonlocal size
            for event in events(count, seed=seed, broken=broken):
                files[event.is_broken].write(event.event_id + "\n")
                counted[event.is_broken] += 1
                size += len(event.value)
                yield event.key, event.value

        send(settings, topic, messages(), on_sent=on_sent)
    return Produced(topic, counted[False], counted[True], round(size / max(count, 1), 1), ids, broken_ids)


def _record(chance: random.Random, moment: datetime) -> dict[str, Any]:
    tenant = chance.choice(_TENANTS)
    kind, status = chance.choice(_STEPS)
    attributes = {"priority": chance.choice(_PRIORITIES), "sla_hours": 72}
    return {
        "event_time": moment.strftime("%Y-%m-%d %H:%M:%S.%f"),
        "tenant_id": tenant,
        "service": "PGR",
        "entity_type": "CASE",
        "entity_id": f"PGR-{tenant[3:6].upper()}-{chance.randrange(10**8):08d}",
        "event_type": kind,
        "status": status,
        "channel": chance.choice(_CHANNELS),
        "ward_id": f"WARD-{chance.randrange(1, 31):02d}",
        "attributes_json": _text(attributes),
    }


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _broken(chance: random.Random, record: dict[str, Any]) -> bytes:
    text = _text(record).encode()
    changes: tuple[dict[str, Any], ...] = (
        {"tenant_id": 42},
        {"event_time": "2024-02-30 10:00:00"},
        {"event_date": "1999-12-31"},
        {"entity_id": None},
        {"attributes_json": "{'not': json"},
        {"entity_id": "X" * 101},
    )
    broken = [_text(record | change).encode() for change in changes]
    return chance.choice([*broken, text[: len(text) // 2], text[:-1] + b"\xff}"])
