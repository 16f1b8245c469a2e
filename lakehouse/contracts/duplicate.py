"""The table of repeats that a stream left out of bronze, so that their offsets are accounted for. Append-only."""

from __future__ import annotations

from lakehouse.contracts.contract import Column, Contract, Transform, Type
from lakehouse.contracts.lineage import INGESTED_AT, KAFKA_COORDINATES
from lakehouse.naming import DUPLICATES

DUPLICATE = Contract(
    name="duplicate",
    table=DUPLICATES,
    version=1,
    description="Records whose event id a stream had landed within the last 24 hours. One row a repeated record.",
    fields=(Column("event_id", Type.STRING, "Id of the event that is in bronze already.", required=True),),
    lineage=(*KAFKA_COORDINATES, INGESTED_AT),
    partition_by=(("kafka_topic", Transform.IDENTITY), ("kafka_timestamp", Transform.DAY)),
)
