"""Shortening the history of a table, never past what someone still reads from it.

The ledger is in the table's properties and loses nothing. What the removed snapshots said is written down first.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from lakehouse.adapters.iceberg.catalog import find_table
from lakehouse.adapters.iceberg.history import positions, said, sayings
from lakehouse.adapters.trino.query import query
from lakehouse.contracts.lineage import LOADED_AT, SOURCE_SNAPSHOT
from lakehouse.ledger.census import marked_snapshot
from lakehouse.ledger.commit import LostRace, until_won
from lakehouse.ledger.history import of_snapshot, write_down
from lakehouse.naming import Layer, TableName
from lakehouse.settings import Settings

FLINK = "flink."
FLINK_JOB, FLINK_OPERATOR = f"{FLINK}job-id", f"{FLINK}operator-id"
"""What Iceberg's sink for Flink writes into the summaries of its snapshots."""


def reader_positions(settings: Settings, catalog: Catalog, names: Collection[TableName]) -> set[int]:
    """Snapshots up to which incremental readers have seen their sources.

    Spark's tables say it in their commits, dbt's in their newest rows.

    Raises:
        LakehouseError: Trino does not answer.
    """
    read = set()
    for name in names:
        table = find_table(catalog, name) if name.layer is not Layer.BRONZE else None
        if table is None or SOURCE_SNAPSHOT not in table.schema().column_names:
            continue
        if known := positions(table, table.current_snapshot()):
            read |= set(known.values())
            continue
        _, rows = query(settings, f"select max_by({SOURCE_SNAPSHOT}, {LOADED_AT}) from {name.sql}")  # noqa: S608
        read |= {row[0] for row in rows if row[0] is not None}
    return read


def expirable(table: Table, positions: Collection[int], *, kept: int, retention: timedelta, now: datetime) -> list[int]:
    """Ids of the snapshots that nobody needs, the oldest first.

    A snapshot stays while it is the newest, has a name, was verified by the last audit, is the last one of a job in
    Flink or that says how far a source was read, or an incremental reader has not passed it (the reader's own position
    included: the next read begins there). None goes that came after the last one of a job in Flink, which looks for it
    from the newest snapshot backwards, and takes a missing one for the end. Of the others the newest `kept` stay while
    they are younger than `retention`.

    Args:
        table: As loaded.
        positions: As `reader_positions` has them, of any tables.
        kept: How many snapshots stay at most, beside those that are needed.
        retention: How long they stay at most.
        now: With a time zone.
    """
    history = sorted(table.snapshots(), key=lambda snapshot: (snapshot.sequence_number or 0, snapshot.timestamp_ms))
    needed = {ref.snapshot_id for ref in table.metadata.refs.values()} | {marked_snapshot(table)}
    needed |= {snapshot.snapshot_id for snapshot in last_of_flink(history)} | sayings(table)
    unread = next((i for i, snapshot in enumerate(history) if snapshot.snapshot_id in positions), len(history))
    # Of each operator the newest: that is of the job that is restored next.
    flink = {said(one).get(FLINK_OPERATOR): i for i, one in enumerate(history) if FLINK_JOB in said(one)}
    unseen = min(flink.values(), default=len(history))
    oldest = (now - retention).timestamp() * 1000

    def may_go(index: int, snapshot: Snapshot) -> bool:
        is_old = index < len(history) - kept or snapshot.timestamp_ms < oldest
        return is_old and index < min(unread, unseen) and snapshot.snapshot_id not in needed

    return [snapshot.snapshot_id for index, snapshot in enumerate(history) if may_go(index, snapshot)]


def expire(
    catalog: Catalog, name: TableName, positions: Collection[int], *, kept: int, retention: timedelta
) -> list[int]:
    """Take what `expirable` names out of a table's history, after writing it down.

    Raises:
        LedgerConflictError: other writers won every race.
    """
    table = catalog.load_table(name.identifier)

    def remove() -> list[int]:
        now = datetime.now(UTC)
        ids = expirable(table, positions, kept=kept, retention=retention, now=now)
        if ids:
            by_id = {snapshot.snapshot_id: snapshot for snapshot in table.snapshots()}
            write_down(catalog, name, [of_snapshot(by_id[id_]) for id_ in ids], now)
            try:
                table.maintenance.expire_snapshots().by_ids(ids).commit()
            except CommitFailedException as error:
                raise LostRace(str(error)) from error
        return ids

    return until_won(table, remove)


def last_of_flink(history: Sequence[Snapshot]) -> list[Snapshot]:
    """The newest snapshot of every job and operator of Flink, also of those that have stopped.

    A job that is restored finds in it up to which checkpoint it has committed; without it, it commits once more.
    """
    last = {}
    for snapshot in history:
        summary = said(snapshot)
        if FLINK_JOB in summary:
            last[summary[FLINK_JOB], summary.get(FLINK_OPERATOR)] = snapshot
    return list(last.values())
