"""A record lands once, whatever is repeated, stale or interrupted."""

import copy
import threading
from collections.abc import Iterator

import pyarrow.compute as pc
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters.batch import Batch
from lakehouse.adapters.kafka.client import PartitionState, TopicState
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.contracts.validation import Validator
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.errors import LakehouseError, LedgerGapError
from lakehouse.ledger.writer import LedgeredWriter
from lakehouse_tests.events import STRICT, TOPIC, TOPIC_ID, event, kafka_batch, numbered
from lakehouse_tests.failpoints import STEPS, killed_at, watched


def writer(catalog: SqlCatalog) -> LedgeredWriter:
    return LedgeredWriter(catalog, SERVICE_EVENT, TOPIC, run_id="run")


def rows(catalog: SqlCatalog) -> list[int]:
    table = catalog.load_table(SERVICE_EVENT.table.identifier)
    return sorted(table.scan(selected_fields=("kafka_offset",)).to_arrow()["kafka_offset"].to_pylist())


def letters(catalog: SqlCatalog) -> list[int]:
    table = catalog.load_table(DEAD_LETTER.table.identifier)
    return sorted(table.scan(selected_fields=("kafka_offset",)).to_arrow()["kafka_offset"].to_pylist())


def test_a_batch_becomes_rows_and_dead_letters(catalog: SqlCatalog) -> None:
    commit = writer(catalog).append(kafka_batch(numbered(range(10), bad=[3, 7])))
    assert (commit.rows, commit.dead_letters) == (8, 2)
    assert rows(catalog) == [0, 1, 2, 4, 5, 6, 8, 9]
    assert letters(catalog) == [3, 7]


def test_the_next_batch_is_read_while_one_is_committed(catalog: SqlCatalog) -> None:
    second_is_asked_for, overlapped = threading.Event(), []

    def batches() -> Iterator[Batch]:
        yield kafka_batch(numbered(range(10), bad=[3]))
        second_is_asked_for.set()
        yield kafka_batch(numbered(range(10, 20)))

    def on_step(step: str) -> None:
        if step == "before the swap":
            overlapped.append(second_is_asked_for.wait(timeout=30))

    with watched(catalog, on_step):
        assert [commit.rows for commit in writer(catalog).append_all(batches())] == [9, 10]
    assert overlapped == [True, True]
    assert rows(catalog) == [n for n in range(20) if n != 3]


def test_batches_read_before_the_reading_failed_are_landed(catalog: SqlCatalog) -> None:
    def batches() -> Iterator[Batch]:
        yield kafka_batch(numbered(range(10)))
        raise LakehouseError("the brokers do not answer")

    with pytest.raises(LakehouseError, match="do not answer"):
        list(writer(catalog).append_all(batches()))
    assert rows(catalog) == list(range(10))


def test_replaying_a_batch_writes_nothing(catalog: SqlCatalog) -> None:
    events = writer(catalog)
    batch = kafka_batch(numbered(range(10), bad=[3]))
    first, second = events.append(batch), events.append(batch)
    assert (first.rows, second.rows) == (9, 0)
    assert events.entries()[0].position == 10


def test_an_overlapping_batch_lands_only_what_is_missing(catalog: SqlCatalog) -> None:
    events = writer(catalog)
    events.append(kafka_batch(numbered(range(10))))
    assert events.append(kafka_batch(numbered(range(5, 15)))).rows == 5
    assert rows(catalog) == list(range(15))


def test_a_batch_that_starts_behind_the_ledger_is_refused(catalog: SqlCatalog) -> None:
    events = writer(catalog)
    events.append(kafka_batch(numbered(range(10))))
    with pytest.raises(ValueError, match="10..12 was not read"):
        events.append(kafka_batch(numbered(range(12, 15))))


def test_two_writers_on_the_same_batch_land_it_once(catalog: SqlCatalog) -> None:
    one, other = writer(catalog), writer(catalog)
    batch = kafka_batch(numbered(range(10), bad=[3]))
    assert one.append(batch).rows == 9
    assert other.append(batch).rows == 0
    assert rows(catalog) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert letters(catalog) == [3]


def test_a_stale_writer_lands_only_what_is_left_of_its_batch(catalog: SqlCatalog) -> None:
    one, stale = writer(catalog), writer(catalog)
    one.append(kafka_batch(numbered(range(6))))
    assert stale.append(kafka_batch(numbered(range(10)))).rows == 4
    assert rows(catalog) == list(range(10))


@pytest.mark.parametrize("step", STEPS[1:-1])
def test_a_batch_that_was_cut_off_at_any_step_is_completed_by_its_repeat(catalog: SqlCatalog, step: str) -> None:
    batch = kafka_batch(numbered(range(10), bad=[3, 7]))
    with killed_at(catalog, step):
        writer(catalog).append(batch)
    repeated = writer(catalog)
    repeated.append(batch)
    assert rows(catalog) == [0, 1, 2, 4, 5, 6, 8, 9]
    assert letters(catalog) == [3, 7]
    entry = repeated.entries()[0]
    assert (entry.position, entry.rows, entry.dead_letters, entry.skipped) == (10, 8, 2, 0)


def test_a_dead_letter_stays_one_when_the_repeat_would_accept_it(catalog: SqlCatalog) -> None:
    with killed_at(catalog, "after dead letters"):
        writer(catalog).append(kafka_batch(numbered(range(10), bad=[3])))
    writer(catalog).append(kafka_batch(numbered(range(10))))
    assert letters(catalog) == [3]
    assert 3 not in rows(catalog)


def test_what_another_contract_has_landed_meanwhile_does_not_become_a_dead_letter(catalog: SqlCatalog) -> None:
    batch = kafka_batch({n: event(entity_id=f"C-{n}", ward_id=None) for n in range(10)})
    frozen = writer(catalog)
    frozen._validator = Validator(STRICT)
    writer(catalog).append(batch)
    assert frozen.append(batch).dead_letters == 0
    assert (rows(catalog), letters(catalog)) == (list(range(10)), [])


def test_what_the_repeat_refuses_in_addition_is_added(catalog: SqlCatalog) -> None:
    with killed_at(catalog, "after dead letters"):
        writer(catalog).append(kafka_batch(numbered(range(10), bad=[3])))
    writer(catalog).append(kafka_batch(numbered(range(10), bad=[3, 5])))
    assert letters(catalog) == [3, 5]
    assert rows(catalog) == [0, 1, 2, 4, 6, 7, 8, 9]


def test_offsets_without_a_record_are_counted_as_skipped(catalog: SqlCatalog) -> None:
    events = writer(catalog)
    assert events.append(kafka_batch(numbered([0, 1, 4]), ends=(0, 7))).skipped == 4
    entry = events.entries()[0]
    assert (entry.position, entry.delivered, entry.skipped) == (7, 3, 4)


def test_a_batch_without_rows_moves_the_ledger_with_a_snapshot_of_its_own(catalog: SqlCatalog) -> None:
    events = writer(catalog)
    first = events.append(kafka_batch({0: b"rubbish", 1: None}))
    second = events.append(kafka_batch({2: b""}))
    assert (first.rows, first.dead_letters, second.dead_letters) == (0, 2, 1)
    assert first.snapshot_id != second.snapshot_id


def test_a_commit_copies_no_snapshot_of_the_history(catalog: SqlCatalog) -> None:
    """PyIceberg makes such a copy at each step of a commit."""
    events = writer(catalog)
    for start in range(3):
        events.append(kafka_batch(numbered([start])))
    table = catalog.load_table(SERVICE_EVENT.table.identifier)
    copied = copy.deepcopy(table.metadata)
    assert copied == table.metadata
    for copies, originals in (
        (copied.snapshots, table.metadata.snapshots),
        (copied.snapshot_log, table.metadata.snapshot_log),
    ):
        assert len(copies) == 3
        assert all(one is other for one, other in zip(copies, originals, strict=True))


def test_a_lost_answer_after_the_swap_is_resolved_by_reading_the_table(
    catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = writer(catalog)
    commit_table = catalog.commit_table

    def answer_is_lost(*arguments: object) -> object:
        commit_table(*arguments)  # type: ignore[arg-type]
        monkeypatch.undo()
        raise TimeoutError("the connection broke")

    monkeypatch.setattr(catalog, "commit_table", answer_is_lost)
    events.append(kafka_batch(numbered(range(10))))
    assert rows(catalog) == list(range(10))


def test_the_exact_bytes_of_a_refused_record_are_kept(catalog: SqlCatalog) -> None:
    payload = bytes(range(256))
    writer(catalog).append(kafka_batch({0: payload, 1: None}))
    found = catalog.load_table(DEAD_LETTER.table.identifier).scan().to_arrow().sort_by("kafka_offset").to_pylist()
    assert [letter["original_payload"] for letter in found] == [payload, None]
    assert [letter["dead_letter_id"] for letter in found] == [f"{TOPIC}:0:0", f"{TOPIC}:0:1"]


def test_a_missing_key_is_no_reason_to_refuse(catalog: SqlCatalog) -> None:
    batch = kafka_batch({0: event()})
    keyless = batch.records.set_column(3, "key", pc.if_else(True, None, batch.records["key"]).cast("binary"))
    batch = type(batch)(batch.source, batch.source_id, keyless, batch.ranges)
    assert writer(catalog).append(batch).rows == 1


def topic(*, low: int = 0, end: int = 10, topic_id: str = TOPIC_ID) -> TopicState:
    return TopicState(topic_id, {0: PartitionState(low, end)})


def test_reading_starts_at_the_first_record_that_is_there_and_goes_on_at_the_ledger(catalog: SqlCatalog) -> None:
    events = writer(catalog)
    assert events.start(topic(low=4)) == {0: 4}
    events.append(kafka_batch(numbered(range(4, 10))))
    assert events.start(topic(end=20)) == {0: 10}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (topic(low=12, end=20), "offsets 10 to 12 were deleted before they were read"),
        (topic(end=7), "ends at 7, the ledger is at 10"),
        (topic(topic_id="another", end=20), "deleted and created again"),
    ],
)
def test_a_gap_is_never_skipped_over(catalog: SqlCatalog, state: TopicState, message: str) -> None:
    events = writer(catalog)
    events.append(kafka_batch(numbered(range(10))))
    with pytest.raises(LedgerGapError, match=message):
        events.start(state)
