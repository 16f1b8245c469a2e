"""The peers: the same events into a table of the same schema and partitioning, the way it is usually written.

Nothing of `lakehouse` is imported. All of them read the same topic, fill the same columns (the fields, the payload as
received, the Kafka coordinates, the time of ingestion) and commit their offsets after the rows. None validates, keeps
dead letters or a ledger: a crash between rows and offsets repeats rows, and one broken message stops them.

- ``trino_100``: 100 events, or what came in 5 s, an `INSERT … VALUES` with parameters through Trino's client.
- ``trino_5000``: the same with 5,000 events.
- ``pyiceberg_100``: `table.append` of 100 dicts.
- ``pyiceberg_batch``: `table.append` of as many events as the product's worker takes. The bytes of the whole block go
  to Arrow's own JSON reader with the schema given, so no Python object a record is made of the fields: the cheapest
  plain way, and an upper bound that leaves only work that any correct worker does as well.
"""

from __future__ import annotations

import argparse
import json
import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.json
import trino
from confluent_kafka import Consumer, KafkaException, Message
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from benchmarks.child import Child

WAIT_SECONDS = 5.0
FIELDS = (
    "event_id",
    "event_date",
    "event_time",
    "tenant_id",
    "service",
    "entity_type",
    "entity_id",
    "event_type",
    "status",
    "actor_type",
    "actor_id",
    "channel",
    "ward_id",
    "locality_id",
    "attributes_json",
)
COLUMNS = (*FIELDS, "raw_payload", "kafka_topic", "kafka_partition", "kafka_offset", "kafka_timestamp", "ingested_at")
UTC_TIME = pa.timestamp("us", tz="UTC")
JSON_SCHEMA = pa.schema(
    [(name, pa.timestamp("us") if name == "event_time" else pa.string()) for name in FIELDS if name != "event_date"]
)
"""Of the records, for Arrow's reader; the date is taken from the time."""

Insert = Callable[[list[Message]], None]


def to_dict(message: Message) -> dict[str, Any]:
    """One record as Python values of the table's columns."""
    value = message.value() or b""
    record = json.loads(value)
    moment = datetime.fromisoformat(record["event_time"]).replace(tzinfo=UTC)
    row = {name: record.get(name) for name in FIELDS}
    row |= {"event_time": moment, "event_date": moment.date(), "raw_payload": value.decode()}
    row |= {"kafka_topic": message.topic(), "kafka_partition": message.partition(), "kafka_offset": message.offset()}
    row["kafka_timestamp"] = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
    row["ingested_at"] = datetime.now(UTC)
    return row


def insert_through_trino(table: str) -> Insert:
    """`INSERT … VALUES` with parameters."""
    connection = trino.dbapi.connect(  # type: ignore[no-untyped-call]
        host=os.environ["BENCH_TRINO_HOST"],
        port=int(os.environ["BENCH_TRINO_PORT"]),
        user="benchmark",
        catalog="iceberg",
    )
    one = "(" + ", ".join("?" * len(COLUMNS)) + ")"

    def insert(messages: list[Message]) -> None:
        rows = [to_dict(message) for message in messages]
        cursor = connection.cursor()
        cursor.execute(
            f"insert into iceberg.{table} ({', '.join(COLUMNS)}) values {', '.join([one] * len(rows))}",  # noqa: S608
            [row[name] for row in rows for name in COLUMNS],
        )
        cursor.fetchall()

    return insert


def append_dicts(table: Table) -> Insert:
    """`table.append` of dicts."""
    schema = table.schema().as_arrow()

    def append(messages: list[Message]) -> None:
        table.append(pa.Table.from_pylist([to_dict(message) for message in messages], schema=schema))

    return append


def append_blocks(table: Table) -> Insert:
    """`table.append` of a block that Arrow parsed."""
    schema = table.schema().as_arrow()
    options = pyarrow.json.ParseOptions(explicit_schema=JSON_SCHEMA)
    reading = pyarrow.json.ReadOptions(use_threads=False, block_size=64 * 1024 * 1024)

    def append(messages: list[Message]) -> None:
        values = [message.value() or b"" for message in messages]
        parsed = pyarrow.json.read_json(pa.BufferReader(b"\n".join(values)), reading, options)
        count = len(messages)
        columns = {name: parsed[name] for name in JSON_SCHEMA.names}
        columns["event_time"] = parsed["event_time"].cast(UTC_TIME)
        columns["event_date"] = parsed["event_time"].cast(pa.date32())
        columns["raw_payload"] = pa.array(values, pa.binary()).cast(pa.string())
        columns["kafka_topic"] = pa.repeat(messages[0].topic(), count)
        columns["kafka_partition"] = pa.array([message.partition() for message in messages], pa.int32())
        columns["kafka_offset"] = pa.array([message.offset() for message in messages], pa.int64())
        stamps = pa.array([message.timestamp()[1] for message in messages], pa.timestamp("ms", tz="UTC"))
        columns["kafka_timestamp"] = stamps.cast(UTC_TIME)
        columns["ingested_at"] = pa.repeat(pa.scalar(datetime.now(UTC), UTC_TIME), count)
        given = [
            columns[field.name].cast(field.type) if field.name in columns else pa.nulls(count, field.type)
            for field in schema
        ]
        table.append(pa.table(given, schema=schema))

    return append


def open_table(name: str) -> Table:
    """The table in the catalog that the environment names."""
    catalog = SqlCatalog(
        "lake",
        uri=os.environ["BENCH_CATALOG_URI"],
        warehouse=os.environ["BENCH_WAREHOUSE"],
        init_catalog_tables="false",
    )
    return catalog.load_table(name)


def run(topic: str, limit: int, size: int, insert: Insert) -> None:
    """Consume, insert, commit offsets, until enough rows are in."""
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["BENCH_KAFKA"],
            "group.id": f"benchmark-{uuid.uuid4().hex}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    child = Child()
    consumer.subscribe([topic])
    landed = commits = 0
    while landed < limit:
        messages = consumer.consume(min(size, limit - landed), WAIT_SECONDS)
        for message in messages:
            if error := message.error():
                raise KafkaException(error)
        if messages:
            insert(messages)
            consumer.commit(asynchronous=False)
            landed, commits = landed + len(messages), commits + 1
            child.progress(landed)
    child.done(landed, commits)
    consumer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["trino_100", "trino_5000", "pyiceberg_100", "pyiceberg_batch"])
    parser.add_argument("topic")
    parser.add_argument("table")
    parser.add_argument("limit", type=int)
    parser.add_argument("batch", type=int, help="rows an append of pyiceberg_batch")
    arguments = parser.parse_args()
    full_name = f"bronze.{arguments.table}"
    match arguments.peer:
        case "trino_100":
            run(arguments.topic, arguments.limit, 100, insert_through_trino(full_name))
        case "trino_5000":
            run(arguments.topic, arguments.limit, 5_000, insert_through_trino(full_name))
        case "pyiceberg_100":
            run(arguments.topic, arguments.limit, 100, append_dicts(open_table(full_name)))
        case "pyiceberg_batch":
            run(arguments.topic, arguments.limit, arguments.batch, append_blocks(open_table(full_name)))
