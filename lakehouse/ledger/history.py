"""The commits of a table: those in its history, and those that maintenance took out of it and wrote down."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot

from lakehouse.adapters.iceberg.catalog import ensure_table, find_table
from lakehouse.adapters.iceberg.filters import at_least, equal
from lakehouse.adapters.iceberg.history import said
from lakehouse.contracts.arrow import arrow_schema
from lakehouse.contracts.expired_snapshot import EXPIRED_SNAPSHOT
from lakehouse.ledger.commit import append, until_won
from lakehouse.naming import TableName


@dataclass(frozen=True)
class PastCommit:
    """What a commit said of itself."""

    snapshot_id: int
    at: datetime
    operation: str
    added_rows: int
    summary: dict[str, str]

    @property
    def brings_rows(self) -> bool:
        """Whether its rows were new to the table; compaction adds the same ones again."""
        return self.operation != Operation.REPLACE.value and self.added_rows > 0


def commits(catalog: Catalog, name: TableName, since: datetime | None = None) -> list[PastCommit]:
    """Commits of a table, the newest first, whether or not they are still in its history.

    Args:
        catalog: Where the tables are.
        name: The table.
        since: Only those since then.
    """
    table = find_table(catalog, name)
    if table is None:
        return []
    live = [of_snapshot(snapshot) for snapshot in table.snapshots()]
    # One that was written down and then could not be taken out is in both.
    found = {commit.snapshot_id: commit for commit in (*_expired(catalog, name, since), *live)}
    wanted = (commit for commit in found.values() if since is None or commit.at >= since)
    return sorted(wanted, key=lambda commit: commit.at, reverse=True)


def of_snapshot(snapshot: Snapshot) -> PastCommit:
    """What a snapshot says of the commit that made it."""
    summary = dict(said(snapshot))
    return PastCommit(
        snapshot_id=snapshot.snapshot_id,
        at=datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC),
        operation=snapshot.summary.operation.value if snapshot.summary else "",
        added_rows=int(summary.get("added-records", "0")),
        summary=summary,
    )


def write_down(catalog: Catalog, name: TableName, expiring: Iterable[PastCommit], now: datetime) -> None:
    """Record commits before they are taken out of their table's history; repeating it changes nothing.

    Raises:
        LedgerConflictError: other writers won every race.
    """
    table = ensure_table(catalog, EXPIRED_SNAPSHOT)
    expiring = list(expiring)
    oldest = min((commit.at for commit in expiring), default=now)

    def add_missing() -> None:
        known = {commit.snapshot_id for commit in _read(table, name, oldest)}
        rows = [_row(name, commit, now) for commit in expiring if commit.snapshot_id not in known]
        if rows:
            append(table, pa.Table.from_pylist(rows, schema=arrow_schema(EXPIRED_SNAPSHOT)), {}, {})

    until_won(table, add_missing)


def _row(name: TableName, commit: PastCommit, now: datetime) -> dict[str, object]:
    return {
        "table_name": str(name),
        "snapshot_id": commit.snapshot_id,
        "committed_at": commit.at,
        "operation": commit.operation,
        "added_rows": commit.added_rows,
        "summary_json": json.dumps(commit.summary, sort_keys=True),
        "expired_at": now,
    }


def _expired(catalog: Catalog, name: TableName, since: datetime | None) -> list[PastCommit]:
    table = find_table(catalog, EXPIRED_SNAPSHOT.table)
    return _read(table, name, since) if table is not None else []


def _read(table: Table, name: TableName, since: datetime | None) -> list[PastCommit]:
    wanted = equal("table_name", str(name))
    if since is not None:
        wanted = And(wanted, at_least("committed_at", since.astimezone(UTC).isoformat()))
    return [
        PastCommit(
            row["snapshot_id"],
            row["committed_at"],
            row["operation"],
            row["added_rows"],
            json.loads(row["summary_json"]),
        )
        for row in table.scan(row_filter=wanted).to_arrow().to_pylist()
    ]
