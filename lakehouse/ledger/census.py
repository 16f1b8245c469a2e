"""Counting coordinates in the tables, for the auditor: from the files themselves, never from a writer's numbers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import NotNull
from pyiceberg.table import FileScanTask, Table

from lakehouse.adapters.iceberg.history import read_files
from lakehouse.contracts.lineage import ERASED_AT, REPLAYED_AT
from lakehouse.ledger.origin import ORIGINS, Origin, is_delivery

MARK = "lakehouse.audit.verified"
"""Table property with what an earlier audit has verified."""

Key = tuple[str, int]
"""Source and partition."""


@dataclass(frozen=True)
class Mark:
    """What an audit has verified: the table as of a snapshot."""

    snapshot_id: int
    rows: dict[str, int]
    """Rows by ``topic:partition``."""
    positions: dict[str, int]
    """Offset up to which they were verified, by ``topic:partition``."""
    direct: int
    """Rows without a coordinate."""
    delivered: int = 0
    """Rows of completed deliveries, all together: there may be any number of them."""
    replayed: dict[str, int] = field(default_factory=dict)
    """Rows made of dead letters, by ``source:partition``."""


@dataclass
class Census:
    """Coordinates of a table: how many were verified before, and those of the files since."""

    snapshot_id: int | None = None
    verified: dict[Key, tuple[int, int]] = field(default_factory=dict)
    """Number of rows that an earlier audit has verified, and up to which offset."""
    offsets: dict[Key, pa.Array] = field(default_factory=dict)
    """Offsets in the files since, sorted."""
    direct: int = 0
    """Rows without a coordinate: written by SQL, outside any ledger."""
    delivered: int = 0
    """Rows of completed deliveries that an earlier audit has verified."""
    replayed: dict[Key, pa.Array] = field(default_factory=dict)
    """Offsets of rows made of dead letters in the files since, sorted. They are in none of the numbers above."""
    verified_replays: dict[Key, int] = field(default_factory=dict)
    """Number of such rows that an earlier audit has verified."""
    audited: dict[Key, tuple[int, int]] = field(default_factory=dict)
    """As `verified`, but also where all files are read: what an earlier audit found, whether it still holds or not."""

    def replays(self, key: Key) -> int:
        """All rows of a partition that were made of dead letters."""
        return len(self.replayed.get(key, ())) + self.verified_replays.get(key, 0)

    def of(self, key: Key) -> pa.Array:
        """Offsets of a partition in the files since."""
        return self.offsets.get(key, pa.array([], pa.int64()))

    def rows(self, key: Key) -> int:
        """All rows of a partition."""
        return len(self.of(key)) + self.verified.get(key, (0, 0))[0]

    def verified_to(self, key: Key, first: int) -> int:
        """Offset up to which the rows were verified before."""
        return self.verified.get(key, (0, first))[1]


def take_census(table: Table | None, *, deep: bool) -> Census:
    """Count the coordinates of a table.

    Files never change, so where every file of an earlier audit's snapshot is still there and nothing was deleted by
    row, only the files since are read; otherwise, and if ``deep``, all are.
    """
    snapshot = table.current_snapshot() if table is not None else None
    if table is None or snapshot is None:
        return Census()
    census = Census(snapshot.snapshot_id)
    tasks = list(table.scan().plan_files())
    mark = _read_mark(table)
    if mark:
        census.audited = {_key(text): (rows, mark.positions[text]) for text, rows in mark.rows.items()}
    # An erasure takes the snapshot away and keeps every coordinate: what was counted then is known still.
    compared = None if deep else marked_snapshot(table)
    old = _paths(table.scan(snapshot_id=compared).plan_files()) if compared else Counter()
    is_intact = not (old - _paths(tasks)) and not any(task.delete_files for task in tasks)
    if mark and compared and is_intact:
        census.verified = census.audited
        census.direct, census.delivered = mark.direct, mark.delivered
        census.verified_replays = {_key(text): rows for text, rows in mark.replayed.items()}
        tasks = _without(tasks, old)
    if tasks:
        _count(census, _read(table, tasks))
    return census


def count_erased(table: Table) -> int:
    """Rows of a table whose personal data was erased: they say so themselves."""
    if ERASED_AT.name not in table.schema().column_names:
        return 0
    is_erased = NotNull(ERASED_AT.name)  # type: ignore[call-arg,arg-type]
    return int(table.scan(row_filter=is_erased, selected_fields=(ERASED_AT.name,)).count())


def write_mark(table: Table, census: Census, positions: Mapping[Key, int]) -> None:
    """Remember what was verified, in the table. Only for one whose account closes."""
    if census.snapshot_id is None:
        return
    complete = {key for key in (*census.offsets, *census.verified) if is_delivery(key[0])} - set(positions)
    mark = Mark(
        snapshot_id=census.snapshot_id,
        rows={_text(key): census.rows(key) for key in positions},
        positions={_text(key): position for key, position in positions.items()},
        direct=census.direct,
        delivered=census.delivered + sum(census.rows(key) for key in complete),
        replayed={_text(key): census.replays(key) for key in (*census.replayed, *census.verified_replays)},
    )
    with table.transaction() as transaction:
        transaction.set_properties({MARK: json.dumps(asdict(mark), sort_keys=True)})


def _read_mark(table: Table) -> Mark | None:
    text = table.properties.get(MARK)
    return Mark(**json.loads(text)) if text else None


def marked_snapshot(table: Table) -> int | None:
    """The snapshot that the next quick audit compares with, if there is one and it is still there."""
    mark = _read_mark(table)
    return mark.snapshot_id if mark and table.snapshot_by_id(mark.snapshot_id) else None


def _paths(tasks: Iterable[FileScanTask]) -> Counter[str]:
    return Counter(task.file.file_path for task in tasks)


def _without(tasks: list[FileScanTask], paths: Counter[str]) -> list[FileScanTask]:
    """The tasks beyond the given paths; a file that is there twice was there once before at most."""
    left = Counter(paths)
    beyond = []
    for task in tasks:
        if left[task.file.file_path]:
            left[task.file.file_path] -= 1
        else:
            beyond.append(task)
    return beyond


def _read(table: Table, tasks: list[FileScanTask]) -> pa.Table:
    """Coordinates of all rows; null where the table has no such column yet."""
    coordinates = [name for origin in ORIGINS for name in (origin.source, *origin.position)]
    wanted = {*coordinates, REPLAYED_AT.name}
    stored = [name for name in table.schema().column_names if name in wanted]
    rows = read_files(table, tasks, stored)
    for name in wanted - set(stored):
        rows = rows.append_column(name, pa.nulls(rows.num_rows))
    return rows


def _count(census: Census, rows: pa.Table) -> None:
    is_replay = pc.is_valid(rows[REPLAYED_AT.name])
    replays = rows.filter(is_replay)
    rows = rows.filter(pc.invert(is_replay))
    for origin in ORIGINS:
        census.offsets |= _by_key(origin, rows)
        census.replayed |= _by_key(origin, replays)
        rows = rows.filter(pc.is_null(origin.offsets(rows)))
    census.direct += rows.num_rows


def _by_key(origin: Origin, rows: pa.Table) -> dict[Key, pa.Array]:
    """Sorted offsets of the rows that have a coordinate of this kind."""
    rows = rows.filter(pc.is_valid(origin.offsets(rows)))
    found = pa.table(
        {"source": rows[origin.source], "partition": origin.partitions(rows), "offset": origin.offsets(rows)}
    )
    by_key = {}
    for key in found.group_by(["source", "partition"]).aggregate([]).to_pylist():
        here = pc.and_(pc.equal(found["source"], key["source"]), pc.equal(found["partition"], key["partition"]))
        offsets = found.filter(here)["offset"].combine_chunks()
        by_key[key["source"], key["partition"]] = offsets.take(pc.sort_indices(offsets))
    return by_key


def _text(key: Key) -> str:
    return f"{key[0]}:{key[1]}"


def _key(text: str) -> Key:
    topic, _, partition = text.rpartition(":")
    return topic, int(partition)
