"""The job that lands what players did."""

from __future__ import annotations

from lakehouse.domains.players.contract import PLAYER_EVENT
from lakehouse.naming import PLAYER_EVENTS_TOPIC, SYSTEM_DLQ
from lakehouse.streaming.statements import Pipeline

PIPELINE = Pipeline("players", PLAYER_EVENT, PLAYER_EVENTS_TOPIC, SYSTEM_DLQ)
