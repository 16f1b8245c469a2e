"""Jobs that run by the clock, on from the first start."""

from collections.abc import Callable

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from lakehouse.orchestration.landing import BATCH, KIND_TAG


def build_scheduled_job(
    name: str,
    selection: dg.AssetSelection,
    *,
    cron: str,
    description: str,
    is_due: Callable[[], bool] = lambda: True,
) -> tuple[UnresolvedAssetJobDefinition, dg.ScheduleDefinition]:
    """A job in one process and its schedule, of the same name; `cron` is in UTC, and holds while `is_due` says so."""
    job = dg.define_asset_job(
        name,
        selection=selection,
        tags={KIND_TAG: BATCH},
        executor_def=dg.in_process_executor,
        description=description,
    )
    schedule = dg.ScheduleDefinition(
        name=name,
        job=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        should_execute=lambda _: is_due(),
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    return job, schedule
