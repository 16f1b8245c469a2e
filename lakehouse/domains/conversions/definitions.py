"""What the conversions bring to the code location."""

from __future__ import annotations

import dagster as dg

from lakehouse.domains.conversions import automation, bronze, checks

defs = dg.Definitions(
    assets=[bronze.conversions_topic, bronze.conversion_events, bronze.refused_conversions],
    asset_checks=[checks.every_offset_is_accounted_for],
    jobs=[automation.conversions_micro_batch, *automation.conversions_stream.jobs],
    sensors=[automation.conversions_micro_batch_sensor, automation.conversions_stream.sensor],
)
