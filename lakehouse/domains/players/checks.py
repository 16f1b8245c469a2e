"""What must hold for the tables of the players."""

from __future__ import annotations

import dagster as dg

from lakehouse import settings as settings_module
from lakehouse.domains.players.assets import corrections, postgres_statistics
from lakehouse.domains.players.stream import PIPELINE
from lakehouse.errors import LakehouseError
from lakehouse.naming import DIM_PLAYER
from lakehouse.orchestration.checks import build_stream_check
from lakehouse.orchestration.streams import has_begun

FRESH_SECONDS = 60
"""By then, what an event changes is told by PostgreSQL and Redis."""

every_offset_is_accounted_for = build_stream_check(PIPELINE)


@dg.asset_check(
    asset=postgres_statistics.key,
    additional_deps=[corrections, dg.AssetKey(DIM_PLAYER.key)],
    description=(
        "PostgreSQL, Redis, Flink's topic, bronze and gold have the same totals and scores, as far as they may have by"
        " now."
    ),
)
def stores_agree() -> dg.AssetCheckResult:
    """Compare all of them."""
    from lakehouse.domains.players.agreement import compare

    found = compare(settings_module.load())
    told = [f"{one.what}: {one.store} says {one.said}, {one.other} {one.said_otherwise}" for one in found.differing]
    return dg.AssetCheckResult(
        passed=not told, metadata={"players": found.players, "scores": found.scores, "differing": told}
    )


@dg.asset_check(
    asset=postgres_statistics.key,
    description=f"What was accepted more than {FRESH_SECONDS} s ago is counted and served; looked at every minute.",
)
def served_within_a_minute() -> dg.AssetCheckResult:
    """Look at where the job and the sink are."""
    from lakehouse.domains.players.freshness import overdue

    waiting = overdue(settings_module.load(), FRESH_SECONDS)
    return dg.AssetCheckResult(passed=not waiting, metadata={"overdue": waiting})


@dg.sensor(
    name="players_freshness",
    minimum_interval_seconds=FRESH_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks every minute whether what is served is fresh, and reports the check when that has changed.",
)
def freshness_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Report `served_within_a_minute` without a run."""
    from lakehouse.domains.players.freshness import overdue

    if not has_begun(PIPELINE):
        return dg.SkipReason("the stream was never started")
    try:
        waiting = overdue(settings_module.load(), FRESH_SECONDS)
    except LakehouseError as error:
        return dg.SkipReason(str(error))
    is_fresh = str(not waiting)
    if is_fresh == context.cursor:
        return dg.SkipReason("as before")
    (key,) = served_within_a_minute.check_keys
    said = dg.AssetCheckEvaluation(
        asset_key=key.asset_key, check_name=key.name, passed=not waiting, metadata={"overdue": waiting}
    )
    return dg.SensorResult(asset_events=[said], cursor=is_fresh)
