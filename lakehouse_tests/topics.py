"""Topics, read by a client that is not the product's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition


def ends_of(consumer: KafkaConsumer, topic: str) -> dict[TopicPartition, int]:
    """Offset after the last record of each partition."""
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    return dict(consumer.end_offsets(partitions))


def records_of(
    consumer: KafkaConsumer, topic: str, begins: Mapping[TopicPartition, int] | None = None
) -> Iterator[Any]:
    """All that a topic holds now, or what came to it since its ends were somewhere; by partition in order."""
    ends = ends_of(consumer, topic)
    consumer.assign(list(ends))
    consumer.seek_to_beginning()
    for partition, offset in (begins or {}).items():
        consumer.seek(partition, offset)
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        for records in consumer.poll(timeout_ms=500).values():
            yield from records
