"""An independent account of what was sent: where every message must be, and what every case and funnel row must say.

Plain Python over the producer's own record; nothing of `lakehouse` is imported. The rules are those that the
descriptions of the dbt models state (`dbt_project/models/**/*.yml`), read as text and written down here again.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import cache
from typing import Any

Event = Mapping[str, Any]
"""A record as its producer wrote it: texts, and attributes as an object or as the text of one."""
Row = dict[str, Any]
Case = tuple[str, str]
"""Tenant and entity."""
Group = tuple[date, str, str, str]
"""Day, tenant, ward, channel."""
Coordinate = tuple[int, int]
"""Partition and offset."""

CONTENT = (
    "tenant_id",
    "service",
    "entity_type",
    "entity_id",
    "event_type",
    "status",
    "actor_type",
    "actor_id",
    "channel",
    "ward_id",
    "locality_id",
)
DIMENSIONS = ("complaint_type", "priority", "sla_hours", "ward_id", "locality_id", "channel")


# Messages ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """One message, as the producer knows that the broker has it."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    error_type: str | None = None
    """Why it must be refused; None for a good one."""

    @property
    def coordinate(self) -> Coordinate:
        return self.partition, self.offset

    @property
    def event(self) -> Event:
        found: Event = json.loads(self.value or b"")
        return found


def discrepancies(
    sent: Iterable[Sent],
    rows: Iterable[tuple[int, int, str]],
    letters: Iterable[tuple[int, int, str, bytes | None, bytes | None]],
) -> list[str]:
    """Where the tables differ from what was sent, in words; empty when every message is in its place exactly once.

    Args:
        sent: The producer's record.
        rows: Partition, offset and raw payload of the rows in bronze.
        letters: Partition, offset, error type, payload and key of the dead letters.
    """
    sent = list(sent)
    good = {message.coordinate: (message.value or b"").decode() for message in sent if message.error_type is None}
    bad = {m.coordinate: (m.error_type, m.value, m.key) for m in sent if m.error_type is not None}
    held_rows = [((p, o), payload) for p, o, payload in rows]
    held_letters = [((p, o), (reason, value, key)) for p, o, reason, value, key in letters]
    return [*_differences("bronze", good, held_rows), *_differences("dead letters", bad, held_letters)]


def _differences(
    where: str, wanted: Mapping[Coordinate, object], held: Sequence[tuple[Coordinate, object]]
) -> list[str]:
    counts = Counter(coordinate for coordinate, _ in held)
    found = [f"{where}: {c} is there {n} times" for c, n in counts.items() if n > 1]
    found += [f"{where}: {c} is missing" for c in wanted if c not in counts]
    found += [f"{where}: {c} does not belong there" for c in counts if c not in wanted]
    found += [f"{where}: {c} differs from what was sent" for c, value in held if c in wanted and wanted[c] != value]
    return found


def first_of_duplicates(sent: Iterable[Sent]) -> list[Event]:
    """Good events, each once: of those with the same id, the one that came first in Kafka."""
    good = (message for message in sent if message.error_type is None)
    order = sorted(good, key=lambda message: (message.timestamp_ms, message.partition, message.offset))
    first: dict[object, Event] = {}
    for event in (message.event for message in order):
        first.setdefault(identity(event), event)
    return list(first.values())


def identity(event: Event) -> object:
    """The id of an event; one that brought none is known by its content."""
    values = [event.get(name) or None for name in CONTENT]
    return event.get("event_id") or (moment(event), *values, json.dumps(attributes(event), sort_keys=True))


# What an event means -------------------------------------------------------------------------------------------------

IMPLIED = {
    "CaseSubmitted": "OPEN",
    "CaseAssigned": "ASSIGNED",
    "CaseReassigned": "ASSIGNED",
    "CaseResolved": "RESOLVED",
    "CaseRejected": "REJECTED",
    "CaseClosed": "CLOSED",
    "CaseReopened": "REOPENED",
}
ENDINGS = frozenset({"RESOLVED", "CLOSED", "REJECTED", "CANCELLED"})
WAY = ("submitted", "assigned", "resolved", "rejected", "closed", "cancelled", "reopened")
"""Order of stages at the same instant."""


def moment(event: Event) -> datetime:
    """Time of the event in UTC; a time without a zone is UTC."""
    return _read_time(event["event_time"])


@cache
def _read_time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def attributes(event: Event) -> Mapping[str, Any]:
    given = event.get("attributes_json") or {}
    found = _read_object(given) if isinstance(given, str) else given
    return found if isinstance(found, dict) else {}


@cache
def _read_object(text: str) -> Any:
    return json.loads(text)


def _words(value: object) -> str | None:
    return (value.strip() or None) if isinstance(value, str) else None


def _hours(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    if not number.is_finite() or number < 0 or number >= 1_000_000:
        return None
    return number.quantize(Decimal("0.01"), ROUND_HALF_UP)


def status_after(event: Event) -> str | None:
    """Status that the event itself implies."""
    if event["event_type"] != "StatusChanged":
        return IMPLIED.get(event["event_type"])
    named = _words(attributes(event).get("to_status")) or _words(event.get("status"))
    return named.upper() if named else None


def stage(event: Event) -> str | None:
    """Stage the event takes its case to. A status changed to OPEN is no submission."""
    if event["event_type"] == "CaseSubmitted":
        return "submitted"
    named = (status_after(event) or "").lower()
    return named if named in WAY[1:] else None


def says(event: Event, dimension: str) -> Any:
    """What the event says about a dimension of its case; None where it says nothing."""
    if dimension in ("ward_id", "locality_id", "channel"):
        return event.get(dimension) or None
    value = attributes(event).get(dimension)
    if dimension == "sla_hours":
        return _hours(value)
    words = _words(value)
    return words.upper() if words and dimension == "priority" else words


# Cases ---------------------------------------------------------------------------------------------------------------


def lifecycle(events: Iterable[Event]) -> dict[Case, Row]:
    """One row a case, without the audit columns and the hash `case_id`."""
    by_case: dict[Case, list[Event]] = defaultdict(list)
    for event in events:
        by_case[event["tenant_id"], event["entity_id"]].append(event)
    return {case: _life(case, found) for case, found in by_case.items()}


def _life(case: Case, events: list[Event]) -> Row:
    events = sorted(events, key=lambda e: (moment(e), _place(e), e.get("event_id") or ""))
    reached: dict[str, list[datetime]] = {name: [] for name in WAY}
    for event in events:
        if name := stage(event):
            reached[name].append(moment(event))
    since_open = _after_last_open(events)
    ended = [moment(event) for event in since_open if status_after(event) in ENDINGS]
    standing = {stage(event) for event in since_open}
    submitted = min(reached["submitted"], default=None)
    assigned = min(reached["assigned"], default=None)
    resolved, closed = max(reached["resolved"], default=None), max(reached["closed"], default=None)
    status = _current_status(events)
    told = {name: _told(events, name) for name in DIMENSIONS}
    has_due = submitted is not None and told["sla_hours"] is not None
    due = submitted + timedelta(seconds=int(told["sla_hours"] * 3600)) if submitted and has_due else None
    finished, last = (ended[0] if ended else None), moment(events[-1])
    is_breached, breach = _service_level(due, finished, last)
    conflicts = list(_conflicts(events, reached))
    return {
        "tenant_id": case[0],
        "entity_id": case[1],
        "service": events[0]["service"],
        **told,
        "current_status": status,
        "is_open": status not in ENDINGS,
        "submitted_at": submitted,
        "first_assigned_at": assigned,
        "last_resolved_at": resolved,
        "closed_at": closed,
        "rejected_at": max(reached["rejected"], default=None),
        "finished_at": finished,
        "first_event_at": moment(events[0]),
        "last_event_at": last,
        "event_count": len(events),
        "reopen_count": max(
            sum(event["event_type"] == "CaseReopened" for event in events),
            sum(event["event_type"] == "StatusChanged" and stage(event) == "reopened" for event in events),
        ),
        "reassign_count": sum(event["event_type"] == "CaseReassigned" for event in events),
        "time_to_assign_seconds": _seconds(submitted, assigned),
        "time_to_resolve_seconds": _seconds(submitted, resolved) if "resolved" in standing else None,
        "time_to_close_seconds": _seconds(submitted, closed) if "closed" in standing else None,
        "sla_due_at": due,
        "is_sla_breached": is_breached,
        "sla_breach_seconds": breach,
        "has_conflicting_events": bool(conflicts),
        "conflict_reason": ", ".join(conflicts) or None,
    }


def _place(event: Event) -> int:
    name = stage(event)
    return WAY.index(name) + 1 if name else 0


def _after_last_open(events: list[Event]) -> list[Event]:
    """Events after the last one that left the case open."""
    for index in reversed(range(len(events))):
        after = status_after(events[index])
        if after and after not in ENDINGS:
            return events[index + 1 :]
    return events


def _current_status(events: list[Event]) -> str | None:
    implied = [after for event in events if (after := status_after(event))]
    reported = [event["status"] for event in events if event.get("status")]
    return (implied or reported or [None])[-1]


def _told(events: list[Event], dimension: str) -> Any:
    """As the submission says, else as the first event that says it."""
    submissions = [event for event in events if stage(event) == "submitted"]
    return next((value for e in [*submissions, *events] if (value := says(e, dimension)) is not None), None)


def _seconds(start: datetime | None, end: datetime | None) -> int | None:
    if start is None or end is None or end < start:
        return None
    return (end - start) // timedelta(seconds=1)


def _service_level(due: datetime | None, finished: datetime | None, last: datetime) -> tuple[bool | None, int | None]:
    if due is None:
        return None, None
    if (finished or last) > due:
        return True, _seconds(due, finished or last)
    return (False, 0) if finished else (None, None)


def _conflicts(events: list[Event], reached: Mapping[str, list[datetime]]) -> Iterable[str]:
    if not reached["submitted"]:
        yield "no_submission"
    else:
        for early in ("assigned", "resolved", "rejected", "closed"):
            if reached[early] and min(reached[early]) < min(reached["submitted"]):
                yield f"{early}_before_submitted"
    way = [name for event in events if (name := stage(event))]
    if any(way[i] == "closed" and way[i + 1] in ("assigned", "resolved", "rejected") for i in range(len(way) - 1)):
        yield "changed_after_closed"


# Backlog -------------------------------------------------------------------------------------------------------------


def backlog(events: Iterable[Event], last_day: date) -> dict[tuple[date, str, str, str, str], Row]:
    """One row a day, tenant, ward, channel and status with the cases open at the day's end, without audit columns.

    A case is open at the end of a day when its events up to then say so.
    """
    by_case: dict[Case, list[Event]] = defaultdict(list)
    for event in events:
        if moment(event).date() <= last_day:
            by_case[event["tenant_id"], event["entity_id"]].append(event)
    counts: Counter[tuple[date, str, str, str, str]] = Counter()
    for case, found in by_case.items():
        found.sort(key=moment)
        active = sorted({moment(event).date() for event in found})
        for day, next_day in zip(active, [*active[1:], last_day + timedelta(days=1)], strict=True):
            life = _life(case, [event for event in found if moment(event).date() <= day])
            if life["is_open"]:
                group = (
                    life["ward_id"] or "UNKNOWN",
                    life["channel"] or "UNKNOWN",
                    life["current_status"] or "UNKNOWN",
                )
                for number in range((next_day - day).days):
                    counts[day + timedelta(days=number), case[0], *group] += 1
    names = ("backlog_date", "tenant_id", "ward_id", "channel", "status")
    return {group: dict(zip(names, group, strict=True)) | {"open_cases": count} for group, count in counts.items()}


# Funnel --------------------------------------------------------------------------------------------------------------

COUNTED = ("submitted", "assigned", "resolved", "closed", "rejected", "reopened")
COHORT = ("cases", "assigned", "resolved", "closed", "rejected", "reopened", "met_sla", "breached_sla")


def funnel(events: Sequence[Event]) -> dict[Group, Row]:
    """One row a day, tenant, ward and channel, without the audit columns."""
    cases = lifecycle(events)
    groups: dict[Group, Row] = defaultdict(
        lambda: {"events": 0} | {f"cases_{n}": 0 for n in COUNTED} | {f"cohort_{n}": 0 for n in COHORT}
    )
    distinct: set[tuple[Group, str | None, str]] = set()
    for event in events:
        case = cases[event["tenant_id"], event["entity_id"]]
        ward = event.get("ward_id") or case["ward_id"] or "UNKNOWN"
        channel = event.get("channel") or case["channel"] or "UNKNOWN"
        group = (moment(event).date(), event["tenant_id"], ward, channel)
        groups[group]["events"] += 1
        reached = stage(event)
        if reached in COUNTED:
            distinct.add((group, reached, event["entity_id"]))
    for group, counted, _ in distinct:
        groups[group][f"cases_{counted}"] += 1
    for case in cases.values():
        if case["submitted_at"]:
            ward, channel = case["ward_id"] or "UNKNOWN", case["channel"] or "UNKNOWN"
            group = (case["submitted_at"].date(), case["tenant_id"], ward, channel)
            came_to = {
                "cases": True,
                "assigned": case["first_assigned_at"] is not None,
                "resolved": case["last_resolved_at"] is not None,
                "closed": case["closed_at"] is not None,
                "rejected": case["rejected_at"] is not None,
                "reopened": case["reopen_count"] > 0,
                "met_sla": case["is_sla_breached"] is False,
                "breached_sla": case["is_sla_breached"] is True,
            }
            for name, is_so in came_to.items():
                groups[group][f"cohort_{name}"] += is_so
    names = ("event_date", "tenant_id", "ward_id", "channel")
    return {group: dict(zip(names, group, strict=True)) | counts for group, counts in groups.items()}
