"""What a game backend says about what a player did."""

from __future__ import annotations

from lakehouse.contracts.contract import ID_LENGTH, Column, Contract, Transform, Type
from lakehouse.contracts.lineage import RAW_PAYLOAD, STREAMED
from lakehouse.naming import PLAYER_EVENTS

SCORE_EVENT = "player_score"
"""Type of the events that carry a score."""
MOST_TYPES = 1_000
"""Of events of a player that are told one by one in their totals: no message may become as long as somebody likes."""
HIGHEST_SCORE = 1_000_000_000
"""Of one event: then the sum of nine million of them is still exact in every store and every client (2^53)."""

PLAYER_EVENT = Contract(
    name="player_event",
    table=PLAYER_EVENTS,
    version=1,
    description="What players did, as the game backends report it. One row an event id.",
    fields=(
        Column("event_id", Type.STRING, "Id of the event.", required=True, max_length=ID_LENGTH),
        Column(
            "event_time",
            Type.TIMESTAMP,
            "When it happened (UTC); in a record, `timestamp`.",
            required=True,
            path="timestamp",
        ),
        Column("event_type", Type.STRING, "What the player did.", required=True, max_length=ID_LENGTH),
        Column("player_id", Type.IDENTIFIER, "Who did it.", required=True, max_length=ID_LENGTH, is_personal=True),
        Column("game_id", Type.IDENTIFIER, "In which game.", required=True, max_length=ID_LENGTH),
        Column("data", Type.JSON_OBJECT, "What else is told of it, by type of event.", is_personal=True),
        Column(
            "score",
            Type.LONG,
            f"Points that a `{SCORE_EVENT}` brings, which may be negative; in a record, `data.score`.",
            path="data.score",
            bounds=(-HIGHEST_SCORE, HIGHEST_SCORE),
            needed_for=("event_type", SCORE_EVENT),
            unit="points",
        ),
    ),
    lineage=STREAMED,
    partition_by=(("event_time", Transform.DAY),),
    event_id="event_id",
    event_time="event_time",
    raw_payload=RAW_PAYLOAD.name,
)
