"""Landing what a stream refused: from its queue, a topic, in the table of dead letters.

The queue holds a refused record as it was, with its origin in the headers, and may hold it more than once. A letter
is known by the coordinate of the record itself; the queue's own account moves in the commit that adds the letters.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, BooleanExpression
from pyiceberg.table import Table

from lakehouse.adapters.batch import Batch
from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.adapters.iceberg.filters import at_least, at_most, equal
from lakehouse.contracts.arrow import in_schema
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.ledger.commit import append, current_snapshot_id, until_won
from lakehouse.ledger.origin import KAFKA
from lakehouse.ledger.state import Entry, read_entries, to_properties
from lakehouse.ledger.writer import Commit

STRAY = "UNKNOWN_ORIGIN"
"""Kind of failure of a record in the queue that does not say where it comes from: a letter of the queue itself."""

_ID = ["dead_letter_id"]
_TEXTS = ("contract", "error_type", "error_message", "kafka_topic")
_TIMES = ("kafka_timestamp", "failed_at")
_NUMBERS = {"kafka_partition": pa.int32(), "kafka_offset": pa.int64()}


def land_refused(catalog: Catalog, queue: str, batches: Iterable[Batch], *, run_id: str) -> Iterator[Commit]:
    """Land batches of a queue, each letter once.

    Args:
        catalog: Where the table is.
        queue: Name of the topic.
        batches: Of its records, with their headers.
        run_id: For the evidence in letters and snapshots.

    Raises:
        LedgerConflictError: other writers won every race.
    """
    table = ensure_table(catalog, DEAD_LETTER)
    for batch in batches:
        yield until_won(table, lambda batch=batch: _land(table, queue, batch, run_id))  # type: ignore[misc]


def _land(table: Table, queue: str, batch: Batch, run_id: str) -> Commit:
    began = time.monotonic()
    table.refresh()
    entries = read_entries(table.properties, queue)
    part = batch.after({partition: entry.position for partition, entry in entries.items()})
    if not part.ranges:
        return Commit(0, 0, 0, current_snapshot_id(table), seconds=time.monotonic() - began)
    letters = _letters(part, run_id)
    counts = part.counts()
    new = letters.filter(_is_first(letters))
    new = new.filter(pc.invert(pc.is_in(new["dead_letter_id"], _known(table, new))))
    moved = {}
    for partition, read in part.ranges.items():
        entry = entries.get(partition, Entry(part.source_id, first=read.start, position=read.start))
        count = counts.get(partition, 0)
        added = pc.sum(pc.equal(new["queue_partition"], partition)).as_py() or 0
        moved[partition] = entry.advance(read.end, rows=0, dead_letters=added, repeats=count - added)
    rows = new.drop_columns(["queue_partition"])
    append(table, rows, to_properties(queue, moved), {"lakehouse.run-id": run_id})
    return Commit(
        rows=0,
        dead_letters=new.num_rows,
        skipped=sum(
            entry.skipped - entries[p].skipped if p in entries else entry.skipped for p, entry in moved.items()
        ),
        snapshot_id=current_snapshot_id(table),
        positions={partition: entry.position for partition, entry in moved.items()},
        seconds=time.monotonic() - began,
    )


def _letters(part: Batch, run_id: str) -> pa.Table:
    """One letter a record, in the schema of the table, and the partition of the queue that holds it."""
    records = part.records
    said = [_origin(dict(headers)) for headers in records["headers"].to_pylist()]
    columns = {name: pa.array([origin[name] for origin in said], pa.string()) for name in _TEXTS}
    columns |= {name: pa.array([origin[name] for origin in said], type_) for name, type_ in _NUMBERS.items()}
    columns |= {name: pa.array([origin[name] for origin in said], pa.timestamp("us", tz="UTC")) for name in _TIMES}
    own = {
        "kafka_topic": pa.repeat(pa.scalar(part.source), records.num_rows),
        "kafka_partition": records["partition"],
        "kafka_offset": records["offset"],
        "kafka_timestamp": records["timestamp"],
        "failed_at": records["timestamp"],
    }
    columns |= {name: pc.coalesce(columns[name], column) for name, column in own.items()}
    numbers = (columns[name].cast(pa.string()) for name in _NUMBERS)
    columns |= {
        "dead_letter_id": pc.binary_join_element_wise(columns["kafka_topic"], *numbers, ":"),
        "source": columns["kafka_topic"],
        "original_payload": records["value"],
        "original_key": records["key"],
        "run_id": pa.repeat(pa.scalar(run_id), records.num_rows),
    }
    letters = in_schema(DEAD_LETTER, columns, records.num_rows)
    return letters.append_column("queue_partition", records["partition"])


def _origin(headers: dict[str, bytes]) -> dict[str, object]:
    """What the stream said of a record; where it said nothing that can be read, that."""
    try:
        texts: dict[str, object] = {name: headers[name].decode() for name in (*_TEXTS, *_NUMBERS, *_TIMES)}
        numbers: dict[str, object] = {
            name: pa.scalar(int(str(texts[name])), type_).as_py() for name, type_ in _NUMBERS.items()
        }
        times = {name: datetime.fromisoformat(str(texts[name])).replace(tzinfo=UTC) for name in _TIMES}
    except (KeyError, ValueError, AttributeError, OverflowError):
        nothing: dict[str, object] = dict.fromkeys((*_NUMBERS, *_TIMES, "kafka_topic"))
        why = "the record is in the queue of refused records, but does not say where it comes from"
        return nothing | {"contract": "none", "error_type": STRAY, "error_message": why}
    return texts | numbers | times


def _is_first(letters: pa.Table) -> pa.Array:
    """Whether each letter is the first of its id in the batch."""
    numbered = letters.select(_ID).append_column("place", pa.array(range(letters.num_rows), pa.int64()))
    first = numbered.group_by(_ID).aggregate([("place", "min")])["place_min"]
    return pc.is_in(numbered["place"], first.combine_chunks())


def _known(table: Table, letters: pa.Table) -> pa.Array:
    """Ids of the letters that are in the table already."""
    found = [pa.array([], pa.string())]
    for source in pc.unique(letters["source"]).to_pylist():
        offsets = letters.filter(pc.equal(letters["source"], source))[KAFKA.offset]
        within: BooleanExpression = And(
            equal("source", source),
            And(at_least(KAFKA.offset, pc.min(offsets).as_py()), at_most(KAFKA.offset, pc.max(offsets).as_py())),
        )
        known = table.scan(row_filter=within, selected_fields=tuple(_ID)).to_arrow()
        found += known["dead_letter_id"].cast(pa.string()).chunks
    return pa.concat_arrays(found)
