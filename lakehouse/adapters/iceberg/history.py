"""What was added to a table since a snapshot, by the table's own history; and how far its readers have read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import ManifestEntryStatus
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.snapshots import Operation, Snapshot, ancestors_of

from lakehouse.naming import TableName

READ = "lakehouse.read."
"""Prefix in a snapshot's summary: up to which snapshot of a source its table is complete."""

ALL_ROWS = AlwaysTrue()


class Mode(StrEnum):
    """How a reader gets what it has not seen."""

    NOTHING = "nothing"
    CHANGES = "changes"
    """The rows that were appended since."""
    ALL = "all"
    """Every row: it has seen none yet, its position is gone, or rows were changed or deleted since."""


@dataclass(frozen=True)
class Read:
    """What to read of a table. The end is pinned: what is committed meanwhile belongs to the next read."""

    table: TableName
    mode: Mode
    start: int | None
    """Snapshot that was seen."""
    end: int | None
    """Snapshot to read up to."""


def plan_read(name: TableName, source: Table | None, newest: Snapshot | None, position: int | None) -> Read:
    """How a reader that has seen ``position`` of a table gets to a newer snapshot of it."""
    if source is None or newest is None:
        return Read(name, Mode.NOTHING, None, None)
    end = newest.snapshot_id
    new = since(source, newest, position)
    if position is None or new is None:
        return Read(name, Mode.ALL, None, end)
    if added(new, "deleted-data-files") or added(new, "added-delete-files"):
        return Read(name, Mode.ALL, None, end)
    return Read(name, Mode.CHANGES if added(new, "added-records") else Mode.NOTHING, position, end)


def positions(reader: Table, newest: Snapshot | None) -> dict[str, int]:
    """Up to which snapshot of each of its sources a table is complete, by `READ` and the source's name."""
    return {name: int(value) for name, (_, value) in _said(reader, newest).items()}


def sayings(reader: Table) -> set[int]:
    """The snapshots of a table that say so: without them it would begin anew."""
    return {snapshot_id for snapshot_id, _ in _said(reader, reader.current_snapshot()).values()}


def _said(reader: Table, newest: Snapshot | None) -> dict[str, tuple[int, str]]:
    found: dict[str, tuple[int, str]] = {}
    for snapshot in ancestors_of(newest, reader.metadata):
        for name, value in said(snapshot).items():
            if name.startswith(READ):
                found.setdefault(name, (snapshot.snapshot_id, value))
    return found


def since(table: Table, newest: Snapshot | None, snapshot_id: int | None) -> list[Snapshot] | None:
    """What changed rows of a table after a snapshot, or ever, the oldest first; None where that snapshot is gone."""
    found: list[Snapshot] = []
    for snapshot in ancestors_of(newest, table.metadata):
        if snapshot.snapshot_id == snapshot_id:
            return found[::-1]
        if not _is_rewrite(snapshot):
            found.append(snapshot)
    return found[::-1] if snapshot_id is None else None


def added(snapshots: Sequence[Snapshot], what: str) -> int:
    """Sum of a number in the snapshots' summaries, e.g. ``added-records``."""
    return sum(int(said(snapshot).get(what, 0)) for snapshot in snapshots)


def said(snapshot: Snapshot) -> dict[str, str]:
    """A snapshot's summary."""
    return snapshot.summary.additional_properties if snapshot.summary else {}


def read_added(table: Table, snapshots: Sequence[Snapshot], columns: Sequence[str]) -> pa.Table:
    """Some columns of the rows in the files that the snapshots added, as `files_added` finds them.

    Rows deleted later are among them.
    """
    return read_files(table, files_added(table, snapshots), columns)


def files_added(table: Table, snapshots: Sequence[Snapshot]) -> list[FileScanTask]:
    """The files that the snapshots added, as far as these are in the table's manifests; nothing is deleted from them.

    They can be read until the snapshots expire, also where their rows were put into other files meanwhile.
    """
    return [
        FileScanTask(entry.data_file)
        for snapshot in snapshots
        for manifest in snapshot.manifests(table.io)
        if manifest.added_snapshot_id == snapshot.snapshot_id
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
        if entry.status is ManifestEntryStatus.ADDED
    ]


def files_since(table: Table, seen: int | None) -> list[FileScanTask]:
    """The files with all rows that were added since a snapshot, as `files_added` finds them.

    Every file where there is no such snapshot, or no more.
    """
    newest = table.current_snapshot()
    if newest is None:
        return []
    new = since(table, newest, seen) if seen is not None else None
    return list(table.scan().plan_files()) if new is None else files_added(table, new)


def files_at(table: Table, newest: Snapshot, seen: int | None = None) -> list[FileScanTask] | None:
    """The files of a table as it was at a snapshot, or those of them that it did not have at an earlier one.

    In the latter are all rows that were added or changed meanwhile, without those that were deleted again, and also
    rows that were only put into other files.

    Returns:
        The files; None where the earlier snapshot is gone, or the table is another one now.
    """
    files = list(table.scan(snapshot_id=newest.snapshot_id).plan_files())
    if seen is None:
        return files
    if since(table, newest, seen) is None:
        return None
    known = {task.file.file_path for task in table.scan(snapshot_id=seen).plan_files()}
    return [task for task in files if task.file.file_path not in known]


def read_files(
    table: Table, files: Iterable[FileScanTask], columns: Iterable[str], row_filter: BooleanExpression = ALL_ROWS
) -> pa.Table:
    """Some columns of the rows in some files; of these columns the filter may speak."""
    return ArrowScan(table.metadata, table.io, table.schema().select(*columns), row_filter).to_table(files)


def _is_rewrite(snapshot: Snapshot) -> bool:
    """Whether it only put files together: no row is another one."""
    return snapshot.summary is not None and snapshot.summary.operation is Operation.REPLACE
