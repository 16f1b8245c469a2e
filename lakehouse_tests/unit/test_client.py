"""Programs append tables and records, each append once."""

from datetime import UTC, datetime
from typing import Any

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


class Frame:
    """Stands for a frame of another library: all that is known of it is Arrow's interface."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


RECORDS = [record(1), record(2, event_time="yesterday"), record(3)]
TEXTS = pa.Table.from_pylist([row | {"event_time": str(row["event_time"])} for row in RECORDS])
FORMS: dict[str, Any] = {
    "dicts": RECORDS,
    "generator": (row for row in RECORDS),
    "arrow": TEXTS,
    "frame": Frame(TEXTS),
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
        (TABLE, pa.table({"event_time": [1], "tenant_id": ["t"]}), None, "column event_time is int64"),
    ],
)
def test_what_cannot_be_appended_is_said(
    catalog: SqlCatalog, table: str, records: Any, key: str | None, message: str
) -> None:
    with pytest.raises(LakehouseError, match=message):
        Lakehouse(catalog).append(table, records, idempotency_key=key)
