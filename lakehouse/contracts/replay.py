"""The table of replays: every attempt to make a row of a dead letter, and what came of it."""

from __future__ import annotations

from lakehouse.contracts.contract import Column, Contract, Transform, Type
from lakehouse.naming import REPLAYS

REPLAY = Contract(
    name="replay",
    table=REPLAYS,
    version=1,
    description="Attempts to make a row of a dead letter: one row an attempt, also of those that failed again.",
    fields=(
        Column("dead_letter_id", Type.STRING, "The dead letter.", required=True),
        Column("source", Type.STRING, "Where its record came from.", required=True),
        Column("contract", Type.STRING, "Fingerprint of the contract it was held against.", required=True),
        Column("error_type", Type.STRING, "Kind of failure; null when the record became a row."),
        Column("error_message", Type.STRING, "What is still wrong, in words; null when the record became a row."),
        Column("attempted_at", Type.TIMESTAMP, "When it was tried (UTC).", required=True),
        Column("run_id", Type.STRING, "Run that tried it.", required=True),
    ),
    lineage=(),
    partition_by=(("attempted_at", Transform.DAY),),
)
