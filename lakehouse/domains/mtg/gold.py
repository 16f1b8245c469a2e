"""Gold of Magic's cards: the dbt models of the domain, built in one invocation of dbt."""

from __future__ import annotations

from lakehouse.naming import Domain
from lakehouse.orchestration.dbt import build_dbt_assets
from lakehouse.orchestration.describe import freshness

mtg_models = build_dbt_assets(Domain.MTG, freshness_policy=freshness(warn_hours=26, fail_hours=50))
