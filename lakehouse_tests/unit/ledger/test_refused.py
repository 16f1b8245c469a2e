"""Landing a stream's queue of refused records: each letter once, whatever is repeated or killed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters.batch import RECORDS, Batch, Range
from lakehouse.adapters.kafka.drain import HEADERS
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.ledger import refused
from lakehouse.ledger.refused import STRAY, land_refused
from lakehouse.ledger.state import Entry, read_entries

QUEUE = "events-dlq"
SAID = {
    "contract": b"event/v1/abc",
    "error_type": b"INVALID_JSON",
    "error_message": b"the record is not valid JSON",
    "kafka_topic": b"events",
    "kafka_timestamp": b"2026-11-21 10:00:00.123",
    "failed_at": b"2026-11-21 10:00:01",
}
Queued = tuple[int, dict[str, bytes] | None]
"""Offset in the queue, and headers; None for none."""


def origin(partition: int, offset: int, **changes: bytes) -> dict[str, bytes]:
    return SAID | {"kafka_partition": b"%d" % partition, "kafka_offset": b"%d" % offset} | changes


def batch(queued: Sequence[Queued], *, end: int | None = None, start: int | None = None) -> Batch:
    offsets = [offset for offset, _ in queued]
    records = pa.table(
        [
            pa.array([0] * len(queued), pa.int32()),
            pa.array(offsets, pa.int64()),
            pa.array([1_734_429_600_000_000] * len(queued), pa.timestamp("us", tz="UTC")),
            pa.array([b"key"] * len(queued), pa.binary()),
            pa.array([b"\xff%d" % offset for offset in offsets], pa.binary()),
        ],
        schema=RECORDS,
    )
    headers = [list((said or {}).items()) for _, said in queued]
    records = records.append_column(HEADERS, pa.array(headers, HEADERS.type))
    first = offsets[0] if start is None else start
    return Batch(QUEUE, "queue-1", records, {0: Range(first, offsets[-1] + 1 if end is None else end)})


def land(catalog: SqlCatalog, *batches: Batch) -> list[int]:
    return [commit.dead_letters for commit in land_refused(catalog, QUEUE, batches, run_id="run")]


def letters(catalog: SqlCatalog) -> list[dict[str, Any]]:
    table = catalog.load_table(DEAD_LETTER.table.identifier)
    return sorted(table.scan().to_arrow().to_pylist(), key=lambda row: str(row["dead_letter_id"]))


def entry(catalog: SqlCatalog) -> Entry:
    return read_entries(catalog.load_table(DEAD_LETTER.table.identifier).properties, QUEUE)[0]


def test_a_letter_has_the_origin_of_the_record_and_its_exact_bytes(catalog: SqlCatalog) -> None:
    land(catalog, batch([(0, origin(2, 17))]))
    (letter,) = letters(catalog)
    assert letter["dead_letter_id"] == "events:2:17"
    assert (letter["source"], letter["kafka_topic"]) == ("events", "events")
    assert (letter["kafka_partition"], letter["kafka_offset"]) == (2, 17)
    assert letter["original_payload"] == b"\xff0"
    assert letter["original_key"] == b"key"
    assert (letter["error_type"], letter["contract"]) == ("INVALID_JSON", "event/v1/abc")
    assert letter["kafka_timestamp"].isoformat() == "2026-11-21T10:00:00.123000+00:00"
    assert letter["failed_at"].isoformat() == "2026-11-21T10:00:01+00:00"


def test_the_same_record_again_in_the_queue_is_counted_and_not_landed(catalog: SqlCatalog) -> None:
    first = batch([(0, origin(0, 5)), (1, origin(0, 5)), (2, origin(1, 5))])
    later = batch([(3, origin(0, 5)), (5, origin(0, 6))], end=7)
    assert land(catalog, first, later) == [2, 1]
    assert [letter["dead_letter_id"] for letter in letters(catalog)] == ["events:0:5", "events:0:6", "events:1:5"]
    assert entry(catalog) == Entry("queue-1", first=0, position=7, dead_letters=3, repeats=2, skipped=2)


def test_a_batch_that_was_landed_writes_nothing(catalog: SqlCatalog) -> None:
    queued = batch([(0, origin(0, 1)), (1, origin(0, 2))])
    assert land(catalog, queued, queued) == [2, 0]
    assert len(catalog.load_table(DEAD_LETTER.table.identifier).snapshots()) == 1


def test_a_queue_that_begins_later_is_accounted_for_from_there(catalog: SqlCatalog) -> None:
    land(catalog, batch([(7, origin(0, 1))]))
    assert entry(catalog) == Entry("queue-1", first=7, position=8, dead_letters=1)


@pytest.mark.parametrize(
    "said",
    [
        None,
        {},
        {"kafka_topic": b"events"},
        origin(0, 1, kafka_offset=b"many"),
        origin(0, 2**70),
        origin(2**40, 1),
        origin(0, 1, failed_at=b"yesterday"),
        origin(0, 1, error_message=b"\xff"),
    ],
)
def test_what_does_not_say_where_it_comes_from_is_a_letter_of_the_queue(
    catalog: SqlCatalog, said: dict[str, bytes] | None
) -> None:
    land(catalog, batch([(4, said), (5, origin(0, 1))]))
    stray, good = letters(catalog)
    assert good["dead_letter_id"] == "events:0:1"
    assert (stray["dead_letter_id"], stray["error_type"]) == (f"{QUEUE}:0:4", STRAY)
    assert stray["original_payload"] == b"\xff4"


def test_a_run_that_dies_before_its_commit_leaves_everything_to_the_next(
    catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued = batch([(0, origin(0, 1)), (1, origin(0, 2))])
    with monkeypatch.context() as patch:
        patch.setattr(refused, "append", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            land(catalog, queued)
    assert land(catalog, queued) == [2]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=1, max_size=20), st.data())
def test_every_record_of_the_queue_is_a_letter_or_a_repeat(
    catalog: SqlCatalog, origins: list[tuple[int, int]], data: st.DataObject
) -> None:
    """In batches of any size, any of them begun again at any time."""
    if catalog.table_exists(DEAD_LETTER.table.identifier):
        catalog.drop_table(DEAD_LETTER.table.identifier)
    queued: list[Queued] = [(offset, origin(*said)) for offset, said in enumerate(origins)]
    landed = 0
    while landed < len(queued):
        start = data.draw(st.integers(0, landed))
        end = data.draw(st.integers(start + 1, len(queued)))
        land(catalog, batch(queued[start:end]))
        landed = max(landed, end)
    assert [letter["dead_letter_id"] for letter in letters(catalog)] == sorted(
        f"events:{partition}:{offset}" for partition, offset in set(origins)
    )
    account = entry(catalog)
    assert (account.position, account.dead_letters) == (len(origins), len(set(origins)))
    assert account.delivered == len(origins)
