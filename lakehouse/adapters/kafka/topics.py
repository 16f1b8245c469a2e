"""Topics as the brokers have them, held against how they should be; and what lies on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from confluent_kafka import KafkaException, Message
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewPartitions

from lakehouse.adapters.kafka.client import (
    TIMEOUT_SECONDS,
    UNLIMITED,
    KafkaAdmin,
    KafkaConsumer,
    TopicState,
    ensure_topic,
    topic_config,
)
from lakehouse.adapters.kafka.probe import committed, headers_of, sent_at
from lakehouse.errors import LakehouseError
from lakehouse.naming import Topic

PARTITIONS = "partitions"
GROWING = (PARTITIONS, "retention.ms", "max.message.bytes", "min.compaction.lag.ms")
"""What is made larger, never smaller: less would take records away, or refuse those that were welcome."""


@dataclass(frozen=True)
class Found:
    """How a topic is."""

    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True)
class Change:
    """A difference between how a topic is and how it should be."""

    topic: Topic
    what: str
    """``topic`` where it is missing, ``partitions``, or the name of a setting."""
    found: str | None
    wanted: str

    @property
    def is_kept(self) -> bool:
        """Whether it stays as it is, because the change would make it smaller."""
        if self.found is None or self.what not in GROWING:
            return False
        found, wanted = int(self.found), int(self.wanted)
        return found == UNLIMITED or UNLIMITED != wanted < found


@dataclass(frozen=True)
class Record:
    """A record as it lies on its topic."""

    partition: int
    offset: int
    timestamp: datetime
    key: bytes | None
    headers: list[tuple[str, bytes | None]]
    value: bytes | None


def describe_all(admin: KafkaAdmin) -> dict[str, Found]:
    """Every topic of the brokers but their own, with its settings.

    Raises:
        LakehouseError: when the brokers refuse or do not answer.
    """
    try:
        known = admin.list_topics(timeout=TIMEOUT_SECONDS).topics
    except KafkaException as error:
        raise LakehouseError(f"Kafka does not say what topics there are: {admin.explain(error)}") from None
    sizes = {name: len(known[name].partitions) for name in sorted(known) if not name.startswith("__")}
    configs = read_configs(admin, list(sizes))
    return {name: Found(size, configs[name]) for name, size in sizes.items()}


def read_configs(admin: KafkaAdmin, topics: Sequence[str]) -> dict[str, dict[str, str]]:
    """The settings of topics that exist.

    Raises:
        LakehouseError: when the brokers refuse or do not answer.
    """
    if not topics:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
    try:
        asked = admin.describe_configs(resources, request_timeout=TIMEOUT_SECONDS)
        configs = {resource.name: future.result() for resource, future in asked.items()}
    except KafkaException as error:
        raise LakehouseError(f"Kafka does not say how its topics are set: {admin.explain(error)}") from None
    return {topic: {name: str(entry.value) for name, entry in config.items()} for topic, config in configs.items()}


def plan(topics: Iterable[Topic], found: Mapping[str, Found]) -> list[Change]:
    """What differs, topic by topic, in the order of the topics."""
    changes = []
    for topic in topics:
        known = found.get(topic.name)
        if known is None:
            changes.append(Change(topic, "topic", None, f"{topic.partitions} partitions"))
            continue
        wanted = {PARTITIONS: str(topic.partitions), **topic_config(topic)}
        has = {PARTITIONS: str(known.partitions), **known.config}
        changes += [Change(topic, what, has[what], value) for what, value in wanted.items() if has[what] != value]
    return changes


def apply(admin: KafkaAdmin, changes: Sequence[Change]) -> None:
    """Make topics as they should be, but for what would make them smaller.

    Raises:
        LakehouseError: when the brokers refuse or do not answer; the changes before that one are made.
    """
    for change in changes:
        if change.is_kept:
            continue
        topic = change.topic
        if change.what == "topic":
            ensure_topic(admin, topic)
            continue
        try:
            if change.what == PARTITIONS:
                asked: dict[Any, Any] = admin.create_partitions([NewPartitions(topic.name, topic.partitions)])
            else:
                entry = ConfigEntry(change.what, change.wanted, incremental_operation=AlterConfigOpType.SET)
                resource = ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=[entry])
                asked = admin.incremental_alter_configs([resource], request_timeout=TIMEOUT_SECONDS)
            for future in asked.values():
                future.result()
        except KafkaException as error:
            raise LakehouseError(f"{topic.name}: cannot change {change.what}: {admin.explain(error)}") from None


def read(
    consumer: KafkaConsumer, topic: str, state: TopicState, count: int, *, start: tuple[int, int] | None = None
) -> list[Record]:
    """Committed records of a topic, in the order of their time, partition and offset.

    Args:
        consumer: Of committed records.
        topic: Its name.
        state: Its bounds.
        count: How many at most.
        start: Partition and offset of the first; without, the newest of all partitions are read.

    Raises:
        LakehouseError: when the brokers refuse or do not answer.
    """
    if start is None:
        places = {id_: max(bounds.low, bounds.end - count) for id_, bounds in state.partitions.items()}
    else:
        partition, offset = start
        places = {partition: max(state.partitions[partition].low, offset)}
    # At the end of a partition, or behind it, there is nothing to wait for.
    places = {id_: place for id_, place in places.items() if place < state.partitions[id_].end}
    found: list[Record] = []
    for message in committed(consumer, topic, places):
        found.append(_record(message))
        if start and len(found) == count:
            break
    found.sort(key=lambda record: (record.timestamp, record.partition, record.offset))
    return found if start else found[-count:]


def _record(message: Message) -> Record:
    return Record(
        message.partition() or 0,
        message.offset() or 0,
        sent_at(message),
        message.key(),
        headers_of(message),
        message.value(),
    )
