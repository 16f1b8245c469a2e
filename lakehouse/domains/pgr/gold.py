"""Silver and gold of the grievance events: the dbt models of the domain, built in one invocation of dbt."""

from __future__ import annotations

from lakehouse.naming import Domain
from lakehouse.orchestration.dbt import build_dbt_assets
from lakehouse.orchestration.describe import freshness
from lakehouse.orchestration.partitions import DAILY

pgr_models = build_dbt_assets(Domain.PGR, freshness_policy=freshness(warn_hours=3, fail_hours=26), partitions=DAILY)
