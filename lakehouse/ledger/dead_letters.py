"""The dead letters: append-only, written only here, read by coordinate."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, BooleanExpression, Or
from pyiceberg.table import Table

from lakehouse.adapters.iceberg.catalog import ensure_table, find_table
from lakehouse.adapters.iceberg.filters import at_least, equal
from lakehouse.contracts.arrow import in_schema
from lakehouse.contracts.contract import Contract
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.ledger.commit import append, until_won
from lakehouse.ledger.origin import Origin
from lakehouse.ledger.state import Entry, read_entries, to_properties

Coordinates = dict[int, list[int]]
"""Offsets by partition, of one topic."""


class DeadLetters:
    """The table of dead letters, as a writer of one source sees it."""

    def __init__(self, catalog: Catalog, source: str, origin: Origin) -> None:
        """Open the table, created or evolved first."""
        self._table: Table = ensure_table(catalog, DEAD_LETTER)
        self._source = source
        self._origin = origin

    def _coordinates_from(self, positions: Mapping[int, int]) -> Coordinates:
        """Coordinates of the source that are dead letters already.

        There are some only after a writer was ended between its two commits, or while another one is at work; the
        table's own ledger tells without reading a row.
        """
        self._table.refresh()
        entries = read_entries(self._table.properties, self._source)
        # Of a delivery that was taken in whole the ledger says nothing any more: then the table is asked.
        ends = {partition: entry.position for partition, entry in entries.items()}
        unknown = 0 if self._origin.partition else sys.maxsize
        ahead = {p: start for p, start in positions.items() if ends.get(p, unknown) > start}
        if not ahead:
            return {}
        found = self._table.scan(row_filter=self._from(ahead), selected_fields=self._origin.position).to_arrow()
        return {partition: offsets.to_pylist() for partition, offsets in self._origin.by_partition(found).items()}

    def add(self, letters: pa.Table, positions: Mapping[int, int], run_id: str) -> Coordinates:
        """Append dead letters, leaving out those whose coordinates are there already.

        Args:
            letters: In the schema of the table; coordinates are unique. May be none.
            positions: Position by partition from which on the letters, and the answer, are.
            run_id: For the evidence in the snapshot.

        Returns:
            Coordinates of the source, from the positions on, that are dead letters now.

        Raises:
            LedgerConflictError: other writers won every race.
        """
        return until_won(self._table, lambda: self._add_missing(letters, positions, run_id))

    def _add_missing(self, letters: pa.Table, positions: Mapping[int, int], run_id: str) -> Coordinates:
        present = self._coordinates_from(positions)
        is_there = is_among(self._origin.partitions(letters), self._origin.offsets(letters), present)
        new = letters.filter(pc.invert(is_there))
        if not new.num_rows:
            return present
        entries = read_entries(self._table.properties, self._source)
        added = self._origin.by_partition(new)
        moved = {partition: _advance(entries.get(partition), offsets) for partition, offsets in added.items()}
        append(self._table, new, to_properties(self._source, moved), {"lakehouse.run-id": run_id})
        return present | {
            partition: present.get(partition, []) + offsets.to_pylist() for partition, offsets in added.items()
        }

    def _from(self, positions: Mapping[int, int]) -> BooleanExpression:
        parts = []
        for partition, start in positions.items():
            reached = at_least(self._origin.offset, start)
            here = self._origin.partition
            parts.append(And(equal(here, partition), reached) if here else reached)
        wanted: BooleanExpression = parts[0]
        for part in parts[1:]:
            wanted = Or(wanted, part)
        return And(equal("source", self._source), wanted)


def to_letters(
    source: str,
    records: pa.Table,
    coordinates: Mapping[str, pa.Array | pa.ChunkedArray],
    refused: pa.Table,
    contract: Contract,
    *,
    failed_at: datetime,
    run_id: str,
) -> pa.Table:
    """Dead letters for refused records, in the schema of the table.

    Args:
        source: Name of the topic or delivery.
        records: The refused records.
        coordinates: Their lineage columns.
        refused: Error type and message of each.
        contract: The contract that refused them.
        failed_at: When it did, UTC.
        run_id: The run that did.
    """
    count = refused.num_rows

    def same(value: object, type_: pa.DataType) -> pa.Array:
        return pa.repeat(pa.scalar(value, type_), count)

    ids = pc.binary_join_element_wise(
        same(source, pa.string()), records["partition"].cast(pa.string()), records["offset"].cast(pa.string()), ":"
    )
    columns = {
        "dead_letter_id": ids,
        "source": same(source, pa.string()),
        "contract": same(contract.fingerprint, pa.string()),
        "error_type": refused["error_type"],
        "error_message": refused["error_message"],
        "original_payload": records["value"],
        "original_key": records["key"],
        "failed_at": same(failed_at, pa.timestamp("us", tz="UTC")),
        "run_id": same(run_id, pa.string()),
        **coordinates,
    }
    return in_schema(DEAD_LETTER, columns, count)


def is_among(partitions: pa.ChunkedArray, offsets: pa.ChunkedArray, coordinates: Coordinates) -> pa.ChunkedArray:
    """For each record whether its coordinate is among the given ones."""
    found = pa.chunked_array([pa.repeat(pa.scalar(False), len(offsets))])
    for partition, known in coordinates.items():
        here = pc.and_(pc.equal(partitions, partition), pc.is_in(offsets, pa.array(known, pa.int64())))
        found = pc.or_(found, here)
    return found


def find_dead_letters(catalog: Catalog) -> Table | None:
    """The table for readers, evolved to its contract first, or None while nothing was ever refused."""
    return ensure_table(catalog, DEAD_LETTER) if find_table(catalog, DEAD_LETTER.table) else None


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
