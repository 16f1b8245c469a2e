"""A batch of records of one source as Arrow columns, and the ranges of positions it stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

RECORDS = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("key", pa.binary()),
        ("value", pa.binary()),
    ]
)


@dataclass(frozen=True)
class Range:
    """Offsets ``start ≤ offset < end`` of a partition, all of them read."""

    start: int
    end: int


@dataclass(frozen=True)
class Batch:
    """Records of one source, and for each partition the range that was read.

    A source is a Kafka topic, or a delivery (a file, a table that a program hands over), which has one partition, 0,
    and the numbers of its records for offsets. A range may be longer than its records: transaction markers, aborted
    and compacted records of a topic have offsets too.
    """

    source: str
    source_id: str
    """What tells the source from another one of the same name: the id of a topic, the hash of a file's content."""
    records: pa.Table
    """Schema `RECORDS`. Of a source that brings columns, ``value`` is null except for what no column can hold."""
    ranges: dict[int, Range]
    cells: pa.Table | None = None
    """Text by column, one row a record, of a source that brings columns; nulls for what no column can hold."""

    def after(self, positions: dict[int, int]) -> Batch:
        """The part of the batch from the given positions on; partitions that have none of it are left out.

        Raises:
            ValueError: when a range starts behind a position: what lies between was not read.
        """
        ranges = {}
        keep: pa.ChunkedArray | pa.BooleanScalar | None = None
        for partition, read in self.ranges.items():
            start = positions.get(partition, read.start)
            if start < read.start:
                raise ValueError(f"{self.source}[{partition}]: {start}..{read.start} was not read")
            if start < read.end:
                ranges[partition] = Range(start, read.end)
            if start > read.start:
                is_old = pc.and_(pc.equal(self.records["partition"], partition), pc.less(self.records["offset"], start))
                keep = pc.invert(is_old) if keep is None else pc.and_(keep, pc.invert(is_old))
        if keep is None:
            return replace(self, ranges=ranges)
        cells = self.cells.filter(keep) if self.cells is not None else None
        return replace(self, records=self.records.filter(keep), ranges=ranges, cells=cells)

    def counts(self) -> dict[int, int]:
        """Number of records a partition."""
        counted = pc.value_counts(self.records["partition"])
        return {item["values"].as_py(): item["counts"].as_py() for item in counted}
