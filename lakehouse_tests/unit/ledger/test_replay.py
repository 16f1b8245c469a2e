"""Dead letters that pass today become rows, once, and every account closes before and after."""

import json
from dataclasses import replace as changed
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters.iceberg.filters import equal
from lakehouse.adapters.kafka.client import PartitionState, TopicState
from lakehouse.contracts.contract import Contract
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.contracts.validation import Validator
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.ledger import commit, lookup
from lakehouse.ledger.account import Report
from lakehouse.ledger.audit import audit
from lakehouse.ledger.feed import Feed
from lakehouse.ledger.ingest import ingest_file
from lakehouse.ledger.lookup import attempts, list_dead_letters, read_dead_letters, select_dead_letters
from lakehouse.ledger.replay import Replay, replay, send_again
from lakehouse.ledger.writer import LedgeredWriter
from lakehouse.naming import PGR_EVENTS_TOPIC
from lakehouse_tests.catalogs import sqlite_catalog
from lakehouse_tests.events import ABSENT, STRICT, TOPIC, TOPIC_ID, event, kafka_batch
from lakehouse_tests.failpoints import killed_at


def check(catalog: SqlCatalog, *, deep: bool = False, end: int = 10) -> Report:
    state = TopicState(TOPIC_ID, {0: PartitionState(0, end)})
    return audit(catalog, [Feed(PGR_EVENTS_TOPIC, SERVICE_EVENT)], lambda _: state, lambda *_: {}, deep=deep)


def gaps(report: Report) -> str:
    return "; ".join(gap for account in report.accounts for gap in account.gaps)


def ten(*, without_ward: tuple[int, ...], rubbish: tuple[int, ...] = ()) -> dict[int, bytes | None]:
    values: dict[int, bytes | None] = {n: event(entity_id=f"C-{n}") for n in range(10)}
    values |= {n: event(entity_id=f"C-{n}", ward_id=None) for n in without_ward}
    return values | dict.fromkeys(rubbish, b"rubbish")


def land(catalog: SqlCatalog, values: dict[int, bytes | None]) -> None:
    """Under yesterday's contract."""
    writer = LedgeredWriter(catalog, SERVICE_EVENT, TOPIC, run_id="run")
    writer._validator = Validator(STRICT)
    writer.append(kafka_batch(values))


def again(
    catalog: SqlCatalog, contract: Contract = SERVICE_EVENT, *, source: str = TOPIC, is_dry_run: bool = False
) -> Replay:
    return replay(catalog, contract, read_dead_letters(catalog, source=source), run_id="replay", is_dry_run=is_dry_run)


def rows(catalog: SqlCatalog) -> pa.Table:
    return catalog.load_table(SERVICE_EVENT.table.identifier).scan().to_arrow().sort_by("kafka_offset")


def test_what_passes_today_becomes_a_row_with_its_origin(catalog: SqlCatalog) -> None:
    land(catalog, ten(without_ward=(3, 7), rubbish=(5,)))
    done = again(catalog)
    assert (done.accepted, done.refused, done.already) == (2, 1, 0)
    assert done.reasons.to_pylist() == [{"error_type": "INVALID_JSON", "dead_letters": 1}]
    landed = rows(catalog)
    assert landed["kafka_offset"].to_pylist() == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert [row["kafka_offset"] for row in landed.to_pylist() if row["replayed_at"]] == [3, 7]
    assert landed["kafka_topic"].unique().to_pylist() == [TOPIC]


def test_a_replay_is_harmless_when_repeated(catalog: SqlCatalog) -> None:
    land(catalog, ten(without_ward=(3, 7), rubbish=(5,)))
    again(catalog)
    done = again(catalog)
    assert (done.accepted, done.refused, done.already) == (0, 1, 2)
    assert len(rows(catalog)) == 9


def test_more_than_fits_into_memory_is_replayed_in_parts(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "PART_BYTES", 1)
    for first in (0, 10):
        values = ten(without_ward=(3, 7), rubbish=(5,))
        land(catalog, {first + number: value for number, value in values.items()})
    assert len(list(read_dead_letters(catalog, source=TOPIC))) == 2
    done = again(catalog)
    assert (done.accepted, done.refused, done.already) == (4, 2, 0)
    assert done.reasons.to_pylist() == [{"error_type": "INVALID_JSON", "dead_letters": 2}]
    assert again(catalog).already == 4


def test_a_replay_of_nothing_says_so(catalog: SqlCatalog) -> None:
    done = again(catalog)
    assert (done.accepted, done.refused, done.already, done.reasons.num_rows) == (0, 0, 0, 0)


def test_a_dry_run_writes_nothing(catalog: SqlCatalog) -> None:
    land(catalog, ten(without_ward=(3,)))
    assert again(catalog, is_dry_run=True).accepted == 1
    assert len(rows(catalog)) == 9
    assert attempts(catalog, f"{TOPIC}:0:3") == []


def test_two_replays_at_once_land_a_letter_once(
    catalog: SqlCatalog, other_catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(catalog, ten(without_ward=(3, 7)))
    raced: list[bool] = []

    def slow(*arguments: object, **options: object) -> None:
        if not raced:
            raced.append(True)
            again(other_catalog)
        commit.append(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("lakehouse.ledger.replay.append", slow)
    done = again(catalog)
    assert (done.accepted, done.already) == (0, 2)
    assert len(rows(catalog)) == 10
    assert gaps(check(catalog, deep=True)) == ""


def test_attempts_are_counted_and_shown(catalog: SqlCatalog) -> None:
    land(catalog, ten(without_ward=(3,), rubbish=(5,)))
    again(catalog)
    again(catalog)
    assert [attempt["error_type"] for attempt in attempts(catalog, f"{TOPIC}:0:5")] == ["INVALID_JSON"] * 2
    assert [attempt["error_type"] for attempt in attempts(catalog, f"{TOPIC}:0:3")] == [None]
    listed = {row["dead_letter_id"]: row["is_replayed"] for row in list_dead_letters(catalog).to_pylist()}
    assert listed == {f"{TOPIC}:0:3": True, f"{TOPIC}:0:5": False}


def test_a_replay_that_was_ended_before_it_was_written_down_is_written_down_by_the_next(catalog: SqlCatalog) -> None:
    land(catalog, ten(without_ward=(3,), rubbish=(5,)))
    with killed_at(catalog, "after the swap"):
        again(catalog)
    assert attempts(catalog, f"{TOPIC}:0:3") == []
    done = again(catalog)
    assert (done.accepted, done.refused, done.already) == (0, 1, 1)
    assert [attempt["error_type"] for attempt in attempts(catalog, f"{TOPIC}:0:3")] == [None]
    assert [attempt["error_type"] for attempt in attempts(catalog, f"{TOPIC}:0:5")] == ["INVALID_JSON"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["audit", "deep", "replay", "land"]), min_size=2, max_size=7))
def test_the_account_closes_whatever_the_order(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    folder = tmp_path_factory.mktemp("order")
    with sqlite_catalog(folder) as catalog:
        take(catalog, steps)


def take(catalog: SqlCatalog, steps: list[str]) -> None:
    """Take the steps on a table of ten, looking at the account whenever it is asked for, and at the end."""
    land(catalog, ten(without_ward=(3, 7), rubbish=(5,)))
    end = 10
    for step in [*steps, "audit", "deep"]:
        match step:
            case "land":
                writer = LedgeredWriter(catalog, SERVICE_EVENT, TOPIC, run_id="run")
                writer._validator = Validator(STRICT)
                writer.append(kafka_batch({end: event(ward_id=None), end + 1: event()}))
                end += 2
            case "replay":
                again(catalog)
            case _:
                report = check(catalog, deep=step == "deep", end=end)
                assert gaps(report) == ""
                (account,) = report.accounts
                assert account.bronze + account.dead_letters + account.replayed == end == account.position


def test_dead_letters_of_a_file_are_replayed(catalog: SqlCatalog, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(json.dumps(json.loads(event(entity_id=n))) for n in ("a", "b" * 101)))
    outcome = ingest_file(catalog, SERVICE_EVENT, path, run_id="run")
    assert outcome.dead_letters == 1
    generous = changed(
        SERVICE_EVENT,
        fields=tuple(changed(c, max_length=200) if c.name == "entity_id" else c for c in SERVICE_EVENT.fields),
    )
    assert again(catalog, generous, source=outcome.source).accepted == 1
    assert sorted(rows(catalog)["source_row"].to_pylist()) == [1, 2]
    for deep in (False, True, False):
        report = check(catalog, deep=deep, end=0)
        assert gaps(report) == ""
        account = next(account for account in report.accounts if account.source == outcome.source)
        assert (account.bronze, account.replayed, account.dead_letters) == (1, 1, 0)


def test_a_row_of_a_file_keeps_the_service_it_was_read_with(catalog: SqlCatalog, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(f"event_time,tenant_id,entity_id,event_type\n2024-12-17 10:00:00,t,{'b' * 101},CaseSubmitted\n")
    ingest_file(catalog, SERVICE_EVENT, path, run_id="run", service="PGR")
    (letter,) = select_dead_letters(catalog).to_pylist()
    assert json.loads(letter["original_payload"])["service"] == "PGR"


def test_the_audit_sees_replays_that_are_wrong(catalog: SqlCatalog) -> None:
    land(catalog, ten(without_ward=(3, 7)))
    again(catalog)
    assert gaps(check(catalog)) == ""
    table = catalog.load_table(SERVICE_EVENT.table.identifier)
    table.delete("kafka_offset = 3")
    assert "ledger counts 2 replayed rows, the table holds 1" in gaps(check(catalog))
    table.append(table.scan(row_filter="kafka_offset = 7").to_arrow())
    assert "1 offsets replayed more than once: 7" in gaps(check(catalog))


def test_letters_of_a_stream_are_sent_again_once(catalog: SqlCatalog) -> None:
    LedgeredWriter(catalog, STRICT, TOPIC, run_id="run").append(
        kafka_batch({0: event(), 1: event(ward_id=ABSENT), 2: b"rubbish"})
    )
    sent: list[Any] = []

    def judge(values: list[bytes | None]) -> list[tuple[str, str] | None]:
        return [("INVALID_JSON", "not JSON") if value == b"rubbish" else None for value in values]

    def again(*, is_dry_run: bool = False) -> tuple[int, int, int]:
        parts = read_dead_letters(catalog, source=TOPIC)
        done = send_again(catalog, SERVICE_EVENT, parts, judge, sent.append, run_id="replay", is_dry_run=is_dry_run)
        return done.accepted, done.refused, done.already

    assert again(is_dry_run=True) == (1, 1, 0)
    assert not sent
    assert again() == (1, 1, 0)
    (letters,) = sent
    assert letters["original_payload"].to_pylist() == [event(ward_id=ABSENT)]
    assert again() == (0, 1, 1)
    assert len(sent) == 1


def test_what_was_erased_cannot_be_tried_again(catalog: SqlCatalog) -> None:
    land(catalog, ten(without_ward=(3, 7)))
    letters = catalog.load_table(DEAD_LETTER.table.identifier)
    erased = letters.scan().to_arrow().filter(pc.field("kafka_offset") == 3)
    now = pa.scalar(datetime.now(UTC), pa.timestamp("us", tz="UTC"))
    blank = {"original_payload": pa.scalar(None, pa.binary()), "erased_at": now}
    for name, value in blank.items():
        erased = erased.set_column(erased.column_names.index(name), name, pa.repeat(value, 1))
    letters.overwrite(erased, overwrite_filter=equal("kafka_offset", 3))
    sent: list[pa.Table] = []
    parts = read_dead_letters(catalog, source=TOPIC)
    tried = send_again(
        catalog, SERVICE_EVENT, parts, lambda given: [None] * len(given), sent.append, run_id="run", is_dry_run=True
    )
    assert (tried.accepted, tried.refused, tried.already, tried.erased) == (1, 0, 0, 1)
    done = again(catalog)
    assert (done.accepted, done.refused, done.already, done.erased) == (1, 0, 0, 1)
    assert (again(catalog).already, again(catalog).erased) == (1, 1)
    assert check(catalog).verdict == "complete"
