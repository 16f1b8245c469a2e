"""Putting small files together. Trino does it: it keeps every row, and marks the commit as one that changes none."""

from __future__ import annotations

from lakehouse.adapters.trino.query import query
from lakehouse.maintenance.state import SMALL_FILE_BYTES, TableState
from lakehouse.naming import TableName
from lakehouse.settings import Settings

MANY_MANIFESTS = 50
"""Every append adds one, and every reader and writer opens them all."""


def needs_compaction(state: TableState, settings: Settings) -> bool:
    """Whether a table has enough small files, or any delete files, to be worth rewriting some."""
    return state.small_files >= settings.small_files_kept or state.delete_files > 0


def compact(settings: Settings, name: TableName) -> None:
    """Rewrite the small files of a table, and files with deleted rows, beside whoever writes to it.

    Raises:
        LakehouseError: Trino does not answer or refuses.
    """
    query(
        settings,
        f"alter table {name.sql} execute optimize(file_size_threshold => '{SMALL_FILE_BYTES // 2**20}MB')",
    )


def merge_manifests(settings: Settings, name: TableName) -> None:
    """Rewrite the list of a table's files into few manifests, ordered by partition.

    Raises:
        LakehouseError: Trino does not answer or refuses.
    """
    query(settings, f"alter table {name.sql} execute optimize_manifests")
