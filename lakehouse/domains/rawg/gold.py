"""Silver and gold of the games: the dbt models of the domain, built in one invocation of dbt."""

from __future__ import annotations

from lakehouse.domains.rawg.previews import preview
from lakehouse.naming import FACT_GAMES, Domain
from lakehouse.orchestration.dbt import build_dbt_assets
from lakehouse.orchestration.describe import freshness

rawg_models = build_dbt_assets(
    Domain.RAWG, freshness_policy=freshness(warn_hours=26, fail_hours=50), previews={FACT_GAMES: preview}
)
