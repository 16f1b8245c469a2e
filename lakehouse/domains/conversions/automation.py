"""When the conversions run in Dagster: their stream is watched, and what it refused is landed from its queue."""

from __future__ import annotations

from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.domains.conversions.stream import PIPELINE
from lakehouse.ledger.feed import Feed
from lakehouse.naming import CONVERSIONS_DLQ, Domain
from lakehouse.orchestration.landing import build_drain_sensor, build_queue_job
from lakehouse.orchestration.streams import build_stream

QUEUE = Feed(CONVERSIONS_DLQ, DEAD_LETTER)

conversions_micro_batch = build_queue_job(Domain.CONVERSIONS, QUEUE)
conversions_micro_batch_sensor = build_drain_sensor(Domain.CONVERSIONS, [QUEUE], conversions_micro_batch)
conversions_stream = build_stream(PIPELINE)
