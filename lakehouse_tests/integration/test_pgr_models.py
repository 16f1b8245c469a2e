"""The PGR models against a real Trino: built batch by batch they equal a full rebuild and a computation in Python.

Everything happens in schemas of its own (`schema_prefix`), bronze included.
"""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lakehouse_tests.conftest import Stack
from lakehouse_tests.warehouse import (
    Contents,
    Models,
    Row,
    Warehouse,
    assert_equals,
    assert_untouched_rows_stay,
    open_warehouse,
    without_audit,
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # dbt's own imports warn
]

START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 5
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FINISHED = {"RESOLVED", "CLOSED", "REJECTED", "CANCELLED"}

TYPES = {
    "event_id": "varchar",
    "event_date": "date not null",
    "event_time": "timestamp(6) with time zone not null",
    "tenant_id": "varchar not null",
    "service": "varchar not null",
    "entity_type": "varchar",
    "entity_id": "varchar not null",
    "event_type": "varchar not null",
    "status": "varchar",
    "actor_type": "varchar",
    "actor_id": "varchar",
    "channel": "varchar",
    "ward_id": "varchar",
    "locality_id": "varchar",
    "attributes_json": "varchar",
    "raw_payload": "varchar",
    "kafka_topic": "varchar",
    "kafka_partition": "integer",
    "kafka_offset": "bigint",
    "kafka_timestamp": "timestamp(6) with time zone",
    "ingested_at": "timestamp(6) with time zone",
}
CONTENT = [*list(TYPES)[3:15]]
"""What an event says, apart from its id and time."""


MODELS = Models(
    domain="pgr",
    bronze="service_events_raw",
    columns=TYPES,
    partitioning=("event_date", "service"),
    keys={
        "silver.pgr_events": ("event_id",),
        "gold.pgr_case_lifecycle": ("tenant_id", "entity_id"),
        "gold.pgr_funnel_daily": ("event_date", "tenant_id", "ward_id", "channel"),
        "gold.pgr_backlog_daily": ("backlog_date", "tenant_id", "ward_id", "channel", "status"),
    },
)


@pytest.fixture
def warehouse(stack: Stack, tmp_path: Path) -> Iterator[Warehouse]:
    yield from open_warehouse(stack, MODELS, tmp_path)


# The independent computation -----------------------------------------------------------------------------------------


def expected_silver(bronze: list[Row]) -> dict[str, Row]:
    best: dict[str, tuple[Any, Row]] = {}
    for row in bronze:
        content_id = event_id(row)
        key = row["event_id"] or content_id
        content_hash = int.from_bytes(bytes.fromhex(content_id)[:8], "big", signed=True)
        coordinates = ("kafka_timestamp", "kafka_topic", "kafka_partition", "kafka_offset")
        rank = (*((row[name] is None, row[name] or 0) for name in coordinates), content_id)
        if key not in best or rank < best[key][0]:
            best[key] = (rank, silver_row(row, key, content_hash))
    return {key: row for key, (_, row) in best.items()}


def event_id(row: Row) -> str:
    micros = (row["event_time"] - EPOCH) // timedelta(microseconds=1)
    values = [str(micros), *(chr(30) if row[name] is None else row[name] for name in CONTENT)]
    return hashlib.sha256(chr(31).join(values).encode()).hexdigest()


def silver_row(row: Row, key: str, content_hash: int) -> Row:
    attributes = attributes_of(row["attributes_json"])
    to_status = upper(text(attributes.get("to_status")))
    fixed = {
        "CaseSubmitted": "OPEN",
        "CaseAssigned": "ASSIGNED",
        "CaseReassigned": "ASSIGNED",
        "CaseResolved": "RESOLVED",
        "CaseRejected": "REJECTED",
        "CaseClosed": "CLOSED",
        "CaseReopened": "REOPENED",
    }
    status_after = fixed.get(row["event_type"])
    if row["event_type"] == "StatusChanged":
        status_after = to_status or upper(row["status"])
    stage = "submitted" if row["event_type"] == "CaseSubmitted" else None
    if status_after in FINISHED | {"ASSIGNED", "REOPENED"}:
        stage = status_after.lower()
    kept = {name: row[name] for name in TYPES if name not in {"event_id", "event_date", "raw_payload"}}
    return kept | {
        "event_id": key,
        "event_date": row["event_time"].date(),
        "stage": stage,
        "status_after": status_after,
        "complaint_type": text(attributes.get("complaint_type")),
        "priority": upper(text(attributes.get("priority"))),
        "sla_hours": hours(attributes.get("sla_hours")),
        "from_status": upper(text(attributes.get("from_status"))),
        "to_status": to_status,
        "content_hash": content_hash,
    }


def attributes_of(value: str | None) -> dict[str, Any]:
    try:
        parsed = json.loads(value or "{}")
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def text(value: Any) -> str | None:
    return (value.strip() or None) if isinstance(value, str) else None


def upper(value: str | None) -> str | None:
    return value.strip().upper() or None if value else None


def hours(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        exact = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    if not exact.is_finite() or not 0 <= exact < 1_000_000:
        return None
    return exact.quantize(Decimal("0.01"), ROUND_HALF_UP)


def expected_lifecycle(silver: dict[str, Row]) -> dict[tuple[str, str], Row]:
    cases = defaultdict(list)
    for event in silver.values():
        cases[event["tenant_id"], event["entity_id"]].append(event)
    return {key: lifecycle_row(key, events) for key, events in cases.items()}


STAGES = ["submitted", "assigned", "resolved", "rejected", "closed", "cancelled", "reopened"]


def lifecycle_row(key: tuple[str, str], events: list[Row]) -> Row:
    events = sorted(
        events,
        key=lambda e: (e["event_time"], STAGES.index(e["stage"]) + 1 if e["stage"] else 0, e["event_id"]),
    )

    def times(stage: str, among: list[Row] = events) -> list[datetime]:
        return [e["event_time"] for e in among if e["stage"] == stage]

    def dimension(name: str) -> Any:
        known = [e for e in events if e[name] is not None]
        ranked = [e for e in known if e["stage"] == "submitted"] + known
        return ranked[0][name] if ranked else None

    opened = [i for i, e in enumerate(events) if e["status_after"] and e["status_after"] not in FINISHED]
    final = events[opened[-1] + 1 :] if opened else events
    finishes = [e["event_time"] for e in final if e["status_after"] in FINISHED]
    statuses = [e["status_after"] for e in events if e["status_after"]] or [e["status"] for e in events if e["status"]]
    status = statuses[-1] if statuses else None
    submitted = min(times("submitted"), default=None)
    finished, last = (finishes[0] if finishes else None), events[-1]["event_time"]
    sla = dimension("sla_hours")
    due = submitted + timedelta(seconds=int(sla * 3600)) if submitted and sla is not None else None
    stages = [e["stage"] for e in events if e["stage"]]
    reopened = [e["event_type"] for e in events if e["stage"] == "reopened"]

    conflicts = [] if submitted else ["no_submission"]
    if submitted:
        conflicts += [
            f"{stage}_before_submitted"
            for stage in ("assigned", "resolved", "rejected", "closed")
            if min(times(stage), default=submitted) < submitted
        ]
    if any(
        a == "closed" and b in {"assigned", "resolved", "rejected"} for a, b in zip(stages, stages[1:], strict=False)
    ):
        conflicts.append("changed_after_closed")

    def seconds(until: datetime | None) -> int | None:
        known = submitted is not None and until is not None and until >= submitted
        return (until - submitted) // timedelta(seconds=1) if known else None  # type: ignore[operator]

    breached = breach = None
    if due and (finished or last) > due:
        breached, breach = True, ((finished or last) - due) // timedelta(seconds=1)
    elif due and finished:
        breached, breach = False, 0

    return {
        "case_id": hashlib.sha256(chr(31).join(key).encode()).hexdigest(),
        "tenant_id": key[0],
        "entity_id": key[1],
        "service": events[0]["service"],
        **{name: dimension(name) for name in ("complaint_type", "priority", "ward_id", "locality_id", "channel")},
        "current_status": status,
        "is_open": status not in FINISHED,
        "submitted_at": submitted,
        "first_assigned_at": min(times("assigned"), default=None),
        "last_resolved_at": max(times("resolved"), default=None),
        "closed_at": max(times("closed"), default=None),
        "rejected_at": max(times("rejected"), default=None),
        "finished_at": finished,
        "first_event_at": events[0]["event_time"],
        "last_event_at": last,
        "event_count": len(events),
        "reopen_count": max(reopened.count("CaseReopened"), reopened.count("StatusChanged")),
        "reassign_count": sum(e["event_type"] == "CaseReassigned" for e in events),
        "time_to_assign_seconds": seconds(min(times("assigned"), default=None)),
        "time_to_resolve_seconds": seconds(max(times("resolved", final), default=None)),
        "time_to_close_seconds": seconds(max(times("closed", final), default=None)),
        "sla_hours": sla,
        "sla_due_at": due,
        "is_sla_breached": breached,
        "sla_breach_seconds": breach,
        "has_conflicting_events": bool(conflicts),
        "conflict_reason": ", ".join(conflicts) or None,
    }


COUNTS = ["events", *(f"cases_{stage}" for stage in STAGES if stage != "cancelled")]
REACHED: dict[str, Callable[[Row], bool]] = {
    "cohort_cases": lambda case: True,
    "cohort_assigned": lambda case: case["first_assigned_at"] is not None,
    "cohort_resolved": lambda case: case["last_resolved_at"] is not None,
    "cohort_closed": lambda case: case["closed_at"] is not None,
    "cohort_rejected": lambda case: case["rejected_at"] is not None,
    "cohort_reopened": lambda case: case["reopen_count"] > 0,
    "cohort_met_sla": lambda case: case["is_sla_breached"] is False,
    "cohort_breached_sla": lambda case: case["is_sla_breached"] is True,
}


def expected_funnel(silver: dict[str, Row], cases: dict[tuple[str, str], Row]) -> dict[tuple[Any, ...], Row]:
    groups: dict[tuple[Any, ...], Row] = defaultdict(lambda: dict.fromkeys([*COUNTS, *REACHED], 0))
    seen = set()
    for event in silver.values():
        case = cases[event["tenant_id"], event["entity_id"]]
        ward = event["ward_id"] or case["ward_id"] or "UNKNOWN"
        channel = event["channel"] or case["channel"] or "UNKNOWN"
        key = (event["event_date"], event["tenant_id"], ward, channel)
        groups[key]["events"] += 1
        once = (key, event["entity_id"], event["stage"])
        if once not in seen and f"cases_{event['stage']}" in COUNTS:
            seen.add(once)
            groups[key][f"cases_{event['stage']}"] += 1
    for case in cases.values():
        if case["submitted_at"]:
            key = (
                case["submitted_at"].date(),
                case["tenant_id"],
                case["ward_id"] or "UNKNOWN",
                case["channel"] or "UNKNOWN",
            )
            for name, reached in REACHED.items():
                groups[key][name] += reached(case)
    names = ("event_date", "tenant_id", "ward_id", "channel")
    return {key: dict(zip(names, key, strict=True)) | counts for key, counts in groups.items()}


def expected_backlog(silver: dict[str, Row]) -> dict[tuple[Any, ...], Row]:
    """The open cases of a lifecycle that knows no event after the day."""
    counts: dict[tuple[Any, ...], int] = defaultdict(int)
    days = [event["event_date"] for event in silver.values()]
    for day in every_day(min(days), min(max(days), datetime.now(UTC).date())) if days else ():
        known = {key: event for key, event in silver.items() if event["event_date"] <= day}
        for case in expected_lifecycle(known).values():
            if case["is_open"]:
                told = (case["ward_id"], case["channel"], case["current_status"])
                counts[day, case["tenant_id"], *(value or "UNKNOWN" for value in told)] += 1
    names = ("backlog_date", "tenant_id", "ward_id", "channel", "status")
    return {key: dict(zip(names, key, strict=True)) | {"open_cases": count} for key, count in counts.items()}


def every_day(first: date, last: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


# Random deliveries ---------------------------------------------------------------------------------------------------


CASE_EVENTS = (
    "CaseSubmitted",
    "CaseAssigned",
    "CaseReassigned",
    "CaseResolved",
    "CaseRejected",
    "CaseClosed",
    "CaseReopened",
    "CaseEscalated",
    "CaseRated",
    "CaseCommented",
)


def random_events(rng: random.Random, count: int, is_in_order: bool) -> list[Row]:
    """Events of a few cases in any order, some with equal times, some without an id, delivered more than once."""
    moments = [START + timedelta(microseconds=rng.randrange(DAYS * 86_400_000_000)) for _ in range(count // 2)]
    events = [random_event(rng, rng.choice(moments)) for _ in range(count)]
    events += [rng.choice(events) | {"event_type": "CaseCommented"} for _ in range(count // 20)]
    delivered = events + [rng.choice(events) for _ in range(count // 4)]
    rng.shuffle(delivered)
    return [event | coordinates(rng, offset, is_in_order) for offset, event in enumerate(delivered)]


def random_event(rng: random.Random, moment: datetime) -> Row:
    event_type = rng.choice([*CASE_EVENTS, *["StatusChanged"] * 3])
    attributes = {
        "complaint_type": rng.choice(["Roads", "Water", " ", 5, None]),
        "priority": rng.choice(["high", " Low ", {"x": 1}, None]),
        "sla_hours": rng.choice([24, "12", 0.125, "abc", -1, True, 1e9, "1e1", None, [1]]),
        "from_status": rng.choice(["open", None]),
        "to_status": rng.choice(
            ["assigned", "RESOLVED", "closed", "REOPENED", "rejected", "CANCELLED", "OPEN", "ODD", None]
        ),
    }
    chosen = {name: value for name, value in attributes.items() if rng.random() < 0.6}
    return {
        "event_id": rng.choice([None, str(uuid.UUID(int=rng.getrandbits(128)))]),
        "event_date": moment.date(),
        "event_time": moment,
        "tenant_id": rng.choice(["pb.amritsar", "pb.o'jalandhar"]),
        "service": "PGR",
        "entity_type": "CASE",
        "entity_id": f"case-{rng.randrange(8)}",
        "event_type": event_type,
        "status": rng.choice(["OPEN", "closed", "ASSIGNED", None]),
        "actor_type": rng.choice(["CITIZEN", None]),
        "actor_id": rng.choice(["ü-1", ""]),
        "channel": rng.choice(["WEB", "MOBILE", None]),
        "ward_id": rng.choice(["W1", "W2", None, None]),
        "locality_id": rng.choice(["L1", None]),
        "attributes_json": rng.choice([json.dumps(chosen), json.dumps(chosen), None, "[1]", "{broken"]),
        "raw_payload": None,
    }


def coordinates(rng: random.Random, offset: int, is_in_order: bool = True) -> Row:
    if not is_in_order and rng.random() < 0.1:
        return dict.fromkeys(["kafka_topic", "kafka_partition", "kafka_offset", "kafka_timestamp", "ingested_at"])
    return {
        "kafka_topic": "pgr-events",
        "kafka_partition": 0,
        "kafka_offset": offset,
        "kafka_timestamp": START + timedelta(days=DAYS, seconds=offset if is_in_order else rng.randrange(60)),
        "ingested_at": START + timedelta(days=DAYS, minutes=offset),
    }


# The rules -----------------------------------------------------------------------------------------------------------


def expected(bronze: list[Row]) -> Contents:
    silver = expected_silver(bronze)
    cases = expected_lifecycle(silver)
    by_id = {(key,): row for key, row in silver.items()}
    computed = [by_id, cases, expected_funnel(silver, cases), expected_backlog(silver)]
    return dict(zip(MODELS.keys, computed, strict=True))  # type: ignore[arg-type]


def test_every_batch_leaves_what_a_full_rebuild_would(warehouse: Warehouse) -> None:
    """In order: Kafka's times grow and nothing comes by SQL, as usual. Then no duplicate ever displaces a row."""
    rng = random.Random(2)
    delivered = random_events(rng, 160, is_in_order=True)
    batches = [delivered[:60], delivered[60:63], delivered[63:64], delivered[64:150], delivered[150:]]
    landed: list[Row] = []
    before = None
    for batch in batches:
        warehouse.land(batch)
        landed += batch
        warehouse.run()
        found = warehouse.contents()
        assert_equals(found, expected(landed))
        if before:
            assert_untouched_rows_stay(before, found)
        before = found
    assert warehouse.reads() == {table: ["all", *["changes"] * (len(batches) - 1)] for table in MODELS.keys}

    unchanged = warehouse.snapshots()
    warehouse.run()
    assert warehouse.snapshots() == unchanged, "a run without news writes nothing"

    warehouse.run("--full-refresh")
    assert_equals(warehouse.contents(), expected(landed))


def test_appends_and_compaction_leave_silver_without_delete_files(warehouse: Warehouse) -> None:
    rng = random.Random(2)
    events = [random_event(rng, START) | coordinates(rng, offset) for offset in range(15)]
    for batch in (events[:5], events[5:10], events[10:]):
        warehouse.land(batch)
        if batch[-1] is events[-1]:
            warehouse.sql(f"alter table {warehouse.bronze} execute optimize")
        warehouse.run()
    assert_equals(warehouse.contents(), expected(events))
    assert warehouse.reads()["silver.pgr_events"] == ["all", "changes", "changes"]
    assert warehouse.sql('select count(*) from {p}silver."pgr_events$files" where content <> 0') == [[0]]


def test_deleted_and_changed_bronze_rows_reach_gold(warehouse: Warehouse) -> None:
    rng = random.Random(3)
    events = [random_event(rng, START + timedelta(hours=i)) | coordinates(rng, i) for i in range(30)]
    warehouse.land(events)
    warehouse.run()
    warehouse.sql(f"delete from {warehouse.bronze} where entity_id = 'case-1'")
    warehouse.sql(f"update {warehouse.bronze} set actor_id = null where entity_id = 'case-2'")
    warehouse.run()
    remaining = warehouse.landed()
    assert 0 < len(remaining) < len(events)
    assert_equals(warehouse.contents(), expected(remaining))
    assert warehouse.reads() == {table: ["all", "all"] for table in MODELS.keys}


def test_a_backfill_takes_its_days_and_leaves_the_position(warehouse: Warehouse) -> None:
    rng = random.Random(4)
    old, new = (
        [random_event(rng, START + timedelta(days=i % 3)) | coordinates(rng, i) for i in range(20)] for _ in range(2)
    )
    warehouse.land(old)
    warehouse.run()
    warehouse.land(new)
    day = (START + timedelta(days=1)).date()
    warehouse.run(start_date=str(day), end_date=str(day))
    by_day = [row for row in old + new if row in old or row["event_date"] == day]
    assert without_audit(warehouse.contents()["silver.pgr_events"]) == expected(by_day)["silver.pgr_events"]
    warehouse.run()
    assert_equals(warehouse.contents(), expected(old + new))
    unchanged = warehouse.snapshots()
    warehouse.run(start_date=str(START.date()), end_date=str((START + timedelta(days=2)).date()))
    assert {reads[-1] for reads in warehouse.reads().values()} == {"all"}, "no other days are held"
    assert warehouse.snapshots() == unchanged, "a backfill that finds nothing to mend writes nothing"


@pytest.mark.parametrize("seed", [11, *(pytest.param(seed, marks=pytest.mark.soak) for seed in (12, 13))])
def test_refreshes_and_backfills_in_any_order_leave_what_a_full_rebuild_would(warehouse: Warehouse, seed: int) -> None:
    """Slices of a random delivery, each followed by a refresh or a backfill; then bronze is mended and backfilled."""
    rng = random.Random(seed)
    delivered = random_events(rng, 240, is_in_order=False)
    cuts = [0, *sorted(rng.sample(range(1, len(delivered)), 3)), len(delivered)]
    for first, last in pairwise(cuts):
        warehouse.land(delivered[first:last])
        warehouse.run(**rng.choice([{}, random_days(rng)]))
    warehouse.run()
    assert_equals(warehouse.contents(), expected(delivered))
    days = random_days(rng)
    within = f"event_date between date '{days['start_date']}' and date '{days['end_date']}'"
    wrong = "(entity_id in ('case-1', 'case-2') or coalesce(kafka_offset, 0) % 3 = 0)"
    warehouse.sql(f"delete from {warehouse.bronze} where {within} and {wrong}")
    warehouse.run(**days)
    backfilled = warehouse.contents()
    remaining = warehouse.landed()
    assert len(remaining) < len(delivered)
    assert_equals(backfilled, expected(remaining))
    warehouse.run("--full-refresh")
    assert_equals(backfilled, {table: without_audit(rows) for table, rows in warehouse.contents().items()})


def random_days(rng: random.Random) -> dict[str, str]:
    first, last = sorted((START + timedelta(days=rng.randrange(DAYS))).date() for _ in range(2))
    return {"start_date": str(first), "end_date": str(last)}


def test_a_day_more_of_the_backlog_leaves_the_days_before_alone(warehouse: Warehouse) -> None:
    """Nothing is read of cases that have no event since, and nothing is written of days that do not change."""
    rng = random.Random(5)
    days = [
        [random_event(rng, START + timedelta(days=day)) | coordinates(rng, 20 * day + number) for number in range(20)]
        for day in range(2)
    ]
    warehouse.land(days[0])
    warehouse.run()
    before = warehouse.contents()["gold.pgr_backlog_daily"]
    warehouse.land(days[1])
    warehouse.run()
    after = warehouse.contents()
    assert_equals(after, expected([*days[0], *days[1]]))
    assert before.items() <= after["gold.pgr_backlog_daily"].items()


def test_every_rule_that_dbt_states_as_a_unit_test_holds(warehouse: Warehouse) -> None:
    """dbt takes the types of given rows from the tables, so these are built first, and tested as by a schedule."""
    rng = random.Random(6)
    warehouse.land([random_event(rng, START) | coordinates(rng, offset) for offset in range(20)])
    warehouse.dbt("build", "--select", "group:pgr", "group:platform", "--exclude-resource-type", "unit_test")
    warehouse.dbt("test", "--select", "group:pgr,test_type:unit", "group:platform,test_type:unit")
