"""What Magic's cards bring to the code location."""

from __future__ import annotations

import dagster as dg

from lakehouse.domains.mtg import assets, automation, bronze, checks, gold, served

defs = dg.Definitions(
    assets=[
        bronze.mtg_builds,
        *bronze.topics,
        *bronze.landed,
        *assets.silver_assets,
        gold.mtg_models,
        assets.statistics_topic,
        assets.statistics,
        served.serving_tables,
        served.card_statistics,
    ],
    asset_checks=[*checks.all_checks, *served.CHECKS],
    jobs=[
        automation.mtg_micro_batch,
        automation.mtg_daily,
        *automation.mtg_stream.jobs,
        automation.mtg_statistics,
    ],
    schedules=[automation.mtg_daily_schedule],
    sensors=[automation.mtg_micro_batch_sensor, automation.mtg_stream.sensor, automation.mtg_statistics_sensor],
)
