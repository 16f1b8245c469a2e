"""The table of deliveries: what was taken in whole, as a file or by a program, and what became of its records."""

from __future__ import annotations

from lakehouse.contracts.contract import Column, Contract, Type
from lakehouse.naming import DELIVERIES

DELIVERY_RECORD = Contract(
    name="delivery",
    table=DELIVERIES,
    version=1,
    description="Files and appends that were taken in: one row each, written when its last record was accounted for.",
    fields=(
        Column("source_file", Type.STRING, "Its name in the tables, `name@hash of its content`.", required=True),
        Column("target", Type.STRING, "Table its rows went to.", required=True),
        Column("name", Type.STRING, "Name of the file, or idempotency key of the append.", required=True),
        Column("content_sha256", Type.STRING, "Hash of the content, uncompressed, or of the key.", required=True),
        Column("first_row", Type.LONG, "Number of its first record.", required=True),
        Column("end_row", Type.LONG, "Number after that of its last record.", required=True),
        Column("accepted_rows", Type.LONG, "Records that became rows.", required=True, unit="rows"),
        Column("dead_letters", Type.LONG, "Records that were refused.", required=True, unit="rows"),
        Column("completed_at", Type.TIMESTAMP, "When its last record was accounted for (UTC).", required=True),
        Column("run_id", Type.STRING, "Run that took it in.", required=True),
    ),
    lineage=(),
    partition_by=(),
)
