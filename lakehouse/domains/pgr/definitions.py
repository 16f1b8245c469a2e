"""What the grievance domain brings to the code location."""

from __future__ import annotations

import dagster as dg

from lakehouse.domains.pgr import automation, bronze, checks, gold

defs = dg.Definitions(
    assets=[bronze.pgr_events_topic, bronze.service_event_files, bronze.service_events_raw, gold.pgr_models],
    asset_checks=[checks.every_offset_is_accounted_for],
    jobs=[automation.pgr_micro_batch, automation.pgr_files, automation.pgr_daily],
    sensors=[automation.pgr_micro_batch_sensor, automation.pgr_files_sensor],
    schedules=[automation.pgr_daily_schedule],
)
