"""Columns that ingestion adds, the same in every table that is filled the same way."""

from __future__ import annotations

from lakehouse.contracts.contract import Column, Type

INGESTED_AT = Column("ingested_at", Type.TIMESTAMP, "When the batch that carried the record was put together (UTC).")

KAFKA_COORDINATES = (
    Column("kafka_topic", Type.STRING, "Topic the record was read from; null when it did not come through Kafka."),
    Column("kafka_partition", Type.INT, "Partition of the topic."),
    Column("kafka_offset", Type.LONG, "Offset in the partition: with topic and partition, the record's coordinate."),
    Column("kafka_timestamp", Type.TIMESTAMP, "Time of the record in Kafka (UTC)."),
)

LATENESS = (
    Column("is_late_arrival", Type.BOOLEAN, "Whether it came behind the watermark: 5 minutes after the newest event."),
    Column("is_beyond_lateness", Type.BOOLEAN, "Whether it came more than an hour behind the watermark."),
)
"""How late a record was, as the stream that landed it saw it."""

RAW_PAYLOAD = Column(
    "raw_payload", Type.STRING, "The record as received, with every field it carried.", is_personal=True
)

REPLAYED_AT = Column(
    "replayed_at", Type.TIMESTAMP, "When the row was made of a dead letter, which goes on being one; else null (UTC)."
)

ERASED_AT = Column(
    "erased_at",
    Type.TIMESTAMP,
    "When all that told of a person was blanked, on request: payload and personal columns; else null (UTC).",
)

STREAMED = (RAW_PAYLOAD, *KAFKA_COORDINATES, *LATENESS, INGESTED_AT, ERASED_AT)
"""What a stream adds to the fields of a record."""

DELIVERY_COORDINATES = (
    Column(
        "source_file", Type.STRING, "File or append that brought the record, `name@hash of its content`; else null."
    ),
    Column("source_row", Type.LONG, "Its number there: a row with the header as 1, a line of JSON from 1."),
)

SOURCE_URL = Column(
    "source_url", Type.STRING, "Address of the answer that brought it, without keys; `#n`: its place in it, from 1."
)
FETCHED_AT = Column("fetched_at", Type.TIMESTAMP, "When that answer came (UTC).")

SOURCE_SNAPSHOT, LOADED_AT = "_audit_source_snapshot_id", "_audit_loaded_at"
"""Audit columns of silver and gold: up to which snapshot of its source a row's table was complete when it was written,
and when that was. dbt's macro ``audit_columns`` makes them."""

AUDIT = (
    Column("_audit_run_id", Type.STRING, "Run that wrote the row."),
    Column(LOADED_AT, Type.TIMESTAMP, "When it did (UTC)."),
    Column(SOURCE_SNAPSHOT, Type.LONG, "Snapshot of the source it was made of."),
)
"""The same columns, for tables that Spark writes."""

VALIDITY = (
    Column("valid_from", Type.TIMESTAMP, "When the version began (UTC): ``valid_from ≤ t < valid_to``."),
    Column("valid_to", Type.TIMESTAMP, "When the next one began (UTC); null while it holds."),
    Column("is_current", Type.BOOLEAN, "Whether it holds still."),
    Column("version", Type.INT, "Its number among those of its key, from 1."),
)
"""Columns of a slowly changing dimension of type 2."""
