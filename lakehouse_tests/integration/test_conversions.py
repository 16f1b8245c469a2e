"""Silver and gold of the conversions by Spark, on real servers, held against what brute force makes of the same events.

Bronze is filled here as the stream fills it; that the stream does is tested with the stream.
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyspark.sql import SparkSession
from pyspark.sql import functions as sf

from lakehouse.adapters.iceberg.catalog import connect, ensure_table
from lakehouse.adapters.iceberg.history import Mode
from lakehouse.adapters.spark.scd2 import DELETE, OPERATION, SINCE, Dimension, build_versions, changes
from lakehouse.adapters.spark.session import open_session
from lakehouse.adapters.spark.workspace import Workspace
from lakehouse.contracts.arrow import arrow_schema
from lakehouse.contracts.contract import Contract
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.definitions import defs
from lakehouse.domains.conversions import backfill, erasure, gold, silver, tables
from lakehouse.domains.conversions.agreement import disagreements
from lakehouse.domains.conversions.backfill import IN_ORDER, run_backfill
from lakehouse.domains.conversions.contract import CONVERSION_EVENT
from lakehouse.domains.conversions.source import conversion_events
from lakehouse.errors import LakehouseError
from lakehouse.ledger.built import Built
from lakehouse.naming import DIM_DATE
from lakehouse.settings import Settings, load
from lakehouse.stack import down, up
from lakehouse.stack.dagster import Dagster
from lakehouse.stack.environment import exports
from lakehouse_tests import conversions as expected
from lakehouse_tests.conftest import Stack, questions_of_the_readme
from lakehouse_tests.conversions import Event, at, bronze
from lakehouse_tests.failpoints import killed_in

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

SEARCH = [phase for phase in Phase if phase is not Phase.shrink]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MARTS = (tables.DAILY, tables.HOURLY, tables.POPULARITY)
MADE = (tables.CONVERSION, tables.USER_VERSION, tables.USER, tables.HOUR, tables.FACT, *MARTS)
EMPTIED = (CONVERSION_EVENT, *MADE, tables.BACKFILL)


@pytest.fixture(scope="module")
def settings(stack: Stack) -> Iterator[Settings]:
    """Spark beside the other servers."""
    found = load()
    up(found, servers=["spark"])
    try:
        yield found
    finally:
        down(found, ["spark"])


@pytest.fixture(scope="module")
def spark(settings: Settings) -> Iterator[SparkSession]:
    with open_session(settings) as session:
        yield session
        House(settings, session).clear()  # other tests begin with a bronze of their own


class House:
    """The tables of the conversions, emptied."""

    def __init__(self, settings: Settings, spark: SparkSession) -> None:
        self.catalog: Catalog = connect(settings)
        self.work = Workspace(spark, self.catalog, "run")
        self.clear()
        self.bronze = ensure_table(self.catalog, CONVERSION_EVENT)

    def drop(self, contract: Contract) -> None:
        with contextlib.suppress(NoSuchTableError):
            self.catalog.drop_table(contract.table.identifier)

    def clear(self) -> None:
        for contract in EMPTIED:
            self.drop(contract)

    def land(self, events: Sequence[Event]) -> None:
        self.bronze.refresh()
        self.bronze.append(bronze(events))

    def make_silver(self) -> list[Built]:
        made = (silver.build_conversions, silver.build_users)
        return [make(self.work) for make in made]

    def make_gold(self) -> list[Built]:
        made = (gold.build_dim_user, gold.build_dim_hour, gold.build_fact)
        return [make(self.work) for make in made] + [gold.build_mart(self.work, mart) for mart in MARTS]

    def rows(self, contract: Contract) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.catalog.load_table(contract.table.identifier).scan().to_arrow().to_pylist()
        return found

    def versions(self) -> list[expected.Version]:
        names = [column.name for column in tables.USER_VERSION.fields]
        found = [tuple(row[name] for name in names) for row in self.rows(tables.USER_VERSION)]
        return sorted(found, key=lambda version: (version[0], version[4]))

    def judge(self, landed: Sequence[Event]) -> None:
        """Hold every table against brute force."""
        events = list(expected.silver(landed).values())
        assert sorted(row["event_id"] for row in self.rows(tables.CONVERSION)) == sorted(e.event_id for e in events)
        assert self.versions() == expected.users(events)
        keys = {row["event_id"]: row["user_key"] for row in self.rows(tables.FACT)}
        assert keys == expected.facts(events)
        assert set(keys.values()) <= {row["user_key"] for row in self.rows(tables.USER)}
        measured = {row.pop("date_key"): without_audit(row) for row in self.rows(tables.DAILY)}
        assert measured == expected.daily(events)
        by_hour = {(row.pop("date_key"), row.pop("hour_key")): without_audit(row) for row in self.rows(tables.HOURLY)}
        hours = {(e.event_time.date(), e.event_time.hour) for e in events}
        assert by_hour == {
            hour: expected.measures([e for e in events if (e.event_time.date(), e.event_time.hour) == hour])
            for hour in hours
        }
        asked: dict[tuple[date, int | None], list[str | None]] = {}
        for event in events:
            if event.event_type == "SINGLE":
                asked.setdefault((event.event_time.date(), event.input_number), []).append(event.user_id)
        assert {(r["date_key"], r["input_number"]): (r["conversions"], r["unique_users"]) for r in self.popular()} == {
            key: (len(users), len(set(users) - {None})) for key, users in asked.items()
        }

    def popular(self) -> list[dict[str, Any]]:
        return self.rows(tables.POPULARITY)


def without_audit(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("_audit")}


@pytest.fixture
def house(settings: Settings, spark: SparkSession) -> House:
    return House(settings, spark)


def some_events(chance: random.Random, count: int, first: int = 0, days: int = 4) -> list[Event]:
    """Events of a few users in disorder, some of them senseless, anonymous, late, at the same time."""
    found = []
    for offset in range(first, first + count):
        number = chance.choice([1, 4, 1999, 3999])
        event = Event(
            offset=offset,
            event_id=f"e{offset}",
            event_time=NOON + timedelta(hours=chance.randrange(24 * days), microseconds=chance.randrange(2)),
            user_id=chance.choice([None, "7", "8", "9"]),
            api_key_prefix=chance.choice(["a", "a", "b", None]),
            client_ip=chance.choice(["10.0.0.1", "10.0.0.2", "10.9.0.1"]),
            input_number=number,
            output_roman=expected.roman(number),
            response_time_nanos=chance.randrange(10_000),
            status=chance.choice(["SUCCESS", "SUCCESS", "ERROR"]),
            is_late_arrival=chance.random() < 0.2,
            partition=chance.randrange(3),
        )
        if chance.random() < 0.1:
            event = at(event, event_type="RANGE", range_min=1, range_max=10, output_roman=None, input_number=None)
        found.append(event)
    return found


def test_numbers_are_written_as_romans_did(spark: SparkSession) -> None:
    numbers = spark.range(-1, 4002).select("id", silver.numeral(sf.col("id")).alias("numeral")).toArrow().to_pylist()
    assert {row["id"]: row["numeral"] for row in numbers} == {
        number: expected.roman(number) if 1 <= number <= 3999 else None for number in range(-1, 4002)
    }


def test_what_makes_no_sense_is_a_dead_letter_once_and_costs_only_itself(house: House) -> None:
    good = Event(0, "good", NOON, user_id="7")
    senseless = {
        "NUMBER_OUT_OF_RANGE": [at(good, input_number=n, output_roman=None) for n in (0, 4000, -1, None)],
        "WRONG_NUMERAL": [at(good, output_roman="IIII"), at(good, output_roman=None), at(good, output_roman="iv")],
        "NEGATIVE_RESPONSE_TIME": [at(good, response_time_nanos=-1)],
        "INVALID_RANGE": [
            at(good, event_type="RANGE", range_min=low, range_max=high, result_count=count)
            for low, high, count in ((5, 4, 1), (0, 4, 1), (5, 4000, 1), (None, 4, 1), (1, None, 1), (1, 4, -1))
        ],
    }
    sensible = [
        good,
        at(good, output_roman=None, status="ERROR"),
        at(good, event_type="RANGE", range_min=1, range_max=3999, input_number=None, output_roman=None),
        at(good, response_time_nanos=None, user_id=None),
    ]
    reasons = {}
    landed = [at(event, offset=n, event_id=f"s{n}") for n, event in enumerate(sensible)]
    for reason, events in senseless.items():
        for event in events:
            landed.append(at(event, offset=len(landed), event_id=f"s{len(landed)}"))
            reasons[f"silver.conversions:roman-numeral-events:0:{landed[-1].offset}"] = reason
    house.land(landed)
    (built, _) = house.make_silver()
    assert (built.rows, built.refused) == (len(sensible), len(reasons))
    # As if the run had been ended between its two commits.
    house.drop(tables.CONVERSION)
    house.make_silver()
    letters = house.catalog.load_table("bronze.dead_letters").scan().to_arrow().to_pylist()
    own = [letter for letter in letters if letter["source"] == "silver.conversions"]
    assert {letter["dead_letter_id"]: letter["error_type"] for letter in own} == reasons
    assert len(own) == len(reasons)
    payloads = {letter["dead_letter_id"]: letter["original_payload"] for letter in own}
    assert payloads[next(iter(reasons))] == b'{"event_id": "s4", "user_id": "7"}'
    assert {row["event_id"] for row in house.rows(tables.CONVERSION)} == {"s0", "s1", "s2", "s3"}


def test_a_run_with_nothing_new_commits_nothing(house: House) -> None:
    house.land(some_events(random.Random(1), 20))
    house.make_silver()
    house.make_gold()
    before = [house.catalog.load_table(contract.table.identifier).metadata_location for contract in MADE]
    assert {built.rows for built in (*house.make_silver(), *house.make_gold())} == {0}
    assert [house.catalog.load_table(contract.table.identifier).metadata_location for contract in MADE] == before


@hypothesis_settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), phases=SEARCH)
@given(seed=st.integers(0, 10_000), sizes=st.lists(st.integers(1, 25), min_size=2, max_size=4), data=st.data())
def test_whatever_comes_when_all_tables_are_what_brute_force_makes(
    settings: Settings, spark: SparkSession, seed: int, sizes: list[int], data: st.DataObject
) -> None:
    """Batches in disorder, repeats among them, gold after some of them only."""
    house, chance = House(settings, spark), random.Random(seed)
    landed: list[Event] = []
    for size in sizes:
        new = some_events(chance, size, first=len(landed))
        new += [at(event, offset=1_000 + event.offset) for event in chance.sample(landed, min(3, len(landed)))]
        chance.shuffle(new)
        landed += new
        house.land(new)
        if data.draw(st.booleans(), label="silver"):
            house.make_silver()
            if data.draw(st.booleans(), label="gold"):
                house.make_gold()
    house.make_silver()
    house.make_gold()
    house.judge(landed)


def test_the_questions_of_the_readme_have_answers(house: House, stack: Stack) -> None:
    house.land(some_events(random.Random(5), 30))
    house.make_silver()
    house.make_gold()
    questions = questions_of_the_readme("conversions")
    assert len(questions) >= 2
    for question in questions:
        assert stack.sql(question), question


@pytest.mark.filterwarnings("ignore:AssetExecutionContext.op :DeprecationWarning")  # dagster-dbt asks for it
def test_the_job_makes_the_star_and_the_calendar_that_its_facts_point_at(house: House, stack: Stack) -> None:
    landed = some_events(random.Random(6), 30)
    house.land(landed)
    house.make_silver()
    made = defs.resolve_job_def("conversions_gold").execute_in_process().get_asset_materialization_events()
    assert {event.asset_key.to_user_string() for event in made if event.asset_key} == {
        f"gold/{name.table}" for name in (*(contract.table for contract in MADE[2:]), DIM_DATE)
    }
    house.judge(landed)
    dated = "select count(*) from iceberg.gold.fact_conversions join iceberg.gold.dim_date using (date_key)"
    assert stack.sql(dated) == [[len(house.rows(tables.FACT))]]


def test_only_days_with_news_are_made_anew(house: House) -> None:
    house.land(some_events(random.Random(3), 40))
    house.make_silver()
    house.make_gold()
    before = {row["date_key"]: row["_audit_loaded_at"] for row in house.rows(tables.DAILY)}
    house.land([Event(100, "new", NOON + timedelta(days=1))])
    house.make_silver()
    house.make_gold()
    after = {row["date_key"]: row["_audit_loaded_at"] for row in house.rows(tables.DAILY)}
    assert {day for day, made in after.items() if made != before.get(day)} == {(NOON + timedelta(days=1)).date()}


def test_a_late_event_gives_facts_of_other_days_another_version_of_their_user(house: House) -> None:
    first = Event(0, "a", NOON, user_id="7", api_key_prefix="old")
    later = Event(1, "b", NOON + timedelta(days=3), user_id="7", api_key_prefix="new")
    late = Event(2, "c", NOON + timedelta(days=2, hours=1), user_id="7", api_key_prefix="new")
    between = Event(3, "d", NOON + timedelta(days=2, hours=2), user_id="7", api_key_prefix="new")
    house.land([first, later, between])
    house.make_silver()
    house.make_gold()
    house.judge([first, later, between])
    house.land([late])
    house.make_silver()
    house.make_gold()
    house.judge([first, later, between, late])


def test_stream_and_batch_say_the_same_of_every_spelling_and_a_damaged_hour_is_told(house: House, stack: Stack) -> None:
    """The payloads are of the generator, the rows what an independent reader makes of them."""
    messages = [value for _, value in conversion_events(300, seed=3, end=NOON, days=1) if value]
    schema = arrow_schema(CONVERSION_EVENT)
    rows = []
    for offset, payload in enumerate(messages):
        event = {snake_case(name): value for name, value in json.loads(payload).items()}
        time = event["event_time"]
        event["event_time"] = (
            datetime.fromtimestamp(time / 1000, UTC) if isinstance(time, int) else datetime.fromisoformat(time)
        )
        event["user_id"] = None if event["user_id"] is None else str(event["user_id"])
        rows.append(event | {"raw_payload": payload.decode(), "kafka_topic": "t", "kafka_offset": offset})
    table = pa.Table.from_pylist(rows, schema)
    house.bronze.append(table)
    assert disagreements(house.work, NOON - timedelta(days=2)) == []
    damaged = rows[150]
    stack.sql("update iceberg.bronze.conversion_events set status = 'LOST' where kafka_offset = ?", 150)
    (found,) = disagreements(house.work, NOON - timedelta(days=2))
    assert found.hour == damaged["event_time"].replace(minute=0, second=0, microsecond=0)


def snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


# Backfills ---------------------------------------------------------------------------------------------------------


def made(house: House, events: Sequence[Event]) -> None:
    house.land(events)
    house.make_silver()
    house.make_gold()


def log(house: House) -> list[str]:
    rows = sorted(house.rows(tables.BACKFILL), key=lambda row: row["written_at"])
    return [row["state"] for row in rows]


def branches(house: House) -> set[str]:
    found = (house.catalog.load_table(contract.table.identifier).refs() for contract in IN_ORDER)
    return {name for refs in found for name in refs} - {"main"}


FIRST, LAST = NOON.date(), (NOON + timedelta(days=1)).date()


def test_days_that_were_damaged_are_made_anew(house: House, stack: Stack) -> None:
    events = some_events(random.Random(7), 60)
    made(house, events)
    stack.sql("delete from iceberg.silver.conversions where event_time < ?", NOON + timedelta(hours=8))
    stack.sql("update iceberg.gold.conversions_daily set conversions = 1 where date_key = ?", FIRST)
    done = run_backfill(house.work, FIRST, LAST, tolerance=1_000)
    assert done.problems == []
    assert [(d.day, d.before) for d in done.differences][0] == (FIRST, 1)
    house.judge(events)
    assert log(house)[-2:] == ["swapping", "done"]
    assert branches(house) == set()
    # What is made hourly and daily goes on where it was.
    late = [at(event, offset=500 + event.offset, event_id=f"late-{event.event_id}") for event in events[:5]]
    made(house, late)
    house.judge([*events, *late])


def test_a_failing_audit_leaves_the_tables_as_they_were(house: House) -> None:
    made(house, some_events(random.Random(8), 20))
    more = [Event(100 + n, f"m{n}", NOON + timedelta(seconds=n)) for n in range(100)]
    house.land(more)
    before = [house.work.head(contract.table) for contract in IN_ORDER]
    with pytest.raises(LakehouseError, match=r"(?s)no day changes by more than 50%: 2026-11-20 .* on branch backfill_"):
        run_backfill(house.work, FIRST, LAST)
    assert [house.work.head(contract.table) for contract in IN_ORDER] == before
    assert log(house)[-1] == "failed"
    assert len(branches(house)) == 1
    run_backfill(house.work, FIRST, LAST, tolerance=1_000)
    assert log(house)[-1] == "done"


def test_a_swap_that_was_ended_is_completed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    events = some_events(random.Random(9), 30)
    made(house, events)
    unseen = [Event(200, "unseen", NOON + timedelta(minutes=1), user_id="7")]
    house.land(unseen)
    original = backfill.write_down

    def end_before_done(work: Workspace, entry: backfill.Backfill) -> None:
        if entry.state == "done":
            raise KeyboardInterrupt
        original(work, entry)

    with monkeypatch.context() as patch:
        patch.setattr(backfill, "write_down", end_before_done)
        with pytest.raises(KeyboardInterrupt):
            run_backfill(house.work, FIRST, LAST, tolerance=1_000)
    assert log(house)[-1] == "swapping"
    backfill.roll_forward(house.work)
    assert log(house)[-1] == "done"
    house.make_silver()
    house.make_gold()
    house.judge([*events, *unseen])


def test_what_was_committed_meanwhile_is_not_lost(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    events = some_events(random.Random(10), 30)
    made(house, events)
    meanwhile = [Event(300, "meanwhile", NOON + timedelta(days=3), user_id="8")]
    original = backfill.differences

    def others_commit(*arguments: Any) -> list[backfill.Difference]:
        monkeypatch.setattr(backfill, "differences", original)
        house.land(meanwhile)
        house.make_silver()
        return original(*arguments)

    monkeypatch.setattr(backfill, "differences", others_commit)
    run_backfill(house.work, FIRST, LAST)
    assert log(house)[-4:] == ["swapping", "overtaken", "swapping", "done"]
    house.make_gold()
    house.judge([*events, *meanwhile])


# Erasure -----------------------------------------------------------------------------------------------------------

PERSON, TRACES = "user-4711", ("user-4711", "203.0.113", "key-of-4711")


def is_whole(file: Path) -> bool:
    """Whether a Parquet file was written to its end."""
    return file.read_bytes().endswith(b"PAR1")


def traces(house: House, home: Path) -> list[str]:
    """Files of the tables with rows that tell of the person, wherever they are, and files of the servers that do."""
    found = []
    for contract in (*MADE, CONVERSION_EVENT, DEAD_LETTER):
        table = house.catalog.load_table(contract.table.identifier)
        for file in Path(urlsplit(table.location()).path).rglob("*.parquet"):
            # Other tests fill disks in the middle of a file, which nobody can read then.
            texts = str(pq.ParquetFile(file).read().to_pylist()) if is_whole(file) else ""
            found += [str(file)] if any(trace in texts for trace in TRACES) else []
        manifests = {m.manifest_path: m for snapshot in table.snapshots() for m in snapshot.manifests(table.io)}
        for path, manifest in manifests.items():
            listed = manifest.fetch_manifest_entry(table.io, discard_deleted=False)
            bounds = str([(entry.data_file.lower_bounds, entry.data_file.upper_bounds) for entry in listed])
            found += [path] if any(trace in bounds for trace in TRACES) else []
    # The catalog's database is Dagster's too, which keeps what its runs say.
    kept = [file for names in ("*.log", "*.err", "*.out", "pg_wal/*") for file in home.rglob(names) if file.is_file()]
    assert kept
    return found + [str(file) for file in kept if PERSON.encode() in file.read_bytes()]


def test_an_erased_user_is_nowhere_and_counts_as_an_anonymous_one(house: House, settings: Settings) -> None:
    chance = random.Random(11)
    others = some_events(chance, 40)
    own = [
        at(event, user_id=PERSON, client_ip="203.0.113.7", api_key_prefix="key-of-4711")
        for event in some_events(chance, 12, first=40)
    ]
    senseless = at(own[0], offset=60, event_id="senseless", output_roman="IIII", event_type="SINGLE", input_number=4)
    made(house, [*others, *own[:8]])
    unread = [*own[8:], senseless]
    house.land(unread)
    before = {row["event_id"]: row for row in house.rows(CONVERSION_EVENT) if row["user_id"] != PERSON}
    assert {str(one.table): one.rows for one in erasure.find(house.catalog, PERSON)} == {
        "bronze.conversion_events": 13,
        "silver.conversions": 8,
        "silver.dim_users": len([v for v in house.versions() if v[0] == PERSON]),
        "gold.dim_user": len([v for v in house.versions() if v[0] == PERSON]),
        "gold.fact_conversions": 8,
    }

    with killed_in(f"{gold.__name__}.build_fact"):
        erasure.erase(settings, house.work, PERSON)
    Dagster().configure(settings)
    command = [sys.executable, "-c", "from lakehouse.cli import main; main()", "erase", "user", PERSON, "--json"]
    done = subprocess.run(command, env=exports(settings), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"]["gold.fact_conversions"] == 8, "all that was left to do"
    assert erasure.find(house.catalog, PERSON) == []
    assert traces(house, settings.home) == []
    erased = [at(event, user_id=None, client_ip=None, api_key_prefix=None) for event in own]
    house.judge([*others, *erased])
    rows = {row["event_id"]: row for row in house.rows(CONVERSION_EVENT)}
    assert {event_id: rows[event_id] for event_id in before} == before
    assert {event_id for event_id, row in rows.items() if row["erased_at"]} == {e.event_id for e in (*own, senseless)}
    letters = house.catalog.load_table("bronze.dead_letters").scan().to_arrow().to_pylist()
    (letter,) = (one for one in letters if one["erased_at"])
    assert letter["dead_letter_id"] == f"silver.conversions:roman-numeral-events:{senseless.partition}:60"
    assert (letter["original_payload"], letter["error_message"]) == (None, erasure.ERASED)
    assert (letter["error_type"], letter["source"]) == ("WRONG_NUMERAL", "silver.conversions")
    # What is made hourly goes on where it was, and days that are made anew from bronze are the same.
    again = Event(70, "again", NOON + timedelta(hours=3), user_id=PERSON)
    house.land([again])
    assert [(built.mode, built.rows) for built in house.make_silver()] == [(Mode.CHANGES, 1), (Mode.CHANGES, 1)]
    run_backfill(house.work, FIRST, LAST)
    house.judge([*others, *erased, again])


# The generic function, with deletions -----------------------------------------------------------------------------

THINGS = Dimension(key="key", attributes=("colour", "size"), at="at", order=("place",), deleted="gone")
Observation = tuple[str, int, int, str | None, str | None, bool]
OBSERVATIONS = st.lists(
    st.tuples(
        st.sampled_from("xyz"),
        st.integers(0, 9),
        st.sampled_from([None, "red", "blue"]),
        st.sampled_from([None, "S"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=16,
)
SCHEMA = "key string, at timestamp, place long, colour string, size string, gone boolean"


def story(observations: Sequence[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """Versions by brute force: key, attributes, from, to, is current, number."""
    found = set()
    for key in {observation[0] for observation in observations}:
        at_time = {o[1]: o for o in sorted((o for o in observations if o[0] == key), key=lambda o: (o[1], o[2]))}
        states = [(time, None if o[5] else o[3:5]) for time, o in sorted(at_time.items())]
        turns = [state for i, state in enumerate(states) if i == 0 or state[1] != states[i - 1][1]]
        number = 0
        for (time, state), following in zip(turns, [*turns[1:], None], strict=True):
            if state is not None:
                number += 1
                end = following[0] if following else None
                found.add((key, *state, time, end, end is None, number))
    return found


@hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), phases=SEARCH)
@given(given_=OBSERVATIONS, cut=st.integers(0, 16))
def test_versions_tell_of_observations_in_whatever_order_they_come(
    spark: SparkSession, given_: list[tuple[Any, ...]], cut: int
) -> None:
    seen = [(key, at_, place, *rest) for place, (key, at_, *rest) in enumerate(given_)]
    moments = {n: NOON + timedelta(hours=n) for n in range(10)}

    def frame(observations: Sequence[tuple[Any, ...]]) -> Any:
        rows = [(o[0], moments[o[1]], *o[2:]) for o in observations]
        return spark.createDataFrame(rows, SCHEMA)

    def told(versions: Any) -> set[tuple[Any, ...]]:
        hours = {moment: n for n, moment in moments.items()} | {None: None}
        table = versions.select(*THINGS.version_columns).toArrow().to_pylist()
        return {tuple(hours[v] if isinstance(v, datetime) else v for v in row.values()) for row in table}

    old, new = seen[:cut], seen[cut:]
    versions = build_versions(THINGS, frame(old))
    assert told(versions) == story(old)
    since = {key: min(o[1] for o in new if o[0] == key) for key in {o[0] for o in new}}
    again = [o for o in seen if o[0] in since and o[1] >= since[o[0]]]
    begins = spark.createDataFrame([(key, moments[n]) for key, n in since.items()], f"key string, {SINCE} timestamp")
    with changes(THINGS, versions, frame(again), begins) as changed:
        found = changed.toArrow().to_pylist()
    table = {(row[0], row[3]): row for row in told(versions)}
    hours = {moment: n for n, moment in moments.items()} | {None: None}
    for row in found:
        operation = row.pop(OPERATION)
        version = tuple(hours[v] if isinstance(v, datetime) else v for v in row.values())
        place = (version[0], version[3])
        assert (place in table) == (operation != "insert")
        if operation == DELETE:
            del table[place]
        else:
            assert table.get(place) != version, "what stays is not said"
            table[place] = version
    assert set(table.values()) == story(seen)
