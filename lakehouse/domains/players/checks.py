"""What must hold for the tables of the players."""

from __future__ import annotations

import dagster as dg

from lakehouse import settings as settings_module
from lakehouse.domains.players.assets import postgres_statistics
from lakehouse.domains.players.stream import PIPELINE
from lakehouse.orchestration.checks import build_stream_check

every_offset_is_accounted_for = build_stream_check(PIPELINE)


@dg.asset_check(
    asset=postgres_statistics.key,
    description="PostgreSQL, Redis and bronze have the same totals and scores, as far as they may have by now.",
)
def stores_agree() -> dg.AssetCheckResult:
    """Compare all of them."""
    from lakehouse.domains.players.agreement import compare

    found = compare(settings_module.load())
    told = [f"{one.what}: {one.store} says {one.said}, PostgreSQL {one.postgres}" for one in found.differing]
    return dg.AssetCheckResult(
        passed=not told, metadata={"players": found.players, "scores": found.scores, "differing": told}
    )
