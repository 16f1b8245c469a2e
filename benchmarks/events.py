"""Events for the benchmarks: about 300 bytes each, unique ids, one service, event times of two days.

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
    step = timedelta(days=DAYS) / max(count, 1)
    for number in range(count):
        record = _record(chance, start + number * step)
        is_broken = broken > 0 and chance.random() < broken
        value = _broken(chance, record) if is_broken else json.dumps(record, separators=(",", ":")).encode()
        yield Event(record["event_id"], record["entity_id"].encode(), value, is_broken)


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
        "event_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "event_time": moment.strftime("%Y-%m-%d %H:%M:%S.%f"),
        "tenant_id": tenant,
        "service": "PGR",
        "entity_type": "CASE",
        "entity_id": f"PGR-{tenant[3:6].upper()}-{chance.randrange(10**8):08d}",
        "event_type": kind,
        "status": status,
        "channel": chance.choice(_CHANNELS),
        "ward_id": f"WARD-{chance.randrange(1, 31):02d}",
        "attributes_json": json.dumps(attributes, separators=(",", ":")),
    }


def _broken(chance: random.Random, record: dict[str, Any]) -> bytes:
    text = json.dumps(record, separators=(",", ":")).encode()
    changes: tuple[dict[str, Any], ...] = (
        {"tenant_id": 42},
        {"event_time": "2024-02-30 10:00:00"},
        {"event_date": "1999-12-31"},
        {"entity_id": None},
        {"attributes_json": "{'not': json"},
        {"entity_id": "X" * 101},
    )
    broken = [json.dumps(record | change, separators=(",", ":")).encode() for change in changes]
    return chance.choice([*broken, text[: len(text) // 2], text[:-1] + b"\xff}"])
