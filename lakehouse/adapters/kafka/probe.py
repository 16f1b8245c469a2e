"""Reading committed records that are there already, and asking whether offsets hold any."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from confluent_kafka import KafkaError, Message, TopicPartition

from lakehouse.adapters.kafka.client import KafkaConsumer
from lakehouse.errors import LakehouseError

PATIENCE_SECONDS = 15.0


def committed(consumer: KafkaConsumer, topic: str, places: Mapping[int, int]) -> Iterator[Message]:
    """Yield the committed records of partitions from an offset of each on, up to where each ends.

    Raises:
        LakehouseError: the brokers do not answer, or refuse the client.
    """
    waiting = set(places)
    consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in places.items()])
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while waiting:
            if consumer.refusal or time.monotonic() > deadline:
                asked = ", ".join(f"{topic}[{partition}] at {places[partition]}" for partition in sorted(waiting))
                raise LakehouseError(
                    consumer.refusal or f"Kafka did not say within {PATIENCE_SECONDS:.0f} s what is on {asked}"
                )
            for message in consumer.consume(1_000, 0.5):
                error = message.error()
                if error is None:
                    deadline = time.monotonic() + PATIENCE_SECONDS
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    waiting.discard(message.partition() or 0)
    finally:
        consumer.unassign()


def sent_at(message: Message) -> datetime:
    """Kafka's time of a record, UTC."""
    return datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    """Headers of a record, in order; none where it has none."""
    return list(cast(Any, message.headers()) or ())


def committed_offsets(consumer: KafkaConsumer, topic: str, partition: int, start: int, end: int) -> dict[int, datetime]:
    """Offsets of ``start ≤ offset < end`` that hold a committed record, as far as the broker still has them.

    Returns:
        Kafka's time of each, UTC.

    Raises:
        LakehouseError: the broker does not answer.
    """
    low, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=PATIENCE_SECONDS)
    found: dict[int, datetime] = {}
    if low >= end:
        return found
    for message in committed(consumer, topic, {partition: max(low, start)}):
        offset = message.offset() or 0
        if offset >= end:
            break
        found[offset] = sent_at(message)
    return found
