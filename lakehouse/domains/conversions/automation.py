"""When the conversions run in Dagster: their stream is watched, its queue is landed, silver and gold are made."""

from __future__ import annotations

from functools import partial

import dagster as dg

from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.domains.conversions.assets import backfill_log, erase_user, gold_assets, silver_assets
from lakehouse.domains.conversions.checks import every_offset_is_accounted_for, stream_and_batch_agree
from lakehouse.domains.conversions.stream import PIPELINE
from lakehouse.ledger.feed import Feed
from lakehouse.naming import CONVERSIONS_DLQ, DIM_DATE, Domain
from lakehouse.orchestration.landing import BATCH, KIND_TAG, build_drain_sensor, build_queue_job
from lakehouse.orchestration.scheduled import build_scheduled_job
from lakehouse.orchestration.streams import build_stream, has_begun

QUEUE = Feed(CONVERSIONS_DLQ, DEAD_LETTER)

conversions_micro_batch = build_queue_job(Domain.CONVERSIONS, QUEUE)
conversions_micro_batch_sensor = build_drain_sensor(Domain.CONVERSIONS, [QUEUE], conversions_micro_batch)
conversions_stream = build_stream(PIPELINE)

# Before maintenance, which is at 40 past and keeps the snapshots that silver has not read.
conversions_silver, conversions_silver_schedule = build_scheduled_job(
    "conversions_silver",
    dg.AssetSelection.assets(*silver_assets) | dg.AssetSelection.checks(every_offset_is_accounted_for),
    cron="25 * * * *",
    is_due=partial(has_begun, PIPELINE),
    description="Takes what is new in bronze into silver and the history of users, and holds bronze against the topic.",
)
conversions_gold, conversions_gold_schedule = build_scheduled_job(
    "conversions_gold",
    dg.AssetSelection.assets(*gold_assets, dg.AssetKey(DIM_DATE.key))
    | dg.AssetSelection.checks(stream_and_batch_agree),
    cron="30 0 * * *",
    is_due=partial(has_begun, PIPELINE),
    description="Makes the days of the star schema anew that have news, and the calendar where days of it are missing.",
)
conversions_backfill = dg.define_asset_job(
    "conversions_backfill",
    selection=dg.AssetSelection.assets(backfill_log),
    tags={KIND_TAG: BATCH},
    executor_def=dg.in_process_executor,
    description="Makes a range of days anew on branches, audits them there, and moves the tables when all audits pass.",
)


@dg.job(
    tags={KIND_TAG: BATCH},
    executor_def=dg.in_process_executor,
    description="Erases a user from every table, its history and its files; started by `lakehouse erase user`.",
)
def conversions_erasure() -> None:
    """One step, which waits for whoever makes silver and gold, and they for it."""
    erase_user()
