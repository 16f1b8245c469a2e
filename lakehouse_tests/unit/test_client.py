"""Programs append tables and records, each append once."""

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.client import Lakehouse
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.errors import LakehouseError

TABLE = "service_events_raw"


def record(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "event_time": datetime(2024, 12, 17, 10, 0, tzinfo=UTC),
        "tenant_id": "t",
        "service": "PGR",
        "entity_id": f"C-{number}",
        "event_type": "CaseSubmitted",
        "attributes_json": {"sla_hours": 24},
    } | changes


RECORDS = [record(1), record(2, event_time="yesterday"), record(3)]
TEXTS = pa.Table.from_pylist([row | {"event_time": str(row["event_time"])} for row in RECORDS])
FORMS: dict[str, Any] = {
    "dicts": RECORDS,
    "generator": (row for row in RECORDS),
    "arrow": TEXTS,
    "batch": TEXTS.to_batches()[0],
    "reader": TEXTS.to_reader(),
    "pandas": pd.DataFrame(TEXTS.to_pylist()),
    "polars": pl.DataFrame(TEXTS.to_pylist()),
}


def entities(catalog: SqlCatalog) -> list[str]:
    return sorted(catalog.load_table(SERVICE_EVENT.table.identifier).scan().to_arrow()["entity_id"].to_pylist())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_records_is_taken(catalog: SqlCatalog, form: str) -> None:
    receipt = Lakehouse(catalog).append(TABLE, FORMS[form])
    assert (receipt.accepted, receipt.is_repeat) == (2, False)
    assert [(refusal.row, refusal.error_type) for refusal in receipt.refused] == [(2, "INVALID_TIMESTAMP")]
    assert entities(catalog) == ["C-1", "C-3"]
    row = catalog.load_table(SERVICE_EVENT.table.identifier).scan().to_arrow().to_pylist()[0]
    assert row["event_time"] == datetime(2024, 12, 17, 10, 0, tzinfo=UTC)
    assert row["attributes_json"].replace(" ", "") == '{"sla_hours":24}'


def test_typed_times_are_read(catalog: SqlCatalog) -> None:
    assert Lakehouse(catalog).append(TABLE, pa.Table.from_pylist([record(1), record(2)])).accepted == 2


FRAMES: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "arrow": pa.table,
    "dicts": lambda columns: [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
}


def append(catalog: SqlCatalog, frame: Any) -> list[dict[str, Any]]:
    """Append a frame of which nothing is refused; its rows in order."""
    assert Lakehouse(catalog).append(TABLE, frame).refused == []
    found = catalog.load_table(SERVICE_EVENT.table.identifier).scan().to_arrow()
    rows: list[dict[str, Any]] = found.sort_by("source_row").to_pylist()
    return rows


def columns(**changes: list[Any]) -> dict[str, list[Any]]:
    """Two events by column."""
    records = [record(1, attributes_json=None), record(2, attributes_json=None)]
    return {name: [row[name] for row in records] for name in records[0]} | changes


@pytest.mark.parametrize("form", FRAMES)
@pytest.mark.parametrize(
    "moment",
    [
        datetime(2024, 12, 17, 10),  # noqa: DTZ001 - without a zone it is UTC
        datetime(2024, 12, 17, 10, tzinfo=UTC),
        datetime(2024, 12, 17, 15, 30, tzinfo=ZoneInfo("Asia/Kolkata")),
    ],
)
def test_times_with_and_without_a_zone_are_read(catalog: SqlCatalog, form: str, moment: datetime) -> None:
    rows = append(catalog, FRAMES[form](columns(event_time=[moment, moment])))
    assert [row["event_time"] for row in rows] == [datetime(2024, 12, 17, 10, tzinfo=UTC)] * 2


@pytest.mark.parametrize("form", FRAMES)
def test_nulls_and_nested_attributes_are_kept(catalog: SqlCatalog, form: str) -> None:
    attributes = {"sla_hours": 24, "from": {"status": "OPEN", "tags": ["a"]}}
    given = columns(ward_id=[None, "7"], attributes_json=[attributes, None], event_date=[None, date(2024, 12, 17)])
    first, second = append(catalog, FRAMES[form](given))
    assert first["attributes_json"] == '{"sla_hours":24,"from":{"status":"OPEN","tags":["a"]}}'
    assert (first["ward_id"], second["ward_id"], second["attributes_json"]) == (None, "7", None)
    assert (first["event_date"], second["event_date"]) == (date(2024, 12, 17),) * 2


CATEGORIES = {
    "pandas": pd.DataFrame(columns() | {"status": pd.Categorical(["OPEN", None])}),
    "polars categorical": pl.DataFrame(columns(status=["OPEN", None])).with_columns(
        pl.col("status").cast(pl.Categorical)
    ),
    "polars enum": pl.DataFrame(columns(status=["OPEN", None])).with_columns(pl.col("status").cast(pl.Enum(["OPEN"]))),
    "arrow": pa.table(columns() | {"status": pa.array(["OPEN", None]).dictionary_encode()}),
}


@pytest.mark.parametrize("form", CATEGORIES)
def test_categorical_columns_are_text(catalog: SqlCatalog, form: str) -> None:
    assert [row["status"] for row in append(catalog, CATEGORIES[form])] == ["OPEN", None]


def test_values_that_json_has_no_form_for_are_kept(catalog: SqlCatalog) -> None:
    attributes = {"n": np.int64(7), "x": np.float64(0.5), "cost": Decimal("1.50"), "id": uuid.UUID(int=1)}
    (row,) = append(
        catalog, [record(1, event_time=pd.Timestamp("2024-12-17 10:00", tz="UTC"), attributes_json=attributes)]
    )
    assert row["attributes_json"] == f'{{"n":7,"x":0.5,"cost":"1.50","id":"{uuid.UUID(int=1)}"}}'


def test_an_append_with_its_key_again_writes_nothing(catalog: SqlCatalog) -> None:
    lake = Lakehouse(catalog)
    first = lake.append(TABLE, RECORDS, idempotency_key="export 7")
    again = lake.append(TABLE, RECORDS, idempotency_key="export 7")
    assert (again.accepted, again.refused, again.is_repeat) == (first.accepted, first.refused, True)
    assert entities(catalog) == ["C-1", "C-3"]
    assert lake.append(TABLE, RECORDS).accepted == 2


@pytest.mark.parametrize("form", ["dicts", "arrow"])
def test_a_key_that_was_used_for_other_records_is_refused(catalog: SqlCatalog, form: str) -> None:
    lake = Lakehouse(catalog)
    others: dict[str, Any] = {"dicts": [record(9)], "arrow": TEXTS.slice(0, 1)}
    lake.append(TABLE, FORMS[form], idempotency_key="export 7")
    with pytest.raises(LakehouseError, match="'export 7' was used for other content"):
        lake.append(TABLE, others[form], idempotency_key="export 7")
    assert entities(catalog) == ["C-1", "C-3"]


@pytest.mark.parametrize(
    ("table", "records", "key", "message"),
    [
        ("nothing", [], None, "no bronze table nothing takes records; there is service_events_raw"),
        (TABLE, [], " ", "an idempotency key is"),
        (TABLE, "hello", None, "cannot append a str; expected a table, a frame, or a list of dicts"),
        (TABLE, record(1), None, "cannot append a dict"),
        (TABLE, 5, None, "cannot append a int"),
        (TABLE, [record(1), "hello"], None, "record 2 is a str"),
        (TABLE, [record(1), record(2, ward_id=pd.NA)], None, "record 2: <NA> is a NAType; expected what JSON can hold"),
        (TABLE, pa.table({"event_time": [1], "tenant_id": ["t"]}), None, "column event_time is int64"),
        (TABLE, TEXTS.append_column("photo", pa.array([b"", b"", b""])), None, "column photo is binary; expected text"),
        (TABLE, TEXTS.drop(["service"]), None, "no column service; there is event_time, tenant_id"),
        (TABLE, TEXTS.append_column("service", TEXTS["service"]), None, "column service is there more than once"),
        (TABLE, pd.DataFrame({"event_time": ["x", 1]}), None, "cannot append this DataFrame"),
    ],
)
def test_what_cannot_be_appended_is_said(
    catalog: SqlCatalog, table: str, records: Any, key: str | None, message: str
) -> None:
    with pytest.raises(LakehouseError, match=message):
        Lakehouse(catalog).append(table, records, idempotency_key=key)
