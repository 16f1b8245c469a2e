"""Taking what some rows say out of a table for good: out of its rows, its history and its folder.

The commit that changes the rows lists the files that it replaced nowhere, not even as deleted: a manifest holds the
least and the greatest value of each column of its files. It says again what only older snapshots said and somebody
needs: how far the table has read its sources, and what Flink has committed to it. So all older snapshots can go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.expressions import BooleanExpression
from pyiceberg.expressions.visitors import _InclusiveMetricsEvaluator
from pyiceberg.io.pyarrow import _dataframe_to_data_files
from pyiceberg.manifest import DataFile, ManifestContent, ManifestEntry, ManifestEntryStatus, ManifestFile
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _SnapshotProducer

from lakehouse.adapters.iceberg.history import positions, read_files, said
from lakehouse.ledger.commit import COMMIT_ID, LostRace, swapping, until_won
from lakehouse.ledger.history import of_snapshot, write_down
from lakehouse.maintenance.expiry import FLINK, last_of_flink
from lakehouse.maintenance.orphans import named_by, remove
from lakehouse.naming import TableName

Change = Callable[[pa.Table, pa.ChunkedArray], pa.Table]
"""Makes of all rows of a file, and which of them are selected, the rows that take their place."""


@dataclass(frozen=True)
class Selection:
    """Some rows of a table."""

    within: BooleanExpression
    """A condition that they all fulfil, by which files are left out."""
    columns: tuple[str, ...]
    """What must be read to know them."""
    among: Callable[[pa.Table], pa.ChunkedArray]
    """Which rows are of them; never null."""


def select(table: Table, selection: Selection, *columns: str) -> pa.Table:
    """The selected rows as they are now, with their own columns and others."""
    wanted = (*selection.columns, *columns)
    files = (read_files(table, [task], wanted) for task in _tasks(table, selection))
    found = [rows.filter(selection.among(rows)) for rows in files]
    return pa.concat_tables([read_files(table, [], wanted), *found], promote_options="permissive")


def is_remembered(table: Table, selection: Selection) -> bool:
    """Whether a file that only older snapshots name holds selected rows, or is gone.

    It is gone where the removal of such files was ended before the snapshots were.
    """
    now = table.current_snapshot()
    present = set(_live_files(table, now.manifests(table.io))) if now else set()
    manifests = {m.manifest_path: m for snapshot in table.snapshots() for m in snapshot.manifests(table.io)}
    may_hold = _InclusiveMetricsEvaluator(table.schema(), selection.within).eval
    for file in set(_live_files(table, manifests.values())) - present:
        if may_hold(file):
            try:
                rows = read_files(table, [FileScanTask(file)], selection.columns)
            except FileNotFoundError:
                return True
            if pc.any(selection.among(rows)).as_py():
                return True
    return False


def rewrite(
    table: Table,
    selection: Selection,
    change: Change,
    evidence: Mapping[str, str],
    *,
    operation: Operation,
) -> int:
    """Change the selected rows in one commit, beside whoever appends to the table, and make its history expendable.

    Where there is none to change the commit says again what is needed, all the same.

    Args:
        table: Refreshed before and by the commit.
        selection: Which rows.
        change: What becomes of them.
        evidence: Properties of the snapshot.
        operation: `REPLACE`, over which incremental readers pass, or `OVERWRITE`.

    Returns:
        Sequence number of the snapshot, for `forget`.

    Raises:
        LedgerConflictError: other writers won every race.
    """
    made: dict[str, list[DataFile]] = {}

    def attempt() -> int:
        table.refresh()
        replaced: dict[DataFile, list[DataFile]] = {}
        # What others wrote meanwhile is looked at as well; a file that was written before the race was lost is kept.
        for task in _tasks(table, selection):
            path = task.file.file_path
            if path not in made:
                made[path] = list(_changed(table, task, selection, change))
            if made[path] != [task.file]:
                replaced[task.file] = made[path]
        return _commit(table, replaced, evidence, operation if replaced else Operation.REPLACE)

    return until_won(table, attempt)


def forget(catalog: Catalog, name: TableName, before: int) -> None:
    """Take the snapshots before one of `rewrite` out of a table's history, and remove the files only they name.

    Files of rows go first: where that is ended, `is_remembered` knows it.

    Raises:
        LedgerConflictError: other writers won every race.
    """
    table = catalog.load_table(name.identifier)

    def expire() -> set[str]:
        table.refresh()
        old = [snapshot for snapshot in table.snapshots() if (snapshot.sequence_number or 0) < before]
        kept = [snapshot for snapshot in table.snapshots() if (snapshot.sequence_number or 0) >= before]
        (old_rows, old_lists), (rows, lists) = named_by(table, old), named_by(table, kept)
        remove(table, old_rows - rows)
        if old:
            write_down(catalog, name, map(of_snapshot, old), datetime.now(UTC))
            try:
                table.maintenance.expire_snapshots().by_ids([snapshot.snapshot_id for snapshot in old]).commit()
            except CommitFailedException as error:
                raise LostRace(str(error)) from error
        return old_lists - lists

    remove(table, until_won(table, expire))


def _commit(
    table: Table, replaced: Mapping[DataFile, list[DataFile]], evidence: Mapping[str, str], operation: Operation
) -> int:
    newest, number = table.current_snapshot(), table.metadata.next_sequence_number()
    history = sorted(table.snapshots(), key=lambda snapshot: snapshot.sequence_number or 0)
    read = {name: str(position) for name, position in positions(table, newest).items()}
    committed = [
        {key: value for key, value in said(snapshot).items() if key.startswith(FLINK)}
        for snapshot in last_of_flink(history)
    ]
    with swapping(table) as (transaction, commit_id):
        with _Rewrite(
            operation, transaction, table.io, snapshot_properties={**read, **evidence, COMMIT_ID: commit_id}
        ) as update:
            update.replace(replaced)
        # Flink finds what it has committed by going back from the newest snapshot, job by job.
        for words in committed:
            with _Rewrite(Operation.REPLACE, transaction, table.io, snapshot_properties=words):
                pass
    return number


def _changed(table: Table, task: FileScanTask, selection: Selection, change: Change) -> Iterator[DataFile]:
    """The files that take the place of one: itself, where none of its rows is selected."""
    if not pc.any(selection.among(read_files(table, [task], selection.columns))).as_py():
        yield task.file
        return
    rows = read_files(table, [task], table.schema().column_names)
    changed = change(rows, selection.among(rows))
    if changed.num_rows:
        yield from _dataframe_to_data_files(table.metadata, changed, table.io)


def _tasks(table: Table, selection: Selection) -> list[FileScanTask]:
    return list(table.scan(row_filter=selection.within).plan_files())


def _live_files(table: Table, manifests: Iterable[ManifestFile]) -> Iterator[DataFile]:
    for manifest in manifests:
        if manifest.content is ManifestContent.DATA:
            yield from (entry.data_file for entry in manifest.fetch_manifest_entry(table.io))


class _Rewrite(_SnapshotProducer["_Rewrite"]):
    """A snapshot in which some files have taken the place of others, and whose manifests list what is there alone."""

    def __init__(self, operation: Operation, *given: Any, **named: Any) -> None:
        # PyIceberg counts for operations of its own only, of which `replace` is none.
        super().__init__(Operation.OVERWRITE, *given, **named)
        self._is_said_to_be = operation

    def replace(self, replaced: Mapping[DataFile, list[DataFile]]) -> None:
        """Put files in the place of others, which the table holds."""
        self._deleted_data_files |= set(replaced)
        self._added_data_files += [file for files in replaced.values() for file in files]

    def _summary(self, snapshot_properties: Mapping[str, str] = {}) -> Summary:  # noqa: B006
        summary = super()._summary(dict(snapshot_properties))
        return Summary(self._is_said_to_be, **summary.additional_properties)

    def _deleted_entries(self) -> list[ManifestEntry]:
        return []

    def _existing_manifests(self) -> list[ManifestFile]:
        before = self._transaction.table_metadata.snapshot_by_id(self._parent_snapshot_id or 0)
        return [kept for manifest in (before.manifests(self._io) if before else ()) for kept in self._kept(manifest)]

    def _kept(self, manifest: ManifestFile) -> Iterator[ManifestFile]:
        if manifest.content is ManifestContent.DELETES:
            yield manifest  # of files that hold paths and places of rows, and none of their values
            return
        entries = manifest.fetch_manifest_entry(self._io, discard_deleted=False)
        live = [
            entry
            for entry in entries
            if entry.status is not ManifestEntryStatus.DELETED and entry.data_file not in self._deleted_data_files
        ]
        if len(live) == len(entries):
            yield manifest
        elif live:
            with self.new_manifest_writer(self.spec(manifest.partition_spec_id)) as writer:
                for entry in live:
                    writer.existing(entry)
            yield writer.to_manifest_file()
