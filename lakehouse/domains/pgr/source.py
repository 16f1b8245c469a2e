"""Grievance events as cities produce them: cases that are submitted, assigned, resolved, reopened, closed.

Used by ``lakehouse produce pgr``, the demo and the benchmarks. The same seed and end time make the same events.
"""

from __future__ import annotations

import heapq
import json
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lakehouse.domains.disorder import Message, Shares, in_disorder, weighted

SLA_HOURS = {"CRITICAL": 8, "HIGH": 24, "MEDIUM": 72, "LOW": 168}
_PRIORITIES = (("MEDIUM", 50), ("LOW", 25), ("HIGH", 18), ("CRITICAL", 7))
_CHANNELS = (("MOBILE", 45), ("WEB", 25), ("WHATSAPP", 12), ("CSC", 8), ("COUNTER", 6), ("IVR", 4))
_TENANTS = tuple(
    f"pb.{city}"
    for city in ("amritsar", "jalandhar", "ludhiana", "patiala", "mohali", "bathinda", "pathankot", "moga", "phagwara")
)
_COMPLAINTS = (
    "StreetLightNotWorking",
    "GarbageNotCollected",
    "NoWaterSupply",
    "WaterLeakage",
    "BlockedDrain",
    "PotholeOnRoad",
    "StrayAnimals",
    "IllegalParking",
    "NoiseComplaint",
    "PublicToiletNotClean",
    "TreeFallen",
    "IncorrectBilling",
)
_EVENTS_PER_CASE = 3.8
"""Measured mean by the end time; places the first case so that the last event comes near the end time."""


@dataclass(frozen=True)
class _Case:
    tenant: str
    number: str
    complaint: str
    priority: str
    channel: str
    ward: str
    locality: str
    citizen: str
    employee: str
    is_text: bool
    """Whether its application sends the attributes as a string."""


def service_events(
    count: int,
    *,
    seed: int = 0,
    end: datetime | None = None,
    days: float = 14.0,
    shares: Shares | None = None,
) -> Iterator[Message]:
    """Messages for the topic, in the order in which they are sent.

    Args:
        count: Number of messages, the broken and repeated ones included.
        seed: Makes the events repeatable, with the same ``end``.
        end: No event happens later; now, if not given.
        days: Length of the time in which the cases are submitted.
        shares: What goes wrong.
    """
    chance = random.Random(seed)  # noqa: S311
    end = end or datetime.now(UTC)
    return in_disorder(_events(chance, count, end, days), _rubbish, chance, count, shares or Shares())


def _events(chance: random.Random, count: int, end: datetime, days: float) -> Iterator[Message]:
    """Events of many cases by event time, without end; what would lie in the future happens now."""
    step = timedelta(days=days) * _EVENTS_PER_CASE / max(count, 1)
    now = end - timedelta(days=days)
    pending: list[tuple[datetime, int, _Case, str, str | None, str | None]] = []
    serial = 0
    while True:
        case = _case(chance, serial)
        for moment, kind, before, after in _lifecycle(chance, now, case):
            serial += 1
            heapq.heappush(pending, (moment, serial, case, kind, before, after))
        now += step * chance.expovariate(1.0)
        while pending and pending[0][0] <= now:
            moment, _, case, kind, before, after = heapq.heappop(pending)
            yield _message(chance, min(moment, end), case, kind, before, after)


def _case(chance: random.Random, serial: int) -> _Case:
    tenant = chance.choice(_TENANTS)
    ward = chance.randrange(1, 31)
    return _Case(
        tenant=tenant,
        number=f"PGR-{tenant[3:6].upper()}-{serial:08d}-{chance.randrange(10**6):06d}",
        complaint=chance.choice(_COMPLAINTS),
        priority=weighted(chance, _PRIORITIES),
        channel=weighted(chance, _CHANNELS),
        ward=f"WARD-{ward:02d}",
        locality=f"LOC-{ward:02d}-{chance.randrange(1, 6)}",
        citizen=f"citizen-{chance.randrange(200_000)}",
        employee=f"employee-{chance.randrange(900)}",
        is_text=chance.random() < 0.5,
    )


def _lifecycle(
    chance: random.Random, start: datetime, case: _Case
) -> Iterator[tuple[datetime, str, str | None, str | None]]:
    """What happens to a case: time, event type, status before and after."""
    hours = SLA_HOURS[case.priority]

    def later(moment: datetime, share: float) -> datetime:
        return moment + timedelta(
            hours=hours * share * chance.lognormvariate(0, 0.7), microseconds=chance.randrange(10**6)
        )

    yield start, "CaseSubmitted", None, "OPEN"
    moment = later(start, 0.1)
    if chance.random() < 0.06:
        yield moment, "CaseRejected", "OPEN", "REJECTED"
        return
    yield moment, "CaseAssigned", "OPEN", "ASSIGNED"
    if chance.random() < 0.12:
        moment = later(moment, 0.15)
        yield moment, "CaseReassigned", "ASSIGNED", "ASSIGNED"
    if chance.random() < 0.25:
        yield later(moment, 0.1), "CaseCommented", None, None
    if chance.random() < 0.05:
        yield later(moment, 0.9), "CaseEscalated", None, None
    moment = later(moment, 0.55)
    yield moment, "CaseResolved", "ASSIGNED", "RESOLVED"
    if chance.random() < 0.08:
        moment = later(moment, 0.3)
        yield moment, "CaseReopened", "RESOLVED", "REOPENED"
        moment = later(moment, 0.4)
        yield moment, "CaseResolved", "REOPENED", "RESOLVED"
    if chance.random() < 0.3:
        yield later(moment, 0.2), "CaseRated", None, None
    if chance.random() < 0.6:
        yield later(moment, 0.5), "CaseClosed", "RESOLVED", "CLOSED"


def _message(
    chance: random.Random, moment: datetime, case: _Case, kind: str, before: str | None, after: str | None
) -> Message:
    attributes: dict[str, object] = {
        "complaint_type": case.complaint,
        "priority": case.priority,
        "sla_hours": SLA_HOURS[case.priority],
    }
    if before or after:
        attributes |= {"from_status": before, "to_status": after}
    by_citizen = kind in ("CaseSubmitted", "CaseReopened", "CaseRated")
    event = {
        "event_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "event_time": moment.strftime("%Y-%m-%d %H:%M:%S.%f"),
        "tenant_id": case.tenant,
        "service": "PGR",
        "entity_type": "CASE",
        "entity_id": case.number,
        "event_type": kind,
        "status": after,
        "actor_type": "CITIZEN" if by_citizen else "EMPLOYEE",
        "actor_id": case.citizen if by_citizen else case.employee,
        "channel": case.channel,
        "ward_id": case.ward,
        "locality_id": case.locality,
        "attributes_json": json.dumps(attributes) if case.is_text else attributes,
    }
    return case.number.encode(), json.dumps(event, separators=(",", ":")).encode()


def _rubbish(chance: random.Random, message: Message) -> Message:
    """A message as broken as they come."""
    key, value = message
    event = json.loads(value or b"{}")
    changes: tuple[dict[str, object], ...] = (
        {"tenant_id": 42},
        {"event_time": "2024-02-30 10:00:00"},
        {"event_time": "yesterday"},
        {"event_date": "1999-12-31"},
        {"entity_id": None},
        {"attributes_json": "{'not': json"},
        {"entity_id": "X" * 101},
        {"status": "a\x00b"},
    )
    broken: list[bytes | None] = [json.dumps(event | change).encode() for change in changes]
    broken += [None, b"", b"\xff\xfe\x00rubbish", (value or b"")[: len(value or b"") // 2], b"[1, 2, 3]", b"just text"]
    return key, chance.choice(broken)
