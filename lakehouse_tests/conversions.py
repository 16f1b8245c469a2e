"""Conversions for tests: rows as the stream lands them, and what silver and gold must make of them, by brute force.

Nothing here uses the product's transformations: only its names of columns.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from lakehouse.contracts.arrow import in_schema
from lakehouse.domains.conversions.contract import CONVERSION_EVENT

LETTERS = (
    *((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL")),
    *((10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")),
)


@dataclass(frozen=True)
class Event:
    """A conversion as a row of bronze."""

    offset: int
    event_id: str
    event_time: datetime
    user_id: str | None = None
    api_key_prefix: str | None = "key"
    client_ip: str | None = "10.0.0.1"
    event_type: str = "SINGLE"
    input_number: int | None = 4
    output_roman: str | None = "IV"
    range_min: int | None = None
    range_max: int | None = None
    result_count: int | None = None
    response_time_nanos: int | None = 1000
    status: str = "SUCCESS"
    is_late_arrival: bool = False
    partition: int = 0

    @property
    def order(self) -> tuple[datetime, int, int, str]:
        """In which events of a user follow each other."""
        return (self.event_time, self.partition, self.offset, self.event_id)


def bronze(events: Sequence[Event]) -> pa.Table:
    """Rows of bronze."""
    names = (
        *("event_id", "event_time", "event_type", "user_id", "api_key_prefix", "client_ip", "input_number"),
        *("output_roman", "range_min", "range_max", "result_count", "response_time_nanos", "status", "is_late_arrival"),
    )
    types = {column.name: column for column in CONVERSION_EVENT.columns}
    schema = in_schema(CONVERSION_EVENT, {}, 0).schema
    columns = {n: pa.array([getattr(event, n) for event in events], schema.field(n).type) for n in names if n in types}
    now = [datetime.now(UTC)] * len(events)
    columns |= {
        "raw_payload": pa.array(
            [json.dumps({n: getattr(event, n) for n in ("event_id", "user_id")}) for event in events]
        ),
        "kafka_topic": pa.array(["roman-numeral-events"] * len(events)),
        "kafka_partition": pa.array([event.partition for event in events], pa.int32()),
        "kafka_offset": pa.array([event.offset for event in events], pa.int64()),
        "kafka_timestamp": pa.array(now, pa.timestamp("us", tz="UTC")),
        "ingested_at": pa.array(now, pa.timestamp("us", tz="UTC")),
    }
    return in_schema(CONVERSION_EVENT, columns, len(events))


def roman(number: int) -> str:
    """A Roman numeral."""
    text = ""
    for value, letters in LETTERS:
        while number >= value:
            text, number = text + letters, number - value
    return text


def reason(event: Event) -> str | None:
    """Why an event makes no sense."""
    if event.event_type == "SINGLE":
        if event.input_number is None or not 1 <= event.input_number <= 3999:
            return "NUMBER_OUT_OF_RANGE"
        is_answer = event.output_roman is not None or event.status == "SUCCESS"
        if is_answer and event.output_roman != roman(event.input_number):
            return "WRONG_NUMERAL"
    if (event.response_time_nanos or 0) < 0:
        return "NEGATIVE_RESPONSE_TIME"
    if event.event_type == "RANGE":
        first, last = event.range_min, event.range_max
        if first is None or last is None or not 1 <= first <= last <= 3999 or (event.result_count or 0) < 0:
            return "INVALID_RANGE"
    return None


def silver(events: Iterable[Event]) -> dict[str, Event]:
    """Events that make sense, by id."""
    found: dict[str, Event] = {}
    for event in events:
        if reason(event) is None:
            found.setdefault(event.event_id, event)
    return found


Version = tuple[str, str | None, str | None, str, datetime, datetime | None, bool, int]
"""User, key, network, tier, valid from, valid to, is current, number."""


def users(events: Iterable[Event]) -> list[Version]:
    """Versions of users, sorted."""
    by_user: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.user_id is not None:
            by_user[event.user_id].append(event)
    found: list[Version] = []
    for user, own in by_user.items():
        asked = Counter(event.event_time.date() for event in own)
        states: list[tuple[datetime, tuple[str | None, str | None, str]]] = []
        for event in sorted(own, key=lambda event: event.order):
            before = asked[event.event_time.date() - timedelta(days=1)]
            tier = "LOW" if before == 0 else "MEDIUM" if before < 10 else "HIGH"
            network = event.client_ip and event.client_ip.rpartition(".")[0] + ".0/24"
            if states and states[-1][0] == event.event_time:
                states.pop()
            states.append((event.event_time, (event.api_key_prefix, network, tier)))
        turns = [state for i, state in enumerate(states) if i == 0 or state[1] != states[i - 1][1]]
        ends = [*(at for at, _ in turns[1:]), None]
        for number, ((at, (key, network, tier)), end) in enumerate(zip(turns, ends, strict=True), start=1):
            found.append((user, key, network, tier, at, end, end is None, number))
    return sorted(found, key=lambda version: (version[0], version[4]))


def user_key(version: Version) -> str:
    """Key of a version."""
    micros = round((version[4] - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
    return hashlib.md5(f"{version[0]}|{micros}".encode(), usedforsecurity=False).hexdigest()


def facts(events: Iterable[Event]) -> dict[str, str]:
    """Key of the user's version by event id."""
    events = list(events)
    versions = users(events)
    found = {}
    for event in events:
        valid = [
            version
            for version in versions
            if version[0] == event.user_id
            and version[4] <= event.event_time
            and (version[5] is None or event.event_time < version[5])
        ]
        found[event.event_id] = user_key(valid[0]) if valid else "anonymous"
    return found


def daily(events: Iterable[Event]) -> dict[date, dict[str, Any]]:
    """Measures by day."""
    by_day: dict[date, list[Event]] = defaultdict(list)
    for event in events:
        by_day[event.event_time.date()].append(event)
    return {day: measures(own) for day, own in by_day.items()}


def measures(own: Sequence[Event]) -> dict[str, Any]:
    """Measures of some events."""
    times = sorted(event.response_time_nanos for event in own if event.response_time_nanos is not None)
    errors, late = sum(event.status == "ERROR" for event in own), sum(event.is_late_arrival for event in own)
    return {
        "conversions": len(own),
        "single_conversions": sum(event.event_type == "SINGLE" for event in own),
        "range_conversions": sum(event.event_type == "RANGE" for event in own),
        "unique_users": len({event.user_id for event in own} - {None}),
        "anonymous_conversions": sum(event.user_id is None for event in own),
        "errors": errors,
        "error_rate": errors / len(own),
        "late_conversions": late,
        "late_share": late / len(own),
        **{
            f"p{percent}_response_nanos": times[math.ceil(percent * len(times) / 100) - 1] if times else None
            for percent in (50, 95, 99)
        },
    }


def at(event: Event, **changes: Any) -> Event:
    """An event with some fields changed."""
    return replace(event, **changes)
