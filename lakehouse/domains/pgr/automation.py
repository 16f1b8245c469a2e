"""When the grievance domain runs: bronze while records or files wait, silver and gold every hour."""

from __future__ import annotations

import dagster as dg

from lakehouse.domains.pgr.bronze import FEED, service_events_raw
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.naming import Domain
from lakehouse.orchestration.landing import build_drain_job, build_drain_sensor
from lakehouse.orchestration.scheduled import build_scheduled_job
from lakehouse.orchestration.staging import build_files_job, build_files_sensor

_BRONZE = dg.AssetSelection.assets(service_events_raw)

pgr_micro_batch = build_drain_job(Domain.PGR, _BRONZE)
pgr_micro_batch_sensor = build_drain_sensor(Domain.PGR, [FEED], pgr_micro_batch)

pgr_files = build_files_job(Domain.PGR, SERVICE_EVENT)
pgr_files_sensor = build_files_sensor(Domain.PGR, pgr_files)

# Every hour, though it is called by the days it can do again: maintenance keeps all of bronze's snapshots that silver
# has not read, and micro-batches make up to 700 an hour. It comes before maintenance, which is at 40 past.
pgr_daily, pgr_daily_schedule = build_scheduled_job(
    "pgr_daily",
    dg.AssetSelection.groups(str(Domain.PGR)),
    cron="20 * * * *",
    description=(
        "Lands what waits on the topic and builds silver and gold: without a partition what is new, with a range of"
        " days these days again."
    ),
)
