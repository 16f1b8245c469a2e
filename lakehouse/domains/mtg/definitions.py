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
        served.serving_tables,
    ],
    asset_checks=[*checks.all_checks, *served.CHECKS],
    jobs=[automation.mtg_micro_batch, automation.mtg_daily],
    schedules=[automation.mtg_daily_schedule],
    sensors=[automation.mtg_micro_batch_sensor],
)
