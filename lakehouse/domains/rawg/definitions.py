"""What the games of RAWG bring to the code location."""

from __future__ import annotations

import dagster as dg

from lakehouse.domains.rawg import automation, bronze, checks, gold

defs = dg.Definitions(
    assets=[bronze.rawg_api, bronze.rawg_games, gold.rawg_models],
    asset_checks=[checks.every_window_is_accounted_for, checks.rawg_has_as_many_games],
    jobs=[automation.rawg_daily],
    schedules=[automation.rawg_daily_schedule],
)
