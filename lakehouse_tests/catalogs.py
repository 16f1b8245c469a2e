"""Catalogs on SQLite for tests without a server, and reading one on a server without an engine; all are closed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters.iceberg.catalog import ensure_namespaces, open_catalog
from lakehouse.naming import CATALOG, TableName
from lakehouse.settings import Settings


@contextmanager
def sqlite_catalog(folder: Path) -> Iterator[SqlCatalog]:
    """An empty catalog with its warehouse in a folder."""
    with closing(SqlCatalog(CATALOG, uri=f"sqlite:///{folder}/catalog.db", warehouse=folder.as_uri())) as catalog:
        ensure_namespaces(catalog)
        yield catalog


def rows_of(settings: Settings, table: TableName, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Columns of a table, all rows, through a connection of their own: its server may have been killed before."""
    with closing(open_catalog(settings)) as catalog:
        found = catalog.load_table(table.identifier).scan(selected_fields=tuple(columns)).to_arrow()
    return list(zip(*(found[name].to_pylist() for name in columns), strict=True))
