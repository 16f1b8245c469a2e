"""What must hold for the games of RAWG in bronze."""

from __future__ import annotations

import dagster as dg

from lakehouse import settings as settings_module
from lakehouse.domains.rawg.api import API
from lakehouse.errors import LakehouseError
from lakehouse.naming import RAWG_GAMES
from lakehouse.orchestration.checks import build_api_check

every_window_is_accounted_for = build_api_check(API)


@dg.asset_check(
    asset=dg.AssetKey(RAWG_GAMES.key),
    description="RAWG says now that the windows of release read last have as many games as are held of them.",
)
def rawg_has_as_many_games() -> dg.AssetCheckResult:
    """Ask RAWG for some counts. A game that came or went since it was read makes a difference, so it only warns."""
    from lakehouse.domains.rawg.overview import compare_counts

    try:
        found = compare_counts(settings_module.load())
    except LakehouseError as error:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description=str(error))
    return dg.AssetCheckResult(
        passed=all(one.said == one.held for one in found),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"windows": dg.MetadataValue.json({one.window: [one.said, one.held] for one in found})},
    )
