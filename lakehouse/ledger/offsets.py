"""Sets of offsets as Arrow columns: what is missing, what is there twice."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

Interval = tuple[int, int]
"""Offsets ``start ≤ offset < end``."""


def missing(offsets: pa.Array, start: int, end: int) -> list[Interval]:
    """Intervals of ``start..end`` that hold none of the offsets.

    Args:
        offsets: int64, sorted, all within ``start..end``; may hold an offset twice.
        start: First offset that is expected.
        end: Offset after the last one that is expected.
    """
    bounded = pa.concat_arrays([pa.array([start - 1]), offsets, pa.array([end])])
    before, after = bounded[:-1], bounded[1:]
    is_gap = pc.greater(pc.subtract(after, before), 1)
    starts = pc.add(before.filter(is_gap), 1).to_pylist()
    return list(zip(starts, after.filter(is_gap).to_pylist(), strict=True))


def repeated(offsets: pa.Array) -> pa.Array:
    """Offsets that are there more than once, in a sorted array."""
    return pc.unique(offsets[1:].filter(pc.equal(offsets[1:], offsets[:-1])))


def within(offsets: pa.Array, interval: Interval) -> pa.Array:
    """The offsets that are in an interval."""
    start, end = interval
    return offsets.filter(pc.and_(pc.greater_equal(offsets, start), pc.less(offsets, end)))


def without(intervals: Iterable[Interval], others: Iterable[Interval]) -> list[Interval]:
    """What is left of the intervals when others are taken out."""
    left = list(intervals)
    for start, end in others:
        parts = [part for a, b in left for part in ((a, min(b, start)), (max(a, end), b))]
        left = [(a, b) for a, b in parts if a < b]
    return left


def length(intervals: Iterable[Interval]) -> int:
    """Number of offsets in the intervals."""
    return sum(end - start for start, end in intervals)
