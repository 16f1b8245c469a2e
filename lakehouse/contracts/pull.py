"""The table of pulls: what an API was asked for, what it said it has, and what became of each item."""

from __future__ import annotations

from lakehouse.contracts.contract import Column, Contract, Type
from lakehouse.naming import PULLS

CLOSED, DISTURBED, ABANDONED = "closed", "disturbed", "abandoned"

PULL_RECORD = Contract(
    name="pull",
    table=PULLS,
    version=1,
    description=(
        "Windows of APIs that were read: one row a pull, written when it ended. What the API said it has is what"
        " became a row, was held already, or was refused."
    ),
    fields=(
        Column("source", Type.STRING, "The API.", required=True),
        Column("pull_id", Type.STRING, "The pull, as the rows it landed name it.", required=True),
        Column("pull_window", Type.STRING, "What was asked for.", required=True),
        Column("target", Type.STRING, "Table its rows went to.", required=True),
        Column(
            "outcome",
            Type.STRING,
            "Whether all that the window held was seen, or it changed while it was read, or its reader was ended and"
            " nobody went on.",
            required=True,
            known_values=(CLOSED, DISTURBED, ABANDONED),
        ),
        Column("said", Type.LONG, "Items that the API said the window has.", required=True, unit="items"),
        Column("landed_rows", Type.LONG, "Rows that the pull added.", required=True, unit="rows"),
        Column("unchanged", Type.LONG, "Items that were held as they are.", required=True, unit="items"),
        Column("refused", Type.LONG, "Items that are dead letters.", required=True, unit="items"),
        Column(
            "repeats",
            Type.LONG,
            "Rows beyond one an item: it looked different when it was seen again."
            " `said + repeats = landed_rows + unchanged + refused`.",
            required=True,
            unit="rows",
        ),
        Column("seen", Type.BINARY, "Ids of the items and the beginning of their hashes, packed.", required=True),
        Column("letters", Type.STRING, "Ids of the dead letters, a line each.", required=True),
        Column("requests", Type.LONG, "Requests that it took.", required=True, unit="requests"),
        Column(
            "started_at", Type.TIMESTAMP, "As of when the window was read, by the API's clock (UTC).", required=True
        ),
        Column("completed_at", Type.TIMESTAMP, "When it ended (UTC).", required=True),
        Column("run_id", Type.STRING, "Run that ended it.", required=True),
    ),
    lineage=(),
    partition_by=(),
)
