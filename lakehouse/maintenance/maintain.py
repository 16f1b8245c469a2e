"""One round of maintenance over tables: what it found, what it did, what it left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyiceberg.catalog import Catalog

from lakehouse.adapters.iceberg.catalog import find_table
from lakehouse.errors import LakehouseError
from lakehouse.maintenance import compaction, expiry, orphans
from lakehouse.maintenance.state import TableState, measure
from lakehouse.naming import TABLES, TableName
from lakehouse.settings import Settings


@dataclass(frozen=True)
class Upkeep:
    """What a round did, or in a dry run would do, for one table."""

    table: TableName
    before: TableState
    after: TableState
    """As before, in a dry run."""
    is_compacted: bool
    expired_snapshots: int
    orphan_files: int
    orphan_megabytes: float


def table_named(name: str) -> TableName:
    """The table of that name.

    Raises:
        LakehouseError: there is none.
    """
    found = next((table for table in TABLES if name in (str(table), table.sql)), None)
    if found is None:
        raise LakehouseError(f"no table {name}; there are: {', '.join(map(str, TABLES))}")
    return found


def maintain(
    settings: Settings,
    catalog: Catalog,
    names: Sequence[TableName] = TABLES,
    *,
    is_dry_run: bool = False,
    on_table: Callable[[TableName], None] = lambda name: None,
) -> list[Upkeep]:
    """Compact, expire and clean up, beside whoever reads and writes the tables.

    Args:
        settings: Thresholds, and where Trino is.
        catalog: Where the tables are.
        names: Tables; those that do not exist yet are passed over.
        is_dry_run: Only say what would be done.
        on_table: Called with each table before it is looked at.

    Raises:
        LakehouseError: Trino does not answer, or other writers won every race.
    """
    positions = expiry.reader_positions(settings, catalog, TABLES)
    done = []
    for name in names:
        on_table(name)
        if upkeep := _maintain(settings, catalog, name, positions, is_dry_run=is_dry_run):
            done.append(upkeep)
    return done


def _maintain(
    settings: Settings, catalog: Catalog, name: TableName, positions: set[int], *, is_dry_run: bool
) -> Upkeep | None:
    table = find_table(catalog, name)
    if table is None:
        return None
    before, found_at = measure(table), table.metadata_location
    is_compacted = compaction.needs_compaction(before, settings)
    kept, retention = settings.snapshots_kept, timedelta(hours=settings.snapshot_retention_hours)
    if is_dry_run:
        expired = expiry.expirable(table, positions, kept=kept, retention=retention, now=datetime.now(UTC))
    else:
        if is_compacted:
            compaction.compact(settings, name)
        if before.manifests >= compaction.MANY_MANIFESTS:
            compaction.merge_manifests(settings, name)
        expired = expiry.expire(catalog, name, positions, kept=kept, retention=retention)
        table.refresh()
    age = timedelta(hours=settings.orphan_age_hours)
    found = orphans.find_orphans(table, age=age, now=datetime.now(UTC))
    if not is_dry_run:
        orphans.remove(table, (file.path for file in found))
    return Upkeep(
        table=name,
        before=before,
        after=before if table.metadata_location == found_at else measure(table),
        is_compacted=is_compacted,
        expired_snapshots=len(expired),
        orphan_files=len(found),
        orphan_megabytes=round(sum(file.size for file in found) / 2**20, 3),
    )
