"""A catalog on SQLite in a temporary folder: writes are tested for real, without a server."""

from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters.iceberg.catalog import ensure_namespaces
from lakehouse.naming import CATALOG


@pytest.fixture
def catalog(tmp_path: Path) -> SqlCatalog:
    catalog = SqlCatalog(CATALOG, uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=tmp_path.as_uri())
    ensure_namespaces(catalog)
    return catalog
