"""The job that lands what players did."""

from __future__ import annotations

from lakehouse.domains.players.contract import PLAYER_EVENT
from lakehouse.naming import PLAYER_EVENTS_PROCESSED, PLAYER_EVENTS_TOPIC, SYSTEM_DLQ
from lakehouse.streaming.landing import Landing
from lakehouse.streaming.statements import Source

PIPELINE = Landing(
    "players", (Source(PLAYER_EVENT, PLAYER_EVENTS_TOPIC),), refused=SYSTEM_DLQ, processed=PLAYER_EVENTS_PROCESSED
)
