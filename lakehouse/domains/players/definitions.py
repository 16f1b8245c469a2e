"""What the players bring to the code location."""

from __future__ import annotations

import dagster as dg

from lakehouse.domains.players import assets, automation, bronze, checks, gold

defs = dg.Definitions(
    assets=[
        bronze.player_events_topic,
        bronze.player_events,
        bronze.refused_player_events,
        gold.player_models,
        *assets.ASSETS,
    ],
    asset_checks=[checks.every_offset_is_accounted_for, checks.stores_agree, checks.served_within_a_minute],
    jobs=[
        automation.players_micro_batch,
        *automation.players_stream.jobs,
        *automation.player_stats_stream.jobs,
        automation.players_hourly,
        automation.players_daily,
    ],
    schedules=[automation.players_hourly_schedule, automation.players_daily_schedule],
    sensors=[
        automation.players_micro_batch_sensor,
        automation.players_stream.sensor,
        automation.player_stats_stream.sensor,
        checks.freshness_sensor,
    ],
)
