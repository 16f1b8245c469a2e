"""What a later layer refuses is a letter once, whoever wrote the row."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.domains.conversions.tables import CONVERSION
from lakehouse.ledger.misfits import refuse
from lakehouse.naming import DEAD_LETTERS

UTC_TIME = pa.timestamp("us", tz="UTC")
BY_STREAM: dict[str, object] = {
    "kafka_topic": "roman-numeral-events",
    "kafka_partition": 1,
    "kafka_offset": 7,
    "event_id": "e-7",
    "raw_payload": '{"a": 1}',
    "ingested_at": datetime(2026, 11, 25, tzinfo=UTC),
}
BY_SQL: dict[str, object] = {name: None for name in BY_STREAM} | {"event_id": "e-sql"}


def misfits(*rows: dict[str, object]) -> pa.Table:
    told = {"error_type": "WRONG_NUMERAL", "error_message": "output_roman is another number"}
    types = {"kafka_partition": pa.int32(), "kafka_offset": pa.int64(), "ingested_at": UTC_TIME}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in (*BY_STREAM, *told)])
    return pa.Table.from_pylist([row | told for row in rows], schema=schema)


def test_a_row_is_known_by_its_coordinate_and_one_that_sql_wrote_by_its_event(catalog: SqlCatalog) -> None:
    for given in (misfits(BY_STREAM), misfits(BY_STREAM, BY_SQL), misfits(BY_SQL)):
        assert refuse(catalog, CONVERSION, given, run_id="run") == given.num_rows
    letters = catalog.load_table(DEAD_LETTERS.identifier).scan().to_arrow()
    assert dict(zip(letters["dead_letter_id"].to_pylist(), letters["original_payload"].to_pylist(), strict=True)) == {
        "silver.conversions:roman-numeral-events:1:7": b'{"a": 1}',
        "silver.conversions:e-sql": None,
    }
    assert letters.num_rows == 2
