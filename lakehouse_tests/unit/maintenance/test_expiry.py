"""Which snapshots may go, and that nothing is lost with them."""

from datetime import UTC, datetime, timedelta

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from lakehouse.adapters.kafka.client import PartitionState, TopicState
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.ledger.audit import audit
from lakehouse.ledger.feed import Feed
from lakehouse.ledger.history import commits
from lakehouse.ledger.writer import LedgeredWriter
from lakehouse.maintenance.expiry import FLINK_JOB, FLINK_OPERATOR, expirable, expire
from lakehouse.naming import PGR_EVENTS_TOPIC
from lakehouse_tests.events import TOPIC, TOPIC_ID, kafka_batch, numbered
from lakehouse_tests.failpoints import killed_in

FEED = Feed(PGR_EVENTS_TOPIC, SERVICE_EVENT)
NAME = SERVICE_EVENT.table
LONG, SHORT = timedelta(days=7), timedelta(0)


@pytest.fixture
def table(catalog: SqlCatalog) -> Table:
    """Five commits of two rows each."""
    writer = LedgeredWriter(catalog, SERVICE_EVENT, TOPIC, run_id="run")
    for start in range(0, 10, 2):
        writer.append(kafka_batch(numbered(range(start, start + 2))))
    return catalog.load_table(NAME.identifier)


def ids(table: Table) -> list[int]:
    return [snapshot.snapshot_id for snapshot in sorted(table.snapshots(), key=lambda s: s.sequence_number or 0)]


def may_go(table: Table, *positions: int, kept: int, retention: timedelta = LONG) -> list[int]:
    return expirable(table, positions, kept=kept, retention=retention, now=datetime.now(UTC) + timedelta(seconds=1))


def test_the_newest_stay(table: Table) -> None:
    assert may_go(table, kept=2) == ids(table)[:3]
    assert may_go(table, kept=10) == []


def test_old_ones_go_though_there_are_few_but_never_the_newest(table: Table) -> None:
    assert may_go(table, kept=10, retention=SHORT) == ids(table)[:-1]


def test_expiry_never_passes_a_reader(table: Table) -> None:
    history = ids(table)
    assert may_go(table, history[1], history[3], kept=1) == history[:1]
    assert may_go(table, 4711, kept=1) == history[:-1], "a position of another table protects nothing here"


def test_a_named_snapshot_stays(table: Table) -> None:
    history = ids(table)
    table.manage_snapshots().create_tag(history[2], "kept").commit()
    assert may_go(table, kept=1) == [history[0], history[1], history[3]]


def test_what_a_stopped_job_in_flink_goes_back_over_stays(table: Table) -> None:
    """It looks for its last snapshot from the newest one backwards, and a missing one ends that."""
    empty = table.scan().to_arrow().slice(0, 0)
    for job, operator in (("old", "rows"), ("new", "rows")):
        table.append(empty, {FLINK_JOB: job, FLINK_OPERATOR: operator})
    for _ in range(3):
        table.append(empty)
    assert may_go(table, kept=1, retention=SHORT) == ids(table)[:5]


def test_the_last_snapshot_of_every_job_in_flink_stays(table: Table) -> None:
    for job, operator in (("a", "1"), ("a", "2"), ("a", "1"), ("b", "1"), ("b", "1"), ("c", "2"), ("c", "1")):
        table.append(table.scan().to_arrow().slice(0, 0), {FLINK_JOB: job, FLINK_OPERATOR: operator})
    history = ids(table)
    last_of_a1, last_of_a2, last_of_b = history[7], history[6], history[9]
    assert may_go(table, kept=1) == [i for i in history[:10] if i not in (last_of_a1, last_of_a2, last_of_b)]


def test_the_snapshot_of_the_last_audit_stays_and_the_account_goes_on_closing(
    catalog: SqlCatalog, table: Table
) -> None:
    def verdict(end: int) -> str:
        state = TopicState(TOPIC_ID, {0: PartitionState(0, end)})
        return audit(catalog, [FEED], lambda _: state, lambda *_: {}).verdict

    assert verdict(10) == "complete"
    marked = ids(table)[-1]
    writer = LedgeredWriter(catalog, SERVICE_EVENT, TOPIC, run_id="run")
    writer.append(kafka_batch(numbered(range(10, 12))))
    writer.append(kafka_batch(numbered(range(12, 14))))
    assert len(expire(catalog, NAME, (), kept=1, retention=LONG)) == 5
    table.refresh()
    assert ids(table)[0] == marked
    writer.append(kafka_batch(numbered(range(14, 16))))
    assert verdict(16) == "complete"


def test_what_a_removed_snapshot_said_is_kept_and_not_counted_twice(catalog: SqlCatalog, table: Table) -> None:
    before = commits(catalog, NAME)
    expire(catalog, NAME, (), kept=2, retention=LONG)
    assert len(catalog.load_table(NAME.identifier).snapshots()) == 2
    after = commits(catalog, NAME)
    assert after == before
    assert sum(commit.added_rows for commit in after if commit.brings_rows) == 10
    assert commits(catalog, NAME, since=before[1].at) == before[:2]


def test_a_round_that_was_ended_between_the_record_and_the_removal_is_repeated(
    catalog: SqlCatalog, table: Table
) -> None:
    with killed_in("pyiceberg.table.update.snapshot.ExpireSnapshots.by_ids"):
        expire(catalog, NAME, (), kept=2, retention=LONG)
    before = commits(catalog, NAME)
    assert len(before) == 5
    assert len(expire(catalog, NAME, (), kept=2, retention=LONG)) == 3
    assert commits(catalog, NAME) == before
