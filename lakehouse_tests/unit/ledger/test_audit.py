"""The auditor finds what is wrong, and says what it is."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import FileScanTask, Table

from lakehouse.adapters.iceberg.filters import equal
from lakehouse.adapters.kafka.client import PartitionState, TopicState
from lakehouse.contracts.arrow import arrow_schema
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.ledger.account import Report
from lakehouse.ledger.audit import audit
from lakehouse.ledger.feed import Feed
from lakehouse.ledger.state import property_name
from lakehouse.ledger.writer import LedgeredWriter
from lakehouse.naming import PGR_EVENTS_TOPIC
from lakehouse_tests.events import TOPIC, TOPIC_ID, kafka_batch, numbered
from lakehouse_tests.failpoints import killed_at

FEED = Feed(PGR_EVENTS_TOPIC, SERVICE_EVENT)


def run(catalog: SqlCatalog, *, deep: bool = False, end: int = 20, low: int = 0, held: tuple[int, ...] = ()) -> Report:
    def probe(_topic: str, _partition: int, interval: tuple[int, int]) -> dict[int, datetime]:
        return {offset: datetime.now(UTC) for offset in held if interval[0] <= offset < interval[1]}

    state = TopicState(TOPIC_ID, {0: PartitionState(low, end)})
    return audit(catalog, [FEED], lambda _: state, probe, deep=deep)


@pytest.fixture
def landed(catalog: SqlCatalog) -> SqlCatalog:
    """Twenty records in two commits, two of them dead letters."""
    events = LedgeredWriter(catalog, SERVICE_EVENT, TOPIC, run_id="run")
    events.append(kafka_batch(numbered(range(10), bad=[3])))
    events.append(kafka_batch(numbered(range(10, 20), bad=[15])))
    return catalog


def gaps(report: Report) -> str:
    return "; ".join(gap for account in report.accounts for gap in account.gaps)


def set_entry(catalog: SqlCatalog, **changes: int) -> None:
    table = catalog.load_table(SERVICE_EVENT.table.identifier)
    name = property_name(TOPIC, 0)
    with table.transaction() as transaction:
        transaction.set_properties({name: json.dumps(json.loads(table.properties[name]) | changes)})


def rows_of(catalog: SqlCatalog) -> pa.Table:
    return catalog.load_table(SERVICE_EVENT.table.identifier).scan().to_arrow().cast(arrow_schema(SERVICE_EVENT))


@pytest.mark.parametrize("deep", [False, True])
def test_an_account_that_closes_is_complete(landed: SqlCatalog, deep: bool) -> None:
    report = run(landed, deep=deep)
    (account,) = report.accounts
    assert report.verdict == "complete"
    assert (account.first, account.position, account.bronze, account.dead_letters) == (0, 20, 18, 2)


def test_records_that_were_not_read_yet_are_in_flight_and_no_gap(landed: SqlCatalog) -> None:
    report = run(landed, end=25)
    assert (report.verdict, report.in_flight) == ("complete", 5)


def test_nothing_at_all_is_complete(catalog: SqlCatalog) -> None:
    report = run(catalog, end=0)
    assert (report.verdict, report.in_flight) == ("complete", 0)


@pytest.mark.parametrize("audited_before", [False, True])
def test_a_deleted_row_is_found(landed: SqlCatalog, audited_before: bool) -> None:
    if audited_before:
        run(landed)
    landed.load_table(SERVICE_EVENT.table.identifier).delete(equal("kafka_offset", 12))
    assert "1 offsets are nowhere, 0 of them explained as skipped or lost: 12..12" in gaps(run(landed))


def test_a_deleted_row_is_found_when_the_ledger_was_made_to_agree(landed: SqlCatalog) -> None:
    landed.load_table(SERVICE_EVENT.table.identifier).delete(equal("kafka_offset", 12))
    set_entry(landed, rows=17, skipped=1)
    assert run(landed).verdict == "complete"  # offsets may hold no record …
    assert "1 offsets hold a record, but were skipped: 12" in gaps(
        run(landed, deep=True, held=(12,))
    )  # … this one does


@pytest.mark.parametrize("audited_before", [False, True])
def test_a_row_that_is_there_twice_is_found(landed: SqlCatalog, audited_before: bool) -> None:
    if audited_before:
        run(landed)
    landed.load_table(SERVICE_EVENT.table.identifier).append(rows_of(landed).slice(4, 1))
    assert "more than once" in gaps(run(landed)) or "verified before" in gaps(run(landed))


@pytest.mark.parametrize("audited_before", [False, True])
def test_a_data_file_that_is_live_twice_is_found(landed: SqlCatalog, audited_before: bool) -> None:
    if audited_before:
        run(landed)
    table = landed.load_table(SERVICE_EVENT.table.identifier)
    path = next(iter(table.scan().plan_files())).file.file_path
    table.add_files([path], check_duplicate_files=False)
    found = "9 offsets again that were verified before" if audited_before else "9 offsets more than once"
    assert f"bronze: {found}" in gaps(run(landed))


@pytest.mark.parametrize("audited_before", [False, True])
def test_a_range_that_was_swapped_for_another_is_found_though_all_counts_agree(
    landed: SqlCatalog, audited_before: bool
) -> None:
    if audited_before:
        run(landed)
    table = landed.load_table(SERVICE_EVENT.table.identifier)
    others = rows_of(landed).filter(pc.is_in(pc.field("kafka_offset"), pa.array([4, 5, 6])))
    table.overwrite(others, "kafka_offset >= 11 and kafka_offset <= 13")
    found = gaps(run(landed))
    assert "bronze: 3 offsets more than once: 4, 5, 6" in found
    assert "3 offsets are nowhere, 0 of them explained as skipped or lost: 11..13" in found


def test_a_row_behind_the_ledger_is_found(landed: SqlCatalog) -> None:
    ahead = rows_of(landed).slice(0, 1)
    ahead = ahead.set_column(ahead.schema.get_field_index("kafka_offset"), "kafka_offset", pa.array([99], pa.int64()))
    landed.load_table(SERVICE_EVENT.table.identifier).append(ahead.cast(arrow_schema(SERVICE_EVENT)))
    assert "behind the ledger's position 20: 99" in gaps(run(landed))


def test_a_row_that_is_a_dead_letter_too_is_found(landed: SqlCatalog) -> None:
    both = rows_of(landed).slice(0, 1)
    both = both.set_column(both.schema.get_field_index("kafka_offset"), "kafka_offset", pa.array([3], pa.int64()))
    landed.load_table(SERVICE_EVENT.table.identifier).append(both.cast(arrow_schema(SERVICE_EVENT)))
    assert "1 offsets in bronze and among the dead letters: 3" in gaps(run(landed))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 17, "skipped": 1}, "ledger counts 17 rows, the table holds 18"),
        ({"rows": 19, "dead_letters": 1}, "ledger counts 19 rows, the table holds 18"),
        ({"rows": 17, "dead_letters": 3}, "ledger counts 3 dead letters, the table holds 2"),
        ({"position": 19}, "1 offsets behind the ledger's position 19: 19"),
        ({"position": 21, "skipped": 1}, "1 offsets hold a record, but were skipped: 20"),
        ({"skipped": 1}, "delivered 20 + skipped 1 + lost 0 do not add up to it"),
    ],
)
def test_a_wrong_counter_is_found(landed: SqlCatalog, changes: dict[str, int], message: str) -> None:
    set_entry(landed, **changes)
    report = run(landed, end=21, held=(20,))
    assert report.verdict == "incomplete"
    assert message in gaps(report)


def test_offsets_deleted_before_they_were_read_are_a_gap(landed: SqlCatalog) -> None:
    assert "offsets 20 to 22 were deleted before they were read" in gaps(run(landed, low=22, end=30))


def test_rows_written_by_sql_are_named_as_such(landed: SqlCatalog) -> None:
    table = landed.load_table(SERVICE_EVENT.table.identifier)
    row = rows_of(landed).slice(0, 1)
    for name in ("kafka_topic", "kafka_partition", "kafka_offset", "kafka_timestamp"):
        index = row.schema.get_field_index(name)
        row = row.set_column(index, name, pa.nulls(1, row.schema.field(name).type))
    table.append(row.cast(arrow_schema(SERVICE_EVENT)))
    report = run(landed)
    assert report.verdict == "complete"
    assert [account.direct for account in report.accounts] == [0, 1]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many files of a table audits read, table by table."""
    from lakehouse.ledger import census

    found: list[int] = []
    original = census._read

    def counted(table: Table, tasks: list[FileScanTask]) -> pa.Table:
        found.append(len(tasks))
        return original(table, tasks)

    monkeypatch.setattr(census, "_read", counted)
    return found


def test_an_audit_reads_only_what_came_since_the_last_one(landed: SqlCatalog, read: list[int]) -> None:
    run(landed)
    run(landed)
    LedgeredWriter(landed, SERVICE_EVENT, TOPIC, run_id="run").append(kafka_batch(numbered(range(20, 30))))
    report = run(landed, end=30)
    assert (report.verdict, read) == ("complete", [2, 2, 1])  # letters and rows; nothing; the new rows
    assert report.accounts[0].bronze == 28


def test_the_audit_of_one_domain_reads_only_what_came_since_the_last_one_of_all(
    landed: SqlCatalog, read: list[int]
) -> None:
    """They share the table of dead letters, of which an audit of one cannot say how far it was verified."""
    other = replace(SERVICE_EVENT, name="other", table=replace(SERVICE_EVENT.table, table="other_events"))
    batch = replace(kafka_batch(numbered(range(10), bad=[4])), source="other")
    LedgeredWriter(landed, other, "other", run_id="run").append(batch)
    feeds = [FEED, Feed(replace(PGR_EVENTS_TOPIC, name="other"), other)]
    ends = {TOPIC: 20, "other": 10}

    def run_of(*audited: Feed) -> Report:
        def topic(name: str) -> TopicState:
            return TopicState(TOPIC_ID, {0: PartitionState(0, ends[name])})

        return audit(landed, audited, topic, lambda *_: {})

    assert run_of(*feeds).verdict == "complete"
    read.clear()
    for end in (30, 40):
        LedgeredWriter(landed, SERVICE_EVENT, TOPIC, run_id="run").append(kafka_batch(numbered(range(end - 10, end))))
        ends[TOPIC] = end
        assert run_of(FEED).verdict == "complete"
    assert read == [1, 2], "the new rows, until an audit of all has verified them"
    assert run_of(*feeds).verdict == "complete"
    assert run_of(FEED).verdict == "complete"
    assert read == [1, 2, 2]


def test_letters_of_a_batch_that_was_cut_off_are_in_flight_and_no_gap(landed: SqlCatalog) -> None:
    batch = kafka_batch(numbered(range(20, 30), bad=[22]))
    with killed_at(landed, "after dead letters"):
        LedgeredWriter(landed, SERVICE_EVENT, TOPIC, run_id="run").append(batch)
    for _ in range(2):
        report = run(landed, end=30)
        assert (report.verdict, report.in_flight, report.accounts[0].dead_letters) == ("complete", 10, 2)
    LedgeredWriter(landed, SERVICE_EVENT, TOPIC, run_id="run").append(batch)
    report = run(landed, end=30)
    assert (report.verdict, report.accounts[0].dead_letters) == ("complete", 3)


def test_letters_of_the_very_first_batch_are_in_flight_too(catalog: SqlCatalog) -> None:
    batch = kafka_batch(numbered(range(10), bad=[3]))
    with killed_at(catalog, "after dead letters"):
        LedgeredWriter(catalog, SERVICE_EVENT, TOPIC, run_id="run").append(batch)
    assert run(catalog, end=10).verdict == "complete"


def test_a_topic_that_is_gone_with_unread_records_is_a_gap(landed: SqlCatalog) -> None:
    report = audit(landed, [FEED], lambda _: None, lambda *_: {})
    assert "the topic is gone; 20 was the ledger's position" in gaps(report)


def test_topics_that_share_a_table_are_audited_side_by_side(catalog: SqlCatalog) -> None:
    old = replace(kafka_batch(numbered(range(10), bad=[3])), source="renamed-since")
    LedgeredWriter(catalog, SERVICE_EVENT, "renamed-since", run_id="run").append(old)
    run(catalog)
    LedgeredWriter(catalog, SERVICE_EVENT, TOPIC, run_id="run").append(kafka_batch(numbered(range(20), bad=[7])))
    for deep in (False, False, True):
        report = run(catalog, deep=deep)
        found = {account.source: (account.bronze, account.dead_letters) for account in report.accounts}
        assert report.verdict == "complete"
        assert found == {TOPIC: (19, 1), "renamed-since": (9, 1)}
