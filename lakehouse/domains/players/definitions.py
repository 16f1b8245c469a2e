"""What the players bring to the code location."""

from __future__ import annotations

import dagster as dg

from lakehouse.domains.players import automation, bronze, checks

defs = dg.Definitions(
    assets=[bronze.player_events_topic, bronze.player_events, bronze.refused_player_events],
    asset_checks=[checks.every_offset_is_accounted_for],
    jobs=[automation.players_micro_batch, *automation.players_stream.jobs, automation.players_hourly],
    schedules=[automation.players_hourly_schedule],
    sensors=[automation.players_micro_batch_sensor, automation.players_stream.sensor],
)
