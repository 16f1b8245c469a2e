"""Kafka as a Dagster resource."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import dagster as dg

from lakehouse import settings as settings_module

if TYPE_CHECKING:
    from datetime import datetime

    from lakehouse.adapters.batch import Batch
    from lakehouse.adapters.kafka.client import TopicState


class KafkaResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The brokers that the settings name. Holds no configuration, so that no secret can be seen in Dagster."""

    def topic(self, name: str) -> TopicState | None:
        """Identity and bounds of a topic, without reading a message; None when it does not exist."""
        from lakehouse.adapters.kafka.client import describe_topic, open_admin

        return describe_topic(open_admin(settings_module.load()), name)

    def drain(
        self, topic: str, topic_id: str, positions: Mapping[int, int], *, with_headers: bool = False
    ) -> Iterator[Batch]:
        """Records of a topic from the positions on, until it is empty; on demand with their headers."""
        from lakehouse.adapters.kafka.client import open_consumer
        from lakehouse.adapters.kafka.drain import Limits, drain

        settings = settings_module.load()
        limits = Limits(
            settings.batch_size, settings.flush_interval_sec, settings.drain_idle_sec, settings.drain_max_sec
        )
        consumer = open_consumer(settings)
        try:
            yield from drain(consumer, topic, topic_id, dict(positions), limits, with_headers=with_headers)
        finally:
            consumer.close()

    def probe(self, topic: str, partition: int, interval: tuple[int, int]) -> dict[int, datetime]:
        """Offsets of an interval that hold a committed record, and Kafka's time of each (UTC)."""
        from lakehouse.adapters.kafka.client import open_consumer
        from lakehouse.adapters.kafka.probe import committed_offsets

        consumer = open_consumer(settings_module.load())
        try:
            return committed_offsets(consumer, topic, partition, *interval)
        finally:
            consumer.close()
