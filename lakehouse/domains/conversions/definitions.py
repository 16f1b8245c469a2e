"""What the conversions bring to the code location."""

from __future__ import annotations

import dagster as dg

from lakehouse.domains.conversions import assets, automation, bronze, checks

defs = dg.Definitions(
    assets=[
        bronze.conversions_topic,
        bronze.conversion_events,
        bronze.refused_conversions,
        *assets.silver_assets,
        *assets.gold_assets,
        assets.backfill_log,
    ],
    asset_checks=[checks.every_offset_is_accounted_for, checks.stream_and_batch_agree],
    jobs=[
        automation.conversions_micro_batch,
        *automation.conversions_stream.jobs,
        automation.conversions_silver,
        automation.conversions_gold,
        automation.conversions_backfill,
        automation.conversions_erasure,
    ],
    schedules=[automation.conversions_silver_schedule, automation.conversions_gold_schedule],
    sensors=[automation.conversions_micro_batch_sensor, automation.conversions_stream.sensor],
)
