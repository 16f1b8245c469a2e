"""A batch of Kafka records as Arrow columns, and the ranges of offsets it stands for."""

from __future__ import annotations

from dataclasses import dataclass

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
class KafkaBatch:
    """Records of one topic, and for each partition the range that was read.

    A range may be longer than its records: transaction markers, aborted and compacted records have offsets too.
    """

    topic: str
    topic_id: str
    records: pa.Table
    """Schema `RECORDS`."""
    ranges: dict[int, Range]

    def after(self, positions: dict[int, int]) -> KafkaBatch:
        """The part of the batch from the given positions on; partitions that have none of it are left out.

        Raises:
            ValueError: when a range starts behind a position: what lies between was not read.
        """
        ranges = {}
        keep: pa.ChunkedArray | pa.BooleanScalar | None = None
        for partition, read in self.ranges.items():
            start = positions.get(partition, read.start)
            if start < read.start:
                raise ValueError(f"{self.topic}[{partition}]: {start}..{read.start} was not read")
            if start < read.end:
                ranges[partition] = Range(start, read.end)
            if start > read.start:
                is_old = pc.and_(pc.equal(self.records["partition"], partition), pc.less(self.records["offset"], start))
                keep = pc.invert(is_old) if keep is None else pc.and_(keep, pc.invert(is_old))
        records = self.records if keep is None else self.records.filter(keep)
        return KafkaBatch(self.topic, self.topic_id, records, ranges)

    def counts(self) -> dict[int, int]:
        """Number of records a partition."""
        counted = pc.value_counts(self.records["partition"])
        return {item["values"].as_py(): item["counts"].as_py() for item in counted}
