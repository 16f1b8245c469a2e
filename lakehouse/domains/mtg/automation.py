"""When Magic's cards are taken: a build a day, bronze while messages wait, and statistics when Flink has new ones."""

import dagster as dg

from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.domains.mtg.bronze import landed
from lakehouse.domains.mtg.feeds import FEEDS
from lakehouse.domains.mtg.served import card_statistics
from lakehouse.domains.mtg.statistics import PIPELINE
from lakehouse.errors import LakehouseError
from lakehouse.naming import DIM_DATE, MTG_STATISTICS, Domain
from lakehouse.orchestration.landing import BATCH, KIND_TAG, build_drain_job, build_drain_sensor, must_wait
from lakehouse.orchestration.scheduled import build_scheduled_job
from lakehouse.orchestration.streams import build_stream


def has_begun() -> bool:
    """Whether a build was ever taken from the server that the settings name: nobody else wants one every night."""
    from lakehouse import settings as settings_module
    from lakehouse.adapters.iceberg.catalog import connect, find_table
    from lakehouse.adapters.iceberg.filters import begins_with
    from lakehouse.naming import MTG_BUILDS

    settings = settings_module.load()
    table = find_table(connect(settings), MTG_BUILDS)
    if table is None:
        return False
    from_there = begins_with("source_url", settings.mtgjson_url)
    return bool(table.scan(row_filter=from_there, selected_fields=("part",), limit=1).to_arrow().num_rows)


SECONDS = 30
"""Between two looks at the statistics."""

mtg_stream = build_stream(PIPELINE)
mtg_micro_batch = build_drain_job(Domain.MTG, dg.AssetSelection.assets(*landed))
mtg_micro_batch_sensor = build_drain_sensor(Domain.MTG, FEEDS, mtg_micro_batch)

mtg_daily, mtg_daily_schedule = build_scheduled_job(
    "mtg_daily",
    dg.AssetSelection.groups(str(Domain.MTG)) | dg.AssetSelection.assets(dg.AssetKey(DIM_DATE.key)),
    cron="0 3 * * *",
    is_due=has_begun,
    description=(
        "Takes MTGJSON's newest build, lands it, and builds silver and gold; with a range of days takes these builds"
        " again, from the downloads that are kept."
    ),
)

mtg_statistics = dg.define_asset_job(
    "mtg_statistics",
    dg.AssetSelection.assets(card_statistics),
    tags={KIND_TAG: BATCH},
    executor_def=dg.in_process_executor,
    description="Takes the statistics that Flink has written to gold into PostgreSQL.",
)


@dg.sensor(
    job=mtg_statistics,
    minimum_interval_seconds=SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Has PostgreSQL take the statistics when gold has others.",
)
def mtg_statistics_sensor(
    context: dg.SensorEvaluationContext, iceberg: IcebergResource
) -> dg.RunRequest | dg.SkipReason:
    """Hold the newest snapshot of gold against the one that was taken: a run that failed is made good by the next."""
    from lakehouse import settings as settings_module
    from lakehouse.adapters.iceberg.catalog import find_table
    from lakehouse.domains.mtg.statistics_serving import taken_snapshot

    table = find_table(iceberg.catalog(), MTG_STATISTICS)
    newest = table.current_snapshot() if table else None
    if newest is None:
        return dg.SkipReason("Flink has written no statistics")
    try:
        if taken_snapshot(settings_module.load()) == newest.snapshot_id:
            return dg.SkipReason("PostgreSQL has taken all statistics")
    except LakehouseError as error:
        return dg.SkipReason(str(error))
    if reason := must_wait(context.instance, mtg_statistics.name):
        return dg.SkipReason(reason)
    return dg.RunRequest(tags={KIND_TAG: BATCH})
