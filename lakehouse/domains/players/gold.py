"""Silver and gold of the players: the dbt models of the domain."""

from __future__ import annotations

from lakehouse.naming import Domain
from lakehouse.orchestration.dbt import build_dbt_assets
from lakehouse.orchestration.describe import freshness
from lakehouse.orchestration.partitions import DAILY

player_models = build_dbt_assets(
    Domain.PLAYERS, freshness_policy=freshness(warn_hours=26, fail_hours=50), partitions=DAILY
)
