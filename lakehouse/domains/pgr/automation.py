"""When the grievance domain runs: bronze while records wait, silver and gold every night."""

from __future__ import annotations

import dagster as dg

from lakehouse.domains.pgr.bronze import FEED, service_events_raw
from lakehouse.naming import Domain
from lakehouse.orchestration.landing import BATCH, KIND_TAG, build_drain_job, build_drain_sensor

_BRONZE = dg.AssetSelection.assets(service_events_raw)

pgr_micro_batch = build_drain_job(Domain.PGR, _BRONZE)
pgr_micro_batch_sensor = build_drain_sensor(Domain.PGR, [FEED], pgr_micro_batch)

pgr_daily = dg.define_asset_job(
    "pgr_daily",
    selection=dg.AssetSelection.groups(str(Domain.PGR)),
    tags={KIND_TAG: BATCH},
    executor_def=dg.in_process_executor,
    description=(
        "Lands what waits on the topic and builds silver and gold: without a partition what is new, with a range of"
        " days these days again."
    ),
)
pgr_daily_schedule = dg.ScheduleDefinition(
    name="pgr_daily",
    job=pgr_daily,
    cron_schedule="30 1 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
