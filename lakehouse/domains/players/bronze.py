"""Bronze of the players: the topics, and the table that Flink lands them in."""

from __future__ import annotations

import dagster as dg

from lakehouse.domains.players.contract import PLAYER_EVENT
from lakehouse.naming import PLAYER_EVENTS_TOPIC, SYSTEM_DLQ
from lakehouse.orchestration.describe import describe_contract, topic_spec

player_events_topic = topic_spec(
    PLAYER_EVENTS_TOPIC, "What players did, as the game backends report it, keyed by player; kept for seven days."
)
player_events = dg.AssetSpec(**describe_contract(PLAYER_EVENT), deps=[player_events_topic], kinds={"flink", "iceberg"})
refused_player_events = topic_spec(
    SYSTEM_DLQ, "Records that the contract refused: their exact bytes, with reason and origin in the headers."
).replace_attributes(deps=[player_events_topic])
