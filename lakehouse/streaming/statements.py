"""SQL for Flink, rendered from a contract: what every always-on job shares, which is how it reads its topic.

A record is parsed once, by the function `parse_record` (`functions/ParseRecord.java`), whose answer is either fields
or an error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lakehouse.contracts.contract import Column, Contract, Type
from lakehouse.naming import CATALOG, TableName, Topic

PARSER = "lakehouse.ParseRecord"
"""Class of the function."""

STATE_HOURS = 24
"""How long an event id is remembered."""

SQL_TYPES = {Type.INT: "INT", Type.LONG: "BIGINT", Type.TIMESTAMP: "TIMESTAMP_LTZ(6)"}
"""Of fields that are not text."""

RAW = {
    "key.format": "raw",
    "key.fields": "record_key",
    "value.format": "raw",
    "value.fields-include": "EXCEPT_KEY",
}
"""Keys and values as they are, byte for byte."""


@dataclass(frozen=True)
class Source:
    """A topic that Flink reads, and the contract of its messages, whose table is where they are landed."""

    contract: Contract
    topic: Topic


@dataclass(frozen=True)
class Pipeline(ABC):
    """One always-on job in Flink."""

    name: str
    sources: tuple[Source, ...]
    group_id: str
    """Consumer group that says where a job without state begins."""
    reads_tables: ClassVar[bool] = False
    """Whether a job without state takes what its sources' tables hold first, and the topics from there on."""

    @property
    def job_name(self) -> str:
        """Name of the job in Flink."""
        return f"lakehouse-{self.name}"

    @property
    def identifier(self) -> str:
        """Its name where a hyphen is no part of names."""
        return self.name.replace("-", "_")

    @property
    def source(self) -> Source:
        """What a job reads that reads one topic.

        Raises:
            ValueError: it reads several.
        """
        (source,) = self.sources
        return source

    @property
    @abstractmethod
    def written_topics(self) -> Sequence[Topic]:
        """Topics that it writes to."""

    @property
    @abstractmethod
    def written_tables(self) -> Sequence[Contract]:
        """Tables that it writes to."""

    @property
    def settings(self) -> dict[str, str]:
        """Settings of its job that are its own."""
        return {}

    def reading(self, client: Mapping[str, str], *, passes_gaps: bool) -> list[str]:
        """What `work` reads: the table `records`, unless it says otherwise.

        Args:
            client: Options of Kafka's clients, for tables.
            passes_gaps: Whether it reads on where records were deleted before it read them, instead of failing.
        """
        return [source_table(self, client, passes_gaps=passes_gaps)]

    @abstractmethod
    def work(self, client: Mapping[str, str], snapshots: Mapping[TableName, int]) -> list[str]:
        """What it does with what it reads, the last statement starts the job.

        Args:
            client: Options of Kafka's clients, for tables.
            snapshots: Snapshots of its sources' tables that a job without state takes first, if it does. One that has
                state is done with that, and must not name them: they may be gone.
        """


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
        **pipeline.settings,
    }


def statements(
    pipeline: Pipeline,
    catalog: Mapping[str, str],
    kafka: Mapping[str, str],
    *,
    passes_gaps: bool = False,
    snapshots: Mapping[TableName, int] | None = None,
) -> list[str]:
    """The whole job, the last statement starts it.

    Args:
        pipeline: Which.
        catalog: Options of the Iceberg catalog. They hold a password.
        kafka: Options of Kafka's clients. They may hold a password.
        passes_gaps: Whether it reads on where records were deleted before it read them, instead of failing.
        snapshots: See `Pipeline.work`.
    """
    client = {f"properties.{name}": value for name, value in kafka.items()}
    return [
        f"CREATE TEMPORARY FUNCTION parse_record AS {quoted(PARSER)} LANGUAGE JAVA",
        f"CREATE CATALOG {CATALOG} WITH ({options_of(catalog)})",
        *pipeline.reading(client, passes_gaps=passes_gaps),
        *pipeline.work(client, snapshots or {}),
    ]


def source_table(pipeline: Pipeline, client: Mapping[str, str], *, passes_gaps: bool) -> str:
    """The one topic, each record parsed, with its event time for a clock.

    The clock is held by Kafka's time, so that one event from the future does not make all others late; a record that
    has no time is at the beginning of all times, where it moves nothing.
    """
    epoch = "TO_TIMESTAMP_LTZ(0, 3)"
    fields = quoted(fields_of(pipeline.source.contract))
    options = source_options(pipeline.source.topic, pipeline.group_id, client, passes_gaps=passes_gaps)
    return f"""CREATE TEMPORARY TABLE records (
  record_key BYTES,
  record_value BYTES,
  kafka_partition INT METADATA FROM 'partition' VIRTUAL,
  kafka_offset BIGINT METADATA FROM 'offset' VIRTUAL,
  kafka_timestamp TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
  parsed AS parse_record(record_value, kafka_timestamp, {fields}),
  event_clock AS COALESCE(LEAST(CAST(parse_record(record_value, kafka_timestamp,
    {fields}).event_time AS TIMESTAMP_LTZ(3)), kafka_timestamp), {epoch}),
  arrived_at AS PROCTIME(),
  WATERMARK FOR event_clock AS event_clock - INTERVAL '5' MINUTE
) WITH ({options})"""


def source_options(
    topic: Topic,
    group_id: str,
    client: Mapping[str, str],
    *,
    passes_gaps: bool = False,
    formats: Mapping[str, str] = RAW,
) -> str:
    """How a topic is read: every record that is committed, as it is, from where the group is put."""
    options = {
        "connector": "kafka",
        "topic": topic.name,
        **formats,
        # A job without state begins where the group is, which the first start puts at the beginning. Any other mode
        # makes the connector read on, silently, where records are gone.
        "scan.startup.mode": "group-offsets",
        "scan.topic-partition-discovery.interval": "60 s",
        **client,
        "properties.group.id": group_id,
        "properties.isolation.level": "read_committed",
        "properties.auto.offset.reset": "earliest" if passes_gaps else "none",
    }
    return options_of(options)


def fields_of(contract: Contract) -> str:
    """What the parser must know of the contract's fields."""
    return ";".join(map(_told, contract.fields))


def _told(column: Column) -> str:
    parts = [column.name, column.type, "required" if column.required else "optional", str(column.max_length or 0)]
    if column.path or column.bounds or column.needed_for:
        least, most = column.bounds or ("", "")
        parts += [column.path or "", str(least), str(most), "=".join(column.needed_for or ())]
    return ":".join(parts)


def field_of(contract: Contract, name: str) -> str:
    """A field out of the parser's answer, typed. The parser has checked that its text is of that type."""
    position, column = next((i, c) for i, c in enumerate(contract.fields, start=1) if c.name == name)
    if name == contract.event_time:
        return "parsed.event_time"
    return _typed(column, f"parsed.texts[{position}]")


def _typed(column: Column, text: str) -> str:
    return f"CAST({text} AS {SQL_TYPES[column.type]})" if column.type in SQL_TYPES else text


def options_of(values: Mapping[str, str]) -> str:
    """Options of a table or a catalog, as SQL."""
    return ", ".join(f"{quoted(name)} = {quoted(value)}" for name, value in values.items())


def quoted(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def table_of(name: TableName) -> str:
    """Name of an Iceberg table in the job's catalog."""
    return f"{CATALOG}.{name.layer}.{name.table}"


def acknowledged(client: Mapping[str, str]) -> dict[str, str]:
    """Options of a client of Kafka that writes: on all replicas, once and in order while it lives."""
    return {**client, "properties.acks": "all", "properties.enable.idempotence": "true"}


def together(inserts: Sequence[str]) -> str:
    """One job of several inserts."""
    body = "".join(f"{insert};\n" for insert in inserts)
    return f"EXECUTE STATEMENT SET BEGIN\n{body}END"
