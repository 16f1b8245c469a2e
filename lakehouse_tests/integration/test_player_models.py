"""The players' models against a real Trino: built batch by batch they equal a full rebuild and a count in Python."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lakehouse_tests.conftest import Stack
from lakehouse_tests.player_marts import boards, facts, players
from lakehouse_tests.stores import Event
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

START = datetime(2026, 2, 27, 22, tzinfo=UTC)
"""A Friday: a week ends in it, and a month."""
HOURS = 80
KINDS = ("login", "move", "player_score", "player_score", "player_score")
COORDINATES = ("kafka_topic", "kafka_partition", "kafka_offset", "kafka_timestamp")

MODELS = Models(
    domain="players",
    bronze="player_events",
    columns={
        "event_id": "varchar not null",
        "event_time": "timestamp(6) with time zone not null",
        "event_type": "varchar not null",
        "player_id": "varchar not null",
        "game_id": "varchar not null",
        "data": "varchar",
        "score": "bigint",
        "raw_payload": "varchar",
        "kafka_topic": "varchar",
        "kafka_partition": "integer",
        "kafka_offset": "bigint",
        "kafka_timestamp": "timestamp(6) with time zone",
        "is_late_arrival": "boolean",
        "is_beyond_lateness": "boolean",
        "ingested_at": "timestamp(6) with time zone",
        "erased_at": "timestamp(6) with time zone",
    },
    partitioning=("day(event_time)",),
    keys={
        "silver.player_events": ("event_id",),
        "gold.fact_player_daily": ("date_key", "game_id", "player_id"),
        "gold.dim_player": ("player_id",),
        "gold.leaderboard_history": ("period", "period_start", "game_id", "player_id"),
    },
)


@pytest.fixture
def warehouse(stack: Stack, tmp_path: Path) -> Iterator[Warehouse]:
    yield from open_warehouse(stack, MODELS, tmp_path)


def expected(bronze: list[Row]) -> Contents:
    """Of an event id the first in Kafka counts; what SQL wrote comes after all others."""
    first: dict[str, Row] = {}
    for row in bronze:
        if row["event_id"] not in first or place(row) < place(first[row["event_id"]]):
            first[row["event_id"]] = row
    silver = {
        (key,): {name: row[name] for name in MODELS.columns if name not in {"raw_payload", "erased_at"}}
        | {"event_date": row["event_time"].date()}
        for key, row in first.items()
    }
    told = [
        Event(
            row["player_id"],
            row["game_id"],
            row["event_type"],
            row["event_time"],
            row["score"] if row["event_type"] == "player_score" else None,
        )
        for row in silver.values()
    ]
    return {
        "silver.player_events": silver,
        "gold.fact_player_daily": facts(told),
        "gold.dim_player": players(told),
        "gold.leaderboard_history": boards(told, datetime.now(UTC).date()),
    }


def place(row: Row) -> tuple[Any, ...]:
    return (row["kafka_offset"] is None, row["kafka_timestamp"] or START, row["kafka_offset"] or 0, row["data"])


def random_events(rng: random.Random, count: int) -> list[Row]:
    """Events of a few players, many within half an hour of another, some again, and some of a board that is open."""
    moments = [START + timedelta(seconds=rng.randrange(HOURS * 3600)) for _ in range(count // 6)]
    moments += [START.replace(hour=23, minute=50) + timedelta(days=day) for day in range(3)]
    events = [random_event(rng, rng.choice(moments), number) for number in range(count)]
    events += [random_event(rng, datetime(2199, 1, 1, tzinfo=UTC), count + number) for number in range(2)]
    # What comes again may tell something else of the same time.
    known = [rng.choice(events) for _ in range(count // 5)]
    repeats = [random_event(rng, START, 0) | {n: e[n] for n in ("event_id", "event_time")} for e in known]
    delivered = events + repeats
    rng.shuffle(delivered)
    return [event | coordinates(rng, offset) for offset, event in enumerate(delivered)]


def random_event(rng: random.Random, moment: datetime, number: int) -> Row:
    near = timedelta(microseconds=rng.choice([0, 1, 1_799_999_999, 1_800_000_000, rng.randrange(3_600_000_000)]))
    return dict.fromkeys(MODELS.columns) | {
        "event_id": f"event-{number}",
        "event_time": moment + near,
        "event_type": rng.choice(KINDS),
        "player_id": rng.choice(["a", "B", "b", "é", "o'neil"]),
        "game_id": rng.choice(["g", "h"]),
        "data": f'{{"n":{rng.randrange(1_000_000)}}}',
        "score": rng.choice([-5, 0, 5, 5, 10**9]),
        "is_late_arrival": rng.choice([True, False]),
        "is_beyond_lateness": False,
    }


def coordinates(rng: random.Random, offset: int) -> Row:
    if rng.random() < 0.05:
        return dict.fromkeys(COORDINATES)
    at = START + timedelta(days=9, seconds=rng.randrange(60))
    return dict(zip(COORDINATES, ("player.events.raw", 0, offset, at), strict=True))


def random_days(rng: random.Random) -> dict[str, str]:
    first, last = sorted((START + timedelta(hours=rng.randrange(HOURS))).date() for _ in range(2))
    return {"start_date": str(first), "end_date": str(last)}


def test_refreshes_and_backfills_in_any_order_leave_what_a_full_rebuild_would(warehouse: Warehouse) -> None:
    """Slices of a random delivery; then some of bronze is deleted, and its days are built again."""
    rng = random.Random(21)
    delivered = random_events(rng, 200)
    before: Contents | None = None
    landed: list[Row] = []
    for batch in (delivered[:120], delivered[120:123], delivered[123:200]):
        warehouse.land(batch)
        landed += batch
        warehouse.run()
        found = warehouse.contents()
        assert_equals(found, expected(landed))
        if before:
            assert_untouched_rows_stay(before, found)
        before = found
    unchanged = warehouse.snapshots()
    warehouse.run()
    assert warehouse.snapshots() == unchanged, "a run without news writes nothing"

    warehouse.land(delivered[200:])
    warehouse.run(**random_days(rng))
    warehouse.run()
    days = random_days(rng)
    within = f"cast(event_time as date) between date '{days['start_date']}' and date '{days['end_date']}'"
    warehouse.sql(f"delete from {warehouse.bronze} where {within} and (player_id = 'a' or kafka_offset % 3 = 0)")
    warehouse.run(**days)
    backfilled, remaining = warehouse.contents(), warehouse.landed()
    assert len(remaining) < len(delivered)
    assert_equals(backfilled, expected(remaining))
    warehouse.run("--full-refresh")
    assert_equals(backfilled, {table: without_audit(rows) for table, rows in warehouse.contents().items()})


def test_appends_are_read_as_what_is_new_and_every_rule_holds(warehouse: Warehouse) -> None:
    """As streams land them, in Kafka's order. dbt takes the types of given rows from tables: these are built first."""
    rng = random.Random(22)
    events = [
        random_event(rng, START + timedelta(minutes=20 * number), number)
        | dict(zip(COORDINATES, ("player.events.raw", 0, number, START + timedelta(minutes=number)), strict=True))
        for number in range(40)
    ]
    build = ("build", "--exclude-resource-type", "unit_test", "--select")
    for batch in (events[:30], events[30:]):
        warehouse.land(batch)
        # As each hour: gold is not there yet, and older then.
        warehouse.dbt(*build, "silver_player_events")
        warehouse.dbt(*build, "group:players", "group:platform")
    assert_equals(warehouse.contents(), expected(events))
    silver = {"silver.player_events": ["all", "nothing", "changes", "nothing"]}
    assert warehouse.reads() == {table: ["all", "changes"] for table in MODELS.keys} | silver
    assert warehouse.sql('select count(*) from {p}silver."player_events$files" where content <> 0') == [[0]]
    warehouse.dbt("test", "--select", "group:players,test_type:unit")
