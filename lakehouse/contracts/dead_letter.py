"""The table of refused records: what was refused, why, and where it came from. Append-only."""

from __future__ import annotations

from lakehouse.contracts.contract import Column, Contract, Transform, Type
from lakehouse.contracts.lineage import DELIVERY_COORDINATES, ERASED_AT, KAFKA_COORDINATES, SOURCE_URL
from lakehouse.naming import DEAD_LETTERS

DEAD_LETTER = Contract(
    name="dead_letter",
    table=DEAD_LETTERS,
    version=1,
    description="Records that a contract refused. One row a refused record, with its exact bytes, reason and origin.",
    fields=(
        Column(
            "dead_letter_id",
            Type.STRING,
            "Origin as one word: `topic:partition:offset`; of an API `source:item:hash of its bytes`.",
            required=True,
        ),
        Column(
            "source",
            Type.STRING,
            "Where the record came from: the topic's name, `source_file`, or the API.",
            required=True,
        ),
        Column(
            "contract", Type.STRING, "Name, version and fingerprint of the contract that refused it.", required=True
        ),
        Column(
            "error_type",
            Type.STRING,
            "Kind of failure, in upper case, for counting.",
            required=True,
            known_values=(
                "MALFORMED_ROW",
                "NULL_VALUE",
                "EMPTY_VALUE",
                "INVALID_UTF8",
                "INVALID_JSON",
                "NOT_AN_OBJECT",
                "TOO_DEEP",
                "NUL_CHARACTER",
                "MISSING_FIELD",
                "WRONG_TYPE",
                "TOO_LONG",
                "INVALID_TIMESTAMP",
                "INVALID_DATE",
                "INVALID_ATTRIBUTES",
                "DATE_MISMATCH",
                "OUT_OF_RANGE",
                "FUTURE_TIME",
                "UNKNOWN_ORIGIN",
            ),
        ),
        Column("error_message", Type.STRING, "What is wrong, in words, naming the field.", required=True),
        Column(
            "original_payload",
            Type.BINARY,
            "The record's value, byte for byte; null when it had none.",
            is_personal=True,
        ),
        Column(
            "original_key", Type.BINARY, "The record's key, byte for byte; null when it had none.", is_personal=True
        ),
        Column("failed_at", Type.TIMESTAMP, "When it was refused (UTC).", required=True),
        Column("run_id", Type.STRING, "Run that refused it."),
    ),
    lineage=(*KAFKA_COORDINATES, *DELIVERY_COORDINATES, ERASED_AT, SOURCE_URL),
    partition_by=(("source", Transform.IDENTITY), ("failed_at", Transform.DAY)),
)
