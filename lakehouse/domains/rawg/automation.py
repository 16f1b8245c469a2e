"""When the games of RAWG are pulled and built: every day what was updated; months of release are for backfills."""

from __future__ import annotations

import dagster as dg

from lakehouse import settings as settings_module
from lakehouse.naming import DIM_DATE, Domain
from lakehouse.orchestration.scheduled import build_scheduled_job


def has_key() -> bool:
    """Whether there is a key for the API: without one nothing is pulled by the clock."""
    return bool(settings_module.load().rawg_api_key.get_secret_value())


rawg_daily, rawg_daily_schedule = build_scheduled_job(
    "rawg_daily",
    dg.AssetSelection.groups(str(Domain.RAWG)) | dg.AssetSelection.assets(DIM_DATE.key),
    cron="45 3 * * *",
    is_due=has_key,
    description=(
        "Without a partition: takes the games that were updated since the last such run, up to yesterday. With months"
        " of release: all games of these, and finds those that are gone. Then builds silver and gold of what is new."
    ),
)
