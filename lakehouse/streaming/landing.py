"""The job that lands a topic in bronze: rows and repeats in tables, what the contract refuses in a queue.

Bronze and duplicates share one deduplication, so a record is in exactly one of the three sinks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lakehouse.contracts.contract import Contract, Type
from lakehouse.contracts.duplicate import DUPLICATE
from lakehouse.naming import FLINK_GROUP_ID, TableName, Topic
from lakehouse.streaming.statements import (
    RAW,
    SQL_TYPES,
    Pipeline,
    acknowledged,
    field_of,
    options_of,
    quoted,
    table_of,
    together,
)

_WATERMARK = "CURRENT_WATERMARK(event_clock)"


@dataclass(frozen=True, kw_only=True)
class Landing(Pipeline):
    """A topic that Flink lands in bronze."""

    refused: Topic
    """Where records go that the contract refuses."""
    processed: Topic | None = None
    """Where the first record of each event id goes, typed, as soon as it is read; some may come twice."""
    group_id: str = FLINK_GROUP_ID

    @property
    def contract(self) -> Contract:
        """Of its topic."""
        return self.source.contract

    @property
    def topic(self) -> Topic:
        """The one that it reads."""
        return self.source.topic

    @property
    def written_tables(self) -> Sequence[Contract]:
        """Bronze and duplicates."""
        return (self.contract, DUPLICATE)

    @property
    def written_topics(self) -> Sequence[Topic]:
        """The queue, and where there is one the topic of what was processed."""
        return (self.refused, *([self.processed] if self.processed else []))

    def work(self, client: Mapping[str, str], snapshots: Mapping[TableName, int]) -> list[str]:
        """Everything into its sink."""
        tables, inserts = [refusals_table(self, client)], [rows_insert(self), duplicates_insert(self)]
        if self.processed:
            tables.append(processed_table(self, self.processed, client))
            inserts.append(processed_insert(self))
        return [*tables, numbered_view(self.contract), together([*inserts, refusals_insert(self)])]


def refusals_table(pipeline: Landing, client: Mapping[str, str]) -> str:
    """The topic of refused records: the value is the record's own, byte for byte; the headers say the rest."""
    options = {
        "connector": "kafka",
        "topic": pipeline.refused.name,
        **RAW,
        "sink.delivery-guarantee": "at-least-once",
        **acknowledged(client),
    }
    return f"""CREATE TEMPORARY TABLE refusals (
  record_key BYTES,
  record_value BYTES,
  headers MAP<STRING, BYTES> METADATA
) WITH ({options_of(options)})"""


def numbered_view(contract: Contract) -> str:
    """Accepted records, each with how many of its event id have come so far."""
    event_id = field_of(contract, contract.event_id or "")
    return f"""CREATE TEMPORARY VIEW numbered AS
SELECT *, COUNT(*) OVER (PARTITION BY event_id ORDER BY arrived_at ROWS UNBOUNDED PRECEDING) AS place
FROM (
  SELECT parsed, kafka_partition, kafka_offset, kafka_timestamp, arrived_at, {event_id} AS event_id,
    COALESCE(event_clock < {_WATERMARK}, FALSE) AS is_late_arrival,
    COALESCE(event_clock < {_WATERMARK} - INTERVAL '1' HOUR, FALSE) AS is_beyond_lateness
  FROM records WHERE parsed.error_type IS NULL
)"""


def rows_insert(pipeline: Landing) -> str:
    """The first record of each event id, into the contract's table."""
    return _insert(pipeline, pipeline.contract, "place = 1")


def duplicates_insert(pipeline: Landing) -> str:
    """All further ones, by their coordinates."""
    return _insert(pipeline, DUPLICATE, "place > 1")


def refusals_insert(pipeline: Landing) -> str:
    """What the contract refuses, with its origin."""
    said = {
        "error_type": "parsed.error_type",
        "error_message": "parsed.error_message",
        "contract": quoted(pipeline.contract.fingerprint),
        "kafka_topic": quoted(pipeline.topic.name),
        "kafka_partition": "CAST(kafka_partition AS STRING)",
        "kafka_offset": "CAST(kafka_offset AS STRING)",
        "kafka_timestamp": "CAST(kafka_timestamp AS STRING)",
        "failed_at": "CAST(CURRENT_ROW_TIMESTAMP() AS STRING)",
    }
    headers = ", ".join(f"{quoted(name)}, ENCODE({value}, 'UTF-8')" for name, value in said.items())
    return f"""INSERT INTO refusals
SELECT record_key, record_value, MAP[{headers}]
FROM records WHERE parsed.error_type IS NOT NULL"""


def processed_table(pipeline: Landing, topic: Topic, client: Mapping[str, str]) -> str:
    """The topic of accepted records: JSON with the contract's fields and where each came from."""
    options = {
        "connector": "kafka",
        "topic": topic.name,
        "key.format": "raw",
        "key.fields": topic.key,
        "value.format": "json",
        "value.json.timestamp-format.standard": "ISO-8601",
        "sink.delivery-guarantee": "at-least-once",
        **acknowledged(client),
    }
    columns = ",\n  ".join(f"{name} {type_}" for name, type_ in _processed_columns(pipeline.contract).items())
    return f"CREATE TEMPORARY TABLE processed (\n  {columns}\n) WITH ({options_of(options)})"


def processed_insert(pipeline: Landing) -> str:
    """The first record of each event id."""
    fields = {c.name: field_of(pipeline.contract, c.name) for c in pipeline.contract.fields}
    columns = ",\n  ".join(f"{fields.get(name, name)} AS {name}" for name in _processed_columns(pipeline.contract))
    return f"INSERT INTO processed\nSELECT\n  {columns}\nFROM numbered WHERE place = 1"


def _processed_columns(contract: Contract) -> dict[str, str]:
    """Name and type in SQL."""
    fields = {column.name: SQL_TYPES.get(column.type, "STRING") for column in contract.fields}
    return fields | {"kafka_partition": SQL_TYPES[Type.INT], "kafka_offset": SQL_TYPES[Type.LONG]}


def _insert(pipeline: Landing, contract: Contract, condition: str) -> str:
    lineage = {
        "raw_payload": "parsed.payload",
        "kafka_topic": quoted(pipeline.topic.name),
        "kafka_partition": "kafka_partition",
        "kafka_offset": "kafka_offset",
        "kafka_timestamp": "CAST(kafka_timestamp AS TIMESTAMP_LTZ(6))",
        "is_late_arrival": "is_late_arrival",
        "is_beyond_lateness": "is_beyond_lateness",
        "ingested_at": "CAST(CURRENT_ROW_TIMESTAMP() AS TIMESTAMP_LTZ(6))",
        "erased_at": "CAST(NULL AS TIMESTAMP_LTZ(6))",
    }
    is_same = contract is pipeline.contract
    fields = {c.name: field_of(contract, c.name) if is_same else c.name for c in contract.fields}
    columns = ",\n  ".join(f"{(fields | lineage)[column.name]} AS {column.name}" for column in contract.columns)
    return f"""INSERT INTO {table_of(contract.table)} /*+ OPTIONS('uid-suffix'='{contract.table.table}') */
SELECT
  {columns}
FROM numbered WHERE {condition}"""
