"""Coordinates: the columns that say which record of which source a row was."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.adapters.batch import Batch


@dataclass(frozen=True)
class Origin:
    """Where the coordinates of a kind of source are, in bronze and among the dead letters alike."""

    source: str
    """Column with the name of the source."""
    offset: str
    partition: str | None = None
    """Column with the partition; a source without partitions has one, 0."""
    timestamp: str | None = None
    """Column with the time at which the source took the record."""

    @property
    def position(self) -> tuple[str, ...]:
        """Columns that say which record of the source it is."""
        return (self.partition, self.offset) if self.partition else (self.offset,)

    def columns(self, batch: Batch, records: pa.Table) -> dict[str, pa.Array | pa.ChunkedArray]:
        """Coordinates of some of the batch's records, by column."""
        given = {self.source: pa.repeat(pa.scalar(batch.source), records.num_rows), self.offset: records["offset"]}
        if self.partition:
            given[self.partition] = records["partition"]
        if self.timestamp:
            given[self.timestamp] = records["timestamp"]
        return given

    def partitions(self, rows: pa.Table) -> pa.ChunkedArray:
        """Partition of each row."""
        if self.partition:
            return rows[self.partition]
        return pa.chunked_array([pa.repeat(pa.scalar(0, pa.int32()), rows.num_rows)])

    def offsets(self, rows: pa.Table) -> pa.ChunkedArray:
        """Offset of each row."""
        return rows[self.offset]

    def by_partition(self, rows: pa.Table) -> dict[int, pa.ChunkedArray]:
        """Offsets of the rows by partition."""
        partitions, offsets = self.partitions(rows), self.offsets(rows)
        return {p: offsets.filter(pc.equal(partitions, p)) for p in pc.unique(partitions).to_pylist()}


def is_delivery(source: str) -> bool:
    """Whether a source is a delivery, not a topic: its name has an ``@``, which a topic's cannot have."""
    return "@" in source


KAFKA = Origin("kafka_topic", "kafka_offset", "kafka_partition", "kafka_timestamp")
DELIVERY = Origin("source_file", "source_row")
ORIGINS = (KAFKA, DELIVERY)
