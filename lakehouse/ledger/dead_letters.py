"""The dead letters: append-only, written only here, read by coordinate."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, BooleanExpression, Or
from pyiceberg.table import Table

from lakehouse.adapters.iceberg.catalog import ensure_table, find_table
from lakehouse.adapters.iceberg.filters import at_least, equal
from lakehouse.adapters.kafka.batch import KafkaBatch
from lakehouse.contracts.arrow import arrow_schema
from lakehouse.contracts.contract import Contract
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.errors import LedgerConflictError
from lakehouse.ledger.commit import LostRace, append
from lakehouse.ledger.state import Entry, read_entries, to_properties

ATTEMPTS = 20
"""Commits of other topics go to the same table: losing a few races is normal."""

Coordinates = dict[int, list[int]]
"""Offsets by partition, of one topic."""


class DeadLetters:
    """The table of dead letters, as a writer of one topic sees it."""

    def __init__(self, catalog: Catalog, topic: str) -> None:
        """Open the table, created or evolved first."""
        self._table: Table = ensure_table(catalog, DEAD_LETTER)
        self._topic = topic

    def coordinates_from(self, positions: Mapping[int, int]) -> Coordinates:
        """Coordinates of the topic that are dead letters already, from the given positions on.

        There are some only after a writer was ended between its two commits, or while another one is at work; the
        table's own ledger tells without reading a row.
        """
        self._table.refresh()
        entries = read_entries(self._table.properties, self._topic)
        ahead = {p: start for p, start in positions.items() if p in entries and entries[p].position > start}
        if not ahead:
            return {}
        columns = ("kafka_partition", "kafka_offset")
        found = self._table.scan(row_filter=_coordinates_filter(self._topic, ahead), selected_fields=columns).to_arrow()
        return {
            partition: found.filter(pc.equal(found["kafka_partition"], partition))["kafka_offset"].to_pylist()
            for partition in pc.unique(found["kafka_partition"]).to_pylist()
        }

    def add(self, letters: pa.Table, run_id: str) -> None:
        """Append dead letters, leaving out those whose coordinates are there already.

        Args:
            letters: In the schema of the table; coordinates are unique.
            run_id: For the evidence in the snapshot.

        Raises:
            LedgerConflictError: other writers won every race.
        """
        for _ in range(ATTEMPTS):
            starts = {
                partition: pc.min(offsets).as_py() for partition, offsets in _offsets_by_partition(letters).items()
            }
            present = self.coordinates_from(starts)
            new = letters.filter(pc.invert(is_among(letters["kafka_partition"], letters["kafka_offset"], present)))
            if not new.num_rows:
                return
            entries = read_entries(self._table.properties, self._topic)
            moved = {
                partition: _advance(entries.get(partition), offsets)
                for partition, offsets in _offsets_by_partition(new).items()
            }
            try:
                append(self._table, new, to_properties(self._topic, moved), {"lakehouse.run-id": run_id})
            except LostRace:
                continue
            return
        raise LedgerConflictError(f"dead letters of {self._topic}: lost {ATTEMPTS} races in a row; try again later")


def to_letters(
    batch: KafkaBatch, refused: pa.Table, contract: Contract, *, failed_at: datetime, run_id: str
) -> pa.Table:
    """Dead letters for the refused records of a batch, in the schema of the table.

    Args:
        batch: The batch that was validated.
        refused: Position in the batch, error type and message.
        contract: The contract that refused them.
        failed_at: When it did, UTC.
        run_id: The run that did.
    """
    records = batch.records.take(refused["row"])
    count = refused.num_rows

    def same(value: object, type_: pa.DataType) -> pa.Array:
        return pa.repeat(pa.scalar(value, type_), count)

    schema = arrow_schema(DEAD_LETTER)
    ids = pc.binary_join_element_wise(
        same(batch.topic, pa.string()), records["partition"].cast(pa.string()), records["offset"].cast(pa.string()), ":"
    )
    columns = {
        "dead_letter_id": ids,
        "source": same(batch.topic, pa.string()),
        "contract": same(contract.fingerprint, pa.string()),
        "error_type": refused["error_type"],
        "error_message": refused["error_message"],
        "original_payload": records["value"],
        "original_key": records["key"],
        "failed_at": same(failed_at, pa.timestamp("us", tz="UTC")),
        "run_id": same(run_id, pa.string()),
        "kafka_topic": same(batch.topic, pa.string()),
        "kafka_partition": records["partition"],
        "kafka_offset": records["offset"],
        "kafka_timestamp": records["timestamp"],
    }
    return pa.table([columns[name] for name in schema.names], schema=schema)


def is_among(partitions: pa.ChunkedArray, offsets: pa.ChunkedArray, coordinates: Coordinates) -> pa.ChunkedArray:
    """For each record whether its coordinate is among the given ones."""
    found = pa.chunked_array([pa.repeat(pa.scalar(False), len(offsets))])
    for partition, known in coordinates.items():
        here = pc.and_(pc.equal(partitions, partition), pc.is_in(offsets, pa.array(known, pa.int64())))
        found = pc.or_(found, here)
    return found


def find_dead_letters(catalog: Catalog) -> Table | None:
    """The table for readers, or None while nothing was ever refused."""
    return find_table(catalog, DEAD_LETTER.table)


def _offsets_by_partition(letters: pa.Table) -> dict[int, pa.ChunkedArray]:
    return {
        partition: letters.filter(pc.equal(letters["kafka_partition"], partition))["kafka_offset"]
        for partition in pc.unique(letters["kafka_partition"]).to_pylist()
    }


def _advance(entry: Entry | None, offsets: pa.ChunkedArray) -> Entry:
    """Here an entry only says how far letters reach; a writer that was ended may have left some behind its position."""
    first, last = pc.min(offsets).as_py(), pc.max(offsets).as_py()
    known = entry or Entry(topic_id="", first=first, position=first)
    return Entry(
        topic_id=known.topic_id,
        first=known.first,
        position=max(known.position, last + 1),
        dead_letters=known.dead_letters + len(offsets),
    )


def _coordinates_filter(topic: str, positions: Mapping[int, int]) -> BooleanExpression:
    parts = [
        And(equal("kafka_partition", partition), at_least("kafka_offset", start))
        for partition, start in positions.items()
    ]
    wanted: BooleanExpression = parts[0]
    for part in parts[1:]:
        wanted = Or(wanted, part)
    return And(equal("source", topic), wanted)
