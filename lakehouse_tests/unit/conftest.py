"""A catalog on SQLite in a temporary folder: writes are tested for real, without a server."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.naming import CATALOG
from lakehouse_tests.catalogs import sqlite_catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[SqlCatalog]:
    with sqlite_catalog(tmp_path) as made:
        yield made


@pytest.fixture
def other_catalog(catalog: SqlCatalog) -> Iterator[SqlCatalog]:
    """The same catalog, as another process has it."""
    with closing(SqlCatalog(CATALOG, **catalog.properties)) as made:
        yield made
