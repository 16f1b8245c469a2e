"""Whether there is anything for dbt to build: by what was read, what was made, and the code."""

import copy
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from lakehouse.adapters.dbt import group as group_module
from lakehouse.adapters.dbt.group import TODAY, Group
from lakehouse.ledger.commit import append
from lakehouse.naming import Domain

ROWS = pa.table({"id": pa.array([1, 2], pa.int64())})


def model(name: str, *read: str) -> dict[str, Any]:
    return {
        "unique_id": f"model.{name}",
        "resource_type": "model",
        "group": "rawg",
        "alias": name,
        "checksum": {"checksum": "1"},
        "config": {"schema": "gold"},
        "depends_on": {"nodes": list(read), "macros": []},
    }


MANIFEST: dict[str, Any] = {
    "nodes": {"model.a": model("a", "source.s"), "model.b": model("b", "model.a")},
    "sources": {"source.s": {"resource_type": "source", "source_name": "bronze", "name": "s"}},
    "macros": {
        "macro.ours": {"package_name": "lakehouse", "macro_sql": "select"},
        "macro.theirs": {"package_name": "dbt", "macro_sql": "select"},
    },
}


@pytest.fixture
def tables(catalog: SqlCatalog) -> dict[str, Table]:
    """Source and tables with rows, noted as built."""
    found = {}
    for name in ("bronze.s", "gold.a", "gold.b"):
        found[name] = catalog.create_table(name, schema=ROWS.schema)
        found[name].append(ROWS)
    group = Group(Domain.RAWG, MANIFEST)
    assert not group.is_built(catalog)
    group.note_built(catalog, group.sources(catalog))
    return found


def is_built(catalog: SqlCatalog, manifest: dict[str, Any] = MANIFEST) -> bool:
    return Group(Domain.RAWG, manifest).is_built(catalog)


def test_what_was_built_is_built_until_rows_come_or_go(catalog: SqlCatalog, tables: dict[str, Table]) -> None:
    assert is_built(catalog)
    append(tables["bronze.s"], ROWS.slice(0, 0), {}, {})  # a ledger moves
    assert is_built(catalog)
    tables["bronze.s"].append(ROWS)
    assert not is_built(catalog)


@pytest.mark.parametrize("name", ["gold.a", "gold.b"])
def test_a_table_that_somebody_changed_is_not_what_was_built(
    catalog: SqlCatalog, tables: dict[str, Table], name: str
) -> None:
    tables[name].delete("id = 1")
    assert not is_built(catalog)


def test_what_came_while_it_was_built_is_news(catalog: SqlCatalog, tables: dict[str, Table]) -> None:
    group = Group(Domain.RAWG, MANIFEST)
    before = group.sources(catalog)
    tables["bronze.s"].append(ROWS)
    group.note_built(catalog, before)
    assert not is_built(catalog)


def test_a_table_that_is_gone_is_not_built(catalog: SqlCatalog, tables: dict[str, Table]) -> None:
    catalog.drop_table("gold.b")
    assert not is_built(catalog)


@pytest.mark.parametrize(
    ("path", "is_ours"),
    [
        (("nodes", "model.a", "checksum", "checksum"), True),
        (("nodes", "model.b", "config", "unique_key"), True),
        (("macros", "macro.ours", "macro_sql"), True),
        (("macros", "macro.theirs", "macro_sql"), False),
    ],
)
def test_other_code_builds_again(
    catalog: SqlCatalog, tables: dict[str, Table], path: tuple[str, ...], is_ours: bool
) -> None:
    manifest = copy.deepcopy(MANIFEST)
    place = manifest
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = "other"
    assert is_built(catalog, manifest) is not is_ours


def test_a_model_that_asks_for_the_day_is_built_on_each(
    catalog: SqlCatalog, tables: dict[str, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = copy.deepcopy(MANIFEST)
    manifest["nodes"]["model.b"]["depends_on"]["macros"] = [TODAY]
    group = Group(Domain.RAWG, manifest)
    group.note_built(catalog, group.sources(catalog))
    assert group.is_built(catalog)

    tomorrow = Mock(now=lambda zone: datetime.now(zone) + timedelta(days=1))
    monkeypatch.setattr(group_module, "datetime", tomorrow)
    assert not group.is_built(catalog)


def test_models_that_read_no_table_go_by_their_code(catalog: SqlCatalog) -> None:
    catalog.create_table("gold.a", schema=ROWS.schema).append(ROWS)
    manifest = MANIFEST | {"nodes": {"model.a": model("a")}}
    group = Group(Domain.RAWG, manifest)
    group.note_built(catalog, group.sources(catalog))
    assert is_built(catalog, manifest)
    assert not is_built(catalog, manifest | {"macros": {}})
