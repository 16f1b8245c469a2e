"""Whether the stream and a batch say the same: bronze's columns against its payloads, parsed once more by Spark.

The stream's parser is a program of its own, so a second one, that shares nothing with it, is asked what it makes of the
same records. Sums of hashes by hour are compared, whose order does not matter. What depends on when a record arrived
(lateness, `ingested_at`, which copy of a repeat came first) is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyspark.sql import functions as sf

from lakehouse.contracts.contract import Column as Field
from lakehouse.contracts.contract import Type
from lakehouse.domains.conversions.contract import CONVERSION_EVENT, spellings
from lakehouse.naming import CONVERSION_EVENTS

if TYPE_CHECKING:
    from pyspark.sql import Column

    from lakehouse.adapters.spark.workspace import Workspace


@dataclass(frozen=True)
class Disagreement:
    """An hour of which the two say different things."""

    hour: datetime
    """UTC."""
    rows: int
    """Events of that hour in bronze."""


def disagreements(work: Workspace, since: datetime) -> list[Disagreement]:
    """Hours of event time from a moment on in which bronze's columns are not what its payloads say.

    Args:
        work: Where.
        since: With a time zone.
    """
    head = work.head(CONVERSION_EVENTS)
    if head is None:
        return []
    rows = work.at(CONVERSION_EVENTS, head.snapshot_id).where(sf.col("event_time") >= sf.lit(since))
    # What was erased has no payload any more.
    rows = rows.where("raw_payload is not null")
    fields = CONVERSION_EVENT.fields
    streamed = sf.xxhash64(*(sf.col(field.name) for field in fields))
    batched = sf.xxhash64(*(_parsed(field) for field in fields))
    by_hour = rows.groupBy(sf.date_trunc("hour", "event_time").alias("hour")).agg(
        sf.count("*").alias("rows"), _sum(streamed).alias("streamed"), _sum(batched).alias("batched")
    )
    differing = by_hour.where(~sf.col("streamed").eqNullSafe(sf.col("batched"))).orderBy("hour")
    return [Disagreement(row["hour"].astimezone(UTC), row["rows"]) for row in differing.toArrow().to_pylist()]


def _parsed(field: Field) -> Column:
    """A field out of the payload, typed as the contract says."""
    text = sf.coalesce(*(sf.get_json_object("raw_payload", f"$.{name}") for name in spellings(field.name)))
    text = sf.when(text != "", text)
    match field.type:
        case Type.TIMESTAMP:
            milliseconds = sf.timestamp_millis(text.try_cast("long"))
            return sf.when(text.rlike(r"^-?\d+$"), milliseconds).otherwise(text.try_cast("timestamp"))
        case Type.LONG | Type.INT:
            return text.try_cast(str(field.type))
        case _:
            return text


def _sum(hashed: Column) -> Column:
    return sf.sum(hashed.cast("decimal(38, 0)"))
