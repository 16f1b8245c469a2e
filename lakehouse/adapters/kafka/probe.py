"""Asking the brokers whether offsets hold a record."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from confluent_kafka import KafkaError, TopicPartition

from lakehouse.adapters.kafka.client import KafkaConsumer
from lakehouse.errors import LakehouseError

PATIENCE_SECONDS = 15.0


def committed_offsets(consumer: KafkaConsumer, topic: str, partition: int, start: int, end: int) -> dict[int, datetime]:
    """Offsets of ``start ≤ offset < end`` that hold a committed record, as far as the broker still has them.

    Returns:
        Kafka's time of each, UTC.

    Raises:
        LakehouseError: the broker does not answer.
    """
    low, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=PATIENCE_SECONDS)
    if low >= end:
        return {}
    consumer.assign([TopicPartition(topic, partition, max(low, start))])
    found: dict[int, datetime] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for message in consumer.consume(1_000, 0.5):
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                continue
            offset = message.offset() or 0
            if error is not None or offset >= end:
                consumer.unassign()
                return found
            found[offset] = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
            deadline = time.monotonic() + PATIENCE_SECONDS
    raise LakehouseError(f"{topic}[{partition}]: Kafka did not say within {PATIENCE_SECONDS:.0f} s what is at {start}")
