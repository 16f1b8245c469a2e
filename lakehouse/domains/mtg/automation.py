"""When Magic's cards are taken: a build a day, and bronze while messages wait."""

from __future__ import annotations

import dagster as dg

from lakehouse.domains.mtg.bronze import landed
from lakehouse.domains.mtg.feeds import FEEDS
from lakehouse.naming import Domain
from lakehouse.orchestration.landing import build_drain_job, build_drain_sensor
from lakehouse.orchestration.scheduled import build_scheduled_job


def has_begun() -> bool:
    """Whether a build was ever taken: nobody else wants one every night."""
    from lakehouse import settings
    from lakehouse.adapters.iceberg.catalog import connect, find_table
    from lakehouse.naming import MTG_BUILDS

    return find_table(connect(settings.load()), MTG_BUILDS) is not None


mtg_micro_batch = build_drain_job(Domain.MTG, dg.AssetSelection.assets(*landed))
mtg_micro_batch_sensor = build_drain_sensor(Domain.MTG, FEEDS, mtg_micro_batch)

mtg_daily, mtg_daily_schedule = build_scheduled_job(
    "mtg_daily",
    dg.AssetSelection.groups(str(Domain.MTG)),
    cron="0 3 * * *",
    is_due=has_begun,
    description=(
        "Takes MTGJSON's newest build, lands it, and builds silver and gold; with a range of days takes these builds"
        " again, from the downloads that are kept."
    ),
)
