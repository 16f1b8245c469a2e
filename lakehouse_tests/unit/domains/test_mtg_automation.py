"""When Magic's cards are taken, and when PostgreSQL takes their statistics."""

from __future__ import annotations

from datetime import UTC, date, datetime

import dagster as dg
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.contracts.arrow import arrow_schema
from lakehouse.domains.mtg.automation import has_begun, mtg_statistics_sensor
from lakehouse.domains.mtg.contract import BUILD_RECORD
from lakehouse.domains.mtg.statistics import STATISTICS
from lakehouse.errors import LakehouseError

CATALOGS: list[Catalog] = []
"""The catalog that is given."""
NOW = datetime(2026, 3, 1, tzinfo=UTC)


class FakeIceberg(IcebergResource):
    """A catalog that is given."""

    def catalog(self) -> Catalog:
        return CATALOGS[-1]


@pytest.mark.parametrize(
    ("taken_from", "has"), [(None, False), ("http://other/", False), ("https://mtgjson.com/api/v5/", True)]
)
def test_a_build_is_wanted_every_night_once_one_was_taken_from_there(
    catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch, taken_from: str | None, has: bool
) -> None:
    monkeypatch.setattr("lakehouse.adapters.iceberg.catalog.connect", lambda settings: catalog)
    assert not has_begun()
    table = ensure_table(catalog, BUILD_RECORD)
    row = {"build_date": date(2026, 3, 1), "part": "NEO", "source_url": f"{taken_from}NEO.json.gz", "taken_at": NOW}
    table.append(pa.Table.from_pylist([row] if taken_from else [], schema=arrow_schema(BUILD_RECORD)))
    assert has_begun() is has


def tick(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch, taken: int | LakehouseError | None) -> str | None:
    """Why nothing is asked for; None where a run is."""

    def taken_snapshot(_: object) -> int | None:
        if isinstance(taken, LakehouseError):
            raise taken
        return taken

    CATALOGS.append(catalog)
    monkeypatch.setattr("lakehouse.domains.mtg.statistics_serving.taken_snapshot", taken_snapshot)
    result = mtg_statistics_sensor(
        dg.build_sensor_context(instance=dg.DagsterInstance.ephemeral(), resources={"iceberg": FakeIceberg()})
    )
    assert isinstance(result, dg.RunRequest | dg.SkipReason)
    if isinstance(result, dg.SkipReason):
        return str(result.skip_message)
    assert result.run_key is None, "what was asked for once would not be asked for again, though it failed"
    return None


def test_statistics_are_asked_for_until_they_are_taken(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tick(catalog, monkeypatch, None) == "Flink has written no statistics"
    table = ensure_table(catalog, STATISTICS)
    table.append(pa.Table.from_pylist([], schema=arrow_schema(STATISTICS)))
    newest = table.current_snapshot()
    assert newest is not None
    assert tick(catalog, monkeypatch, None) is None
    assert tick(catalog, monkeypatch, 5) is None
    assert tick(catalog, monkeypatch, newest.snapshot_id) == "PostgreSQL has taken all statistics"
    assert tick(catalog, monkeypatch, LakehouseError("PostgreSQL does not answer")) == "PostgreSQL does not answer"
