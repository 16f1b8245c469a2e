"""Service events and Kafka batches for tests."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from lakehouse.adapters.batch import RECORDS, Batch, Range
from lakehouse.domains.pgr.contract import SERVICE_EVENT

TOPIC = "pgr-events"
TOPIC_ID = "topic-1"
ABSENT = object()

SUBMITTED: dict[str, Any] = {
    "event_time": "2024-12-17 10:00:00",
    "tenant_id": "pb.amritsar",
    "service": "PGR",
    "entity_type": "CASE",
    "entity_id": "C-1",
    "event_type": "CaseSubmitted",
    "status": "OPEN",
    "channel": "WEB",
    "ward_id": "W1",
    "attributes_json": {"complaint_type": "NoWaterSupply", "priority": "HIGH", "sla_hours": 24},
}

STRICT = replace(
    SERVICE_EVENT,
    fields=tuple(replace(c, required=True) if c.name == "ward_id" else c for c in SERVICE_EVENT.fields),
    rules=SERVICE_EVENT.rules,
)
"""Yesterday's contract, under which an event had to name its ward; the table never knew."""


def event(**changes: Any) -> bytes:
    """A service event as bytes, with some fields changed or `ABSENT`."""
    return json.dumps({name: value for name, value in (SUBMITTED | changes).items() if value is not ABSENT}).encode()


def numbered(numbers: Sequence[int], *, bad: Sequence[int] = ()) -> dict[int, bytes]:
    """Events by offset; those of the bad offsets are rubbish."""
    return {number: b"rubbish" if number in bad else event(entity_id=f"C-{number}") for number in numbers}


def kafka_batch(
    values: Mapping[int, bytes | None],
    *,
    partition: int = 0,
    ends: tuple[int, int] | None = None,
    topic_id: str = TOPIC_ID,
) -> Batch:
    """A batch of one partition; its range is that of the offsets, or `ends`."""
    offsets = sorted(values)
    start, end = ends or (offsets[0], offsets[-1] + 1)
    records = pa.table(
        [
            pa.array([partition] * len(offsets), pa.int32()),
            pa.array(offsets, pa.int64()),
            pa.array([1_734_429_600_000_000] * len(offsets), pa.timestamp("us", tz="UTC")),
            pa.array([b"key"] * len(offsets), pa.binary()),
            pa.array([values[offset] for offset in offsets], pa.binary()),
        ],
        schema=RECORDS,
    )
    return Batch(TOPIC, topic_id, records, {partition: Range(start, end)})
