"""When Magic's cards are taken: a build a day, and bronze while messages wait."""

from __future__ import annotations

import dagster as dg

from lakehouse.domains.mtg.bronze import landed
from lakehouse.domains.mtg.feeds import FEEDS
from lakehouse.naming import DIM_DATE, Domain
from lakehouse.orchestration.landing import build_drain_job, build_drain_sensor
from lakehouse.orchestration.scheduled import build_scheduled_job


def has_begun() -> bool:
    """Whether a build was ever taken from the server that the settings name: nobody else wants one every night."""
    from pyiceberg.expressions import StartsWith

    from lakehouse import settings as settings_module
    from lakehouse.adapters.iceberg.catalog import connect, find_table
    from lakehouse.naming import MTG_BUILDS

    settings = settings_module.load()
    table = find_table(connect(settings), MTG_BUILDS)
    if table is None:
        return False
    from_there = StartsWith("source_url", settings.mtgjson_url)  # type: ignore[call-arg,arg-type]
    return bool(table.scan(row_filter=from_there, selected_fields=("part",), limit=1).to_arrow().num_rows)


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
