"""When the players run in Dagster: their stream is watched, its queue is landed, what it landed is checked."""

from __future__ import annotations

from functools import partial

import dagster as dg

from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.domains.players.assets import corrections
from lakehouse.domains.players.checks import every_offset_is_accounted_for, stores_agree
from lakehouse.domains.players.gold import player_models
from lakehouse.domains.players.statistics import PIPELINE as STATISTICS
from lakehouse.domains.players.stream import PIPELINE
from lakehouse.ledger.feed import Feed
from lakehouse.naming import DIM_DATE, PLAYER_EVENTS_TYPED, SYSTEM_DLQ, Domain
from lakehouse.orchestration.landing import build_drain_sensor, build_queue_job
from lakehouse.orchestration.scheduled import build_scheduled_job
from lakehouse.orchestration.streams import build_stream, has_begun

QUEUE = Feed(SYSTEM_DLQ, DEAD_LETTER)

players_micro_batch = build_queue_job(Domain.PLAYERS, QUEUE)
players_micro_batch_sensor = build_drain_sensor(Domain.PLAYERS, [QUEUE], players_micro_batch)
players_stream = build_stream(PIPELINE)
player_stats_stream = build_stream(STATISTICS)

# Before maintenance, which is at 40 past and keeps the snapshots that silver has not read.
players_hourly, players_hourly_schedule = build_scheduled_job(
    "players_hourly",
    dg.AssetSelection.assets(PLAYER_EVENTS_TYPED.key) | dg.AssetSelection.checks(every_offset_is_accounted_for),
    cron="20 * * * *",
    is_due=partial(has_begun, PIPELINE),
    description="Takes what is new in bronze into silver, and holds bronze against the topic.",
)

players_daily, players_daily_schedule = build_scheduled_job(
    "players_daily",
    dg.AssetSelection.assets(player_models, DIM_DATE.key, corrections) | dg.AssetSelection.checks(stores_agree),
    cron="35 0 * * *",
    is_due=partial(has_begun, PIPELINE),
    description=(
        "Builds silver and gold, with the boards that closed at midnight; corrects what is served by the lake, and"
        " compares: without a partition what is new, with a range of days these days again."
    ),
)
