"""Silver and gold of the grievance events: the dbt models of the domain, built in one invocation of dbt."""

from __future__ import annotations

import dagster as dg

from lakehouse.naming import Domain
from lakehouse.orchestration.dbt import build_dbt_assets

DAILY = dg.DailyPartitionsDefinition(start_date="2020-01-01", end_offset=1)
"""UTC days of the events; today is one of them."""

pgr_models = build_dbt_assets(Domain.PGR, partitions=DAILY)
