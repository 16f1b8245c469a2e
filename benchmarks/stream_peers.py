"""What the product's streaming job is measured against: the same job made otherwise, and the limit.

Flink's are statements, submitted as the product's are; Spark's is a query of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import functions as sf

from lakehouse.contracts.contract import Column, Contract, Type
from lakehouse.naming import CATALOG
from lakehouse.streaming.landing import Landing, refusals_table
from lakehouse.streaming.statements import source_options, statements

if TYPE_CHECKING:
    from pyspark.sql import Column as Expression
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

Options = Mapping[str, str]

_SQL_TYPES = {Type.LONG: "BIGINT", Type.INT: "INT", Type.TIMESTAMP: "TIMESTAMP_LTZ(3)"}
_COLUMNS = """\
  record_key BYTES,
  record_value BYTES,
  kafka_partition INT METADATA FROM 'partition' VIRTUAL,
  kafka_offset BIGINT METADATA FROM 'offset' VIRTUAL,
  kafka_timestamp TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL"""
_CLOCK = ("arrived_at AS PROCTIME()", "WATERMARK FOR event_clock AS event_clock - INTERVAL '5' MINUTE")
_TEXT = "CAST(record_value AS STRING)"  # DECODE does not compile where the clock is read


def python(pipeline: Landing, catalog: Options, kafka: Options) -> list[str]:
    """The product's job with a parser in Python. Its clock is Kafka's: a source cannot call Python for another."""
    _, create_catalog, _, *others = statements(pipeline, catalog, kafka)
    return [
        "CREATE TEMPORARY FUNCTION parse_record AS 'python_parser.parse_record' LANGUAGE PYTHON",
        create_catalog,
        _source(
            pipeline, kafka, _COLUMNS, "parsed AS parse_record(record_value)", "event_clock AS kafka_timestamp", *_CLOCK
        ),
        *others,
    ]


def json_value(pipeline: Landing, catalog: Options, kafka: Options) -> list[str]:
    """The product's job with `JSON_VALUE` for each field in each of its spellings, instead of a parser."""
    contract = pipeline.contract
    _, create_catalog, *_ = statements(pipeline, catalog, kafka)
    columns = [f"{column.name} AS {_json_value(column)}" for column in contract.fields]
    clock = f"COALESCE({_json_value(_column(contract, contract.event_time))}, kafka_timestamp)"
    required = " AND ".join(f"{column.name} IS NOT NULL" for column in contract.fields if column.required)
    late = "COALESCE(event_clock < CURRENT_WATERMARK(event_clock), FALSE)"
    lineage = {
        "raw_payload": "payload",
        "kafka_topic": f"'{pipeline.topic.name}'",
        "kafka_timestamp": "CAST(kafka_timestamp AS TIMESTAMP_LTZ(6))",
        "event_time": "CAST(event_time AS TIMESTAMP_LTZ(6))",
        "is_late_arrival": "is_late",
        "is_beyond_lateness": "is_late",
        "ingested_at": "CAST(CURRENT_ROW_TIMESTAMP() AS TIMESTAMP_LTZ(6))",
        "erased_at": "CAST(NULL AS TIMESTAMP_LTZ(6))",
    }
    rows = ", ".join(lineage.get(column.name, column.name) for column in contract.columns)
    repeats = f"event_id, {lineage['kafka_topic']}, kafka_partition, kafka_offset, {lineage['kafka_timestamp']}"
    return [
        create_catalog,
        _source(pipeline, kafka, _COLUMNS, f"payload AS {_TEXT}", *columns, f"event_clock AS {clock}", *_CLOCK),
        refusals_table(pipeline, _client(kafka)),
        f"""CREATE TEMPORARY VIEW numbered AS
SELECT *, COUNT(*) OVER (PARTITION BY event_id ORDER BY arrived_at ROWS UNBOUNDED PRECEDING) AS place
FROM (SELECT *, {late} AS is_late FROM records WHERE payload IS JSON OBJECT AND {required})""",
        f"""EXECUTE STATEMENT SET BEGIN
INSERT INTO {_table(contract)} /*+ OPTIONS('uid-suffix'='rows') */ SELECT {rows} FROM numbered WHERE place = 1;
INSERT INTO {CATALOG}.bronze.duplicates /*+ OPTIONS('uid-suffix'='repeats') */
SELECT {repeats}, {lineage["ingested_at"]} FROM numbered WHERE place > 1;
INSERT INTO refusals SELECT record_key, record_value, MAP['error_type', ENCODE('REFUSED', 'UTF-8')]
FROM records WHERE (payload IS JSON OBJECT AND {required}) IS NOT TRUE;
END""",
    ]


def identity(pipeline: Landing, catalog: Options, kafka: Options) -> list[str]:
    """Keys and values as they are, into a table of these: nothing is parsed, compared or refused."""
    _, create_catalog, *_ = statements(pipeline, catalog, kafka)
    table = _table(pipeline.contract)
    columns = "record_key, record_value, kafka_partition, kafka_offset"
    return [
        create_catalog,
        _source(pipeline, kafka, _COLUMNS),
        f"CREATE TABLE {table} (record_key BYTES, record_value BYTES, kafka_partition INT, kafka_offset BIGINT)",
        f"INSERT INTO {table} SELECT {columns} FROM records",
    ]


def spark(session: SparkSession, brokers: str, topic: str, contract: Contract, checkpoints: Path) -> StreamingQuery:
    """Parse, keep the first of each event id, append; what is refused or repeated is written nowhere."""
    source = {"kafka.bootstrap.servers": brokers, "subscribe": topic, "startingOffsets": "earliest"}
    records = session.readStream.format("kafka").options(**source).load()
    spellings = {name: column for column in contract.fields for name in _spellings(column)}
    schema = ", ".join(f"{name} string" for name in spellings)
    text = sf.col("value").cast("string")
    read = records.select(
        text.alias("raw_payload"),
        sf.lit(topic).alias("kafka_topic"),
        sf.col("partition").alias("kafka_partition"),
        sf.col("offset").alias("kafka_offset"),
        sf.col("timestamp").alias("kafka_timestamp"),
        sf.from_json(text, schema).alias("parsed"),
    )
    typed = read.withColumns({column.name: _parsed(column) for column in contract.fields})
    required = [sf.col(column.name).isNotNull() for column in contract.fields if column.required]
    good = typed.where(reduce(lambda one, other: one & other, required)).withColumns(
        {
            "is_late_arrival": sf.lit(False),
            "is_beyond_lateness": sf.lit(False),
            "ingested_at": sf.current_timestamp(),
            "erased_at": sf.lit(None).cast("timestamp"),
        }
    )
    first = good.withWatermark("kafka_timestamp", "24 hours").dropDuplicatesWithinWatermark(["event_id"])
    writer = first.select(*(column.name for column in contract.columns)).writeStream
    options = {"checkpointLocation": checkpoints.as_uri(), "fanout-enabled": "true", "check-nullability": "false"}
    return (
        writer.format("iceberg").options(**options).trigger(processingTime="10 seconds").toTable(contract.table.spark)
    )


def _parsed(column: Column) -> Expression:
    value = sf.coalesce(*(sf.col(f"parsed.{name}") for name in _spellings(column)))
    if column.type is Type.TIMESTAMP:
        is_number = value.rlike(r"^-?\d+$")
        return sf.when(is_number, sf.timestamp_millis(value.try_cast("long"))).otherwise(value.try_cast("timestamp"))
    return value.try_cast(_SQL_TYPES[column.type]) if column.type in _SQL_TYPES else value


def _json_value(column: Column) -> str:
    texts = [f"JSON_VALUE({_TEXT}, '$.{name}')" for name in _spellings(column)]
    text = f"COALESCE({', '.join(texts)})" if len(texts) > 1 else texts[0]
    if column.type is Type.TIMESTAMP:
        iso = f"REPLACE(REPLACE({text}, 'T', ' '), '+00:00', '')"
        return f"COALESCE(TO_TIMESTAMP_LTZ(TRY_CAST({text} AS BIGINT), 3), TRY_CAST({iso} AS TIMESTAMP_LTZ(3)))"
    return f"TRY_CAST({text} AS {_SQL_TYPES[column.type]})" if column.type in _SQL_TYPES else text


def _spellings(column: Column) -> list[str]:
    first, *others = column.name.split("_")
    return list(dict.fromkeys((column.name, first + "".join(word.title() for word in others))))


def _column(contract: Contract, name: str | None) -> Column:
    return next(column for column in contract.fields if column.name == name)


def _table(contract: Contract) -> str:
    return f"{CATALOG}.{contract.table.layer}.{contract.table.table}"


def _source(pipeline: Landing, kafka: Options, *columns: str) -> str:
    body = ",\n  ".join(columns)
    options = source_options(pipeline.topic, pipeline.group_id, _client(kafka))
    return f"CREATE TEMPORARY TABLE records (\n{body}\n) WITH ({options})"


def _client(kafka: Options) -> dict[str, str]:
    return {f"properties.{name}": value for name, value in kafka.items()}
