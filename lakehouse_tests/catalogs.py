"""Catalogs on SQLite for tests without a server, closed when they have served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters.iceberg.catalog import ensure_namespaces
from lakehouse.naming import CATALOG


@contextmanager
def sqlite_catalog(folder: Path) -> Iterator[SqlCatalog]:
    """An empty catalog with its warehouse in a folder."""
    with closing(SqlCatalog(CATALOG, uri=f"sqlite:///{folder}/catalog.db", warehouse=folder.as_uri())) as catalog:
        ensure_namespaces(catalog)
        yield catalog
