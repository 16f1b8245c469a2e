"""SQL for Flink, rendered from a contract: reading its topic, landing rows and repeats, refusing the rest.

A record is parsed once, by the function `parse_record` (`functions/ParseRecord.java`), whose answer is either fields
or an error. Bronze and duplicates share one deduplication, so a record is in exactly one of the three sinks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lakehouse.contracts.contract import Column, Contract, Type
from lakehouse.contracts.duplicate import DUPLICATE
from lakehouse.naming import CATALOG, FLINK_GROUP_ID, Topic

PARSER = "lakehouse.ParseRecord"
"""Class of the function."""

STATE_HOURS = 24
"""How long an event id is remembered."""

_SQL_TYPES = {Type.INT: "INT", Type.LONG: "BIGINT", Type.TIMESTAMP: "TIMESTAMP_LTZ(6)"}
"""Of fields that are not text."""

RAW = {
    "key.format": "raw",
    "key.fields": "record_key",
    "value.format": "raw",
    "value.fields-include": "EXCEPT_KEY",
}
"""Keys and values as they are, byte for byte."""

_WATERMARK = "CURRENT_WATERMARK(event_clock)"


@dataclass(frozen=True)
class Pipeline:
    """A topic that Flink lands in bronze: one always-on job."""

    name: str
    contract: Contract
    topic: Topic
    refused: Topic
    """Where records go that the contract refuses."""

    @property
    def job_name(self) -> str:
        """Name of the job in Flink."""
        return f"lakehouse-{self.name}"


def job_settings(
    pipeline: Pipeline, *, parallelism: int, checkpoint_seconds: int, restart_seconds: int, checkpoints: str
) -> dict[str, str]:
    """Settings of the job, beside those of the cluster.

    Args:
        pipeline: Which.
        parallelism: Subtasks of each operator.
        checkpoint_seconds: How often what was read is committed.
        restart_seconds: How long it waits after a failure.
        checkpoints: URI of the folder they go to.
    """
    return {
        "pipeline.name": pipeline.job_name,
        "parallelism.default": str(parallelism),
        # A job can be restored at any parallelism up to this, which must never change.
        "pipeline.max-parallelism": "128",
        "execution.checkpointing.interval": f"{checkpoint_seconds} s",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.num-retained": "3",
        "execution.checkpointing.incremental": "true",
        "execution.checkpointing.dir": checkpoints,
        "state.backend.type": "rocksdb",
        # Nearly every event id is a new one: without a filter, each is looked for in every file of the state.
        "state.backend.rocksdb.use-bloom-filter": "true",
        # Between operators of a chain rows are not copied: none of them keeps or changes what it was handed.
        "pipeline.object-reuse": "true",
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": "3",
        "restart-strategy.fixed-delay.delay": f"{restart_seconds} s",
        "table.exec.state.ttl": f"{STATE_HOURS} h",
        "table.exec.source.idle-timeout": "30 s",
        "table.local-time-zone": "UTC",
        # The sink whose operators keep their ids at another parallelism.
        "table.exec.iceberg.use-v2-sink": "true",
    }


def statements(
    pipeline: Pipeline, catalog: Mapping[str, str], kafka: Mapping[str, str], *, passes_gaps: bool = False
) -> list[str]:
    """The whole job, the last statement starts it.

    Args:
        pipeline: Which.
        catalog: Options of the Iceberg catalog. They hold a password.
        kafka: Options of Kafka's clients. They may hold a password.
        passes_gaps: Whether it reads on where records were deleted before it read them, instead of failing.
    """
    client = {f"properties.{name}": value for name, value in kafka.items()}
    inserts = [rows_insert(pipeline), duplicates_insert(pipeline), refusals_insert(pipeline)]
    body = "".join(f"{insert};\n" for insert in inserts)
    return [
        f"CREATE TEMPORARY FUNCTION parse_record AS {_quoted(PARSER)} LANGUAGE JAVA",
        f"CREATE CATALOG {CATALOG} WITH ({_options(catalog)})",
        source_table(pipeline, client, passes_gaps=passes_gaps),
        refusals_table(pipeline, client),
        numbered_view(pipeline.contract),
        f"EXECUTE STATEMENT SET BEGIN\n{body}END",
    ]


def source_table(pipeline: Pipeline, client: Mapping[str, str], *, passes_gaps: bool) -> str:
    """The topic, each record parsed, with its event time for a clock.

    The clock is held by Kafka's time, so that one event from the future does not make all others late; a record that
    has no time is at the beginning of all times, where it moves nothing.
    """
    epoch = "TO_TIMESTAMP_LTZ(0, 3)"
    return f"""CREATE TEMPORARY TABLE records (
  record_key BYTES,
  record_value BYTES,
  kafka_partition INT METADATA FROM 'partition' VIRTUAL,
  kafka_offset BIGINT METADATA FROM 'offset' VIRTUAL,
  kafka_timestamp TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
  parsed AS parse_record(record_value, kafka_timestamp, {_quoted(fields_of(pipeline.contract))}),
  event_clock AS COALESCE(LEAST(CAST(parse_record(record_value, kafka_timestamp,
    {_quoted(fields_of(pipeline.contract))}).event_time AS TIMESTAMP_LTZ(3)), kafka_timestamp), {epoch}),
  arrived_at AS PROCTIME(),
  WATERMARK FOR event_clock AS event_clock - INTERVAL '5' MINUTE
) WITH ({source_options(pipeline, client, passes_gaps=passes_gaps)})"""


def source_options(pipeline: Pipeline, client: Mapping[str, str], *, passes_gaps: bool = False) -> str:
    """How the topic is read: every record that is committed, as it is, from where the group is put."""
    options = {
        "connector": "kafka",
        "topic": pipeline.topic.name,
        **RAW,
        # A job without state begins where the group is, which the first start puts at the beginning. Any other mode
        # makes the connector read on, silently, where records are gone.
        "scan.startup.mode": "group-offsets",
        "scan.topic-partition-discovery.interval": "60 s",
        **client,
        "properties.group.id": FLINK_GROUP_ID,
        "properties.isolation.level": "read_committed",
        "properties.auto.offset.reset": "earliest" if passes_gaps else "none",
    }
    return _options(options)


def refusals_table(pipeline: Pipeline, client: Mapping[str, str]) -> str:
    """The topic of refused records: the value is the record's own, byte for byte; the headers say the rest."""
    options = {
        "connector": "kafka",
        "topic": pipeline.refused.name,
        **RAW,
        "sink.delivery-guarantee": "at-least-once",
        **client,
        "properties.acks": "all",
        "properties.enable.idempotence": "true",
    }
    return f"""CREATE TEMPORARY TABLE refusals (
  record_key BYTES,
  record_value BYTES,
  headers MAP<STRING, BYTES> METADATA
) WITH ({_options(options)})"""


def numbered_view(contract: Contract) -> str:
    """Accepted records, each with how many of its event id have come so far."""
    event_id = _field(contract, contract.event_id or "")
    return f"""CREATE TEMPORARY VIEW numbered AS
SELECT *, COUNT(*) OVER (PARTITION BY event_id ORDER BY arrived_at ROWS UNBOUNDED PRECEDING) AS place
FROM (
  SELECT parsed, kafka_partition, kafka_offset, kafka_timestamp, arrived_at, {event_id} AS event_id,
    COALESCE(event_clock < {_WATERMARK}, FALSE) AS is_late_arrival,
    COALESCE(event_clock < {_WATERMARK} - INTERVAL '1' HOUR, FALSE) AS is_beyond_lateness
  FROM records WHERE parsed.error_type IS NULL
)"""


def rows_insert(pipeline: Pipeline) -> str:
    """The first record of each event id, into the contract's table."""
    return _insert(pipeline, pipeline.contract, "place = 1")


def duplicates_insert(pipeline: Pipeline) -> str:
    """All further ones, by their coordinates."""
    return _insert(pipeline, DUPLICATE, "place > 1")


def refusals_insert(pipeline: Pipeline) -> str:
    """What the contract refuses, with its origin."""
    said = {
        "error_type": "parsed.error_type",
        "error_message": "parsed.error_message",
        "contract": _quoted(pipeline.contract.fingerprint),
        "kafka_topic": _quoted(pipeline.topic.name),
        "kafka_partition": "CAST(kafka_partition AS STRING)",
        "kafka_offset": "CAST(kafka_offset AS STRING)",
        "kafka_timestamp": "CAST(kafka_timestamp AS STRING)",
        "failed_at": "CAST(CURRENT_ROW_TIMESTAMP() AS STRING)",
    }
    headers = ", ".join(f"{_quoted(name)}, ENCODE({value}, 'UTF-8')" for name, value in said.items())
    return f"""INSERT INTO refusals
SELECT record_key, record_value, MAP[{headers}]
FROM records WHERE parsed.error_type IS NOT NULL"""


def fields_of(contract: Contract) -> str:
    """What the parser must know of the contract's fields."""
    return ";".join(map(_told, contract.fields))


def _told(column: Column) -> str:
    parts = [column.name, column.type, "required" if column.required else "optional", str(column.max_length or 0)]
    if column.path or column.bounds or column.needed_for:
        least, most = column.bounds or ("", "")
        parts += [column.path or "", str(least), str(most), "=".join(column.needed_for or ())]
    return ":".join(parts)


def _insert(pipeline: Pipeline, contract: Contract, condition: str) -> str:
    lineage = {
        "raw_payload": "parsed.payload",
        "kafka_topic": _quoted(pipeline.topic.name),
        "kafka_partition": "kafka_partition",
        "kafka_offset": "kafka_offset",
        "kafka_timestamp": "CAST(kafka_timestamp AS TIMESTAMP_LTZ(6))",
        "is_late_arrival": "is_late_arrival",
        "is_beyond_lateness": "is_beyond_lateness",
        "ingested_at": "CAST(CURRENT_ROW_TIMESTAMP() AS TIMESTAMP_LTZ(6))",
        "erased_at": "CAST(NULL AS TIMESTAMP_LTZ(6))",
    }
    is_same = contract is pipeline.contract
    fields = {c.name: _field(contract, c.name) if is_same else c.name for c in contract.fields}
    columns = ",\n  ".join(f"{(fields | lineage)[column.name]} AS {column.name}" for column in contract.columns)
    table = f"{CATALOG}.{contract.table.layer}.{contract.table.table}"
    return f"""INSERT INTO {table} /*+ OPTIONS('uid-suffix'='{contract.table.table}') */
SELECT
  {columns}
FROM numbered WHERE {condition}"""


def _field(contract: Contract, name: str) -> str:
    """A field out of the parser's answer, typed. The parser has checked that its text is of that type."""
    position, column = next((i, c) for i, c in enumerate(contract.fields, start=1) if c.name == name)
    if name == contract.event_time:
        return "parsed.event_time"
    return _typed(column, f"parsed.texts[{position}]")


def _typed(column: Column, text: str) -> str:
    return f"CAST({text} AS {_SQL_TYPES[column.type]})" if column.type in _SQL_TYPES else text


def _options(values: Mapping[str, str]) -> str:
    return ", ".join(f"{_quoted(name)} = {_quoted(value)}" for name, value in values.items())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
