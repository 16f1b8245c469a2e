"""Connections to Kafka and what can be known without reading a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, IsolationLevel, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewTopic

from lakehouse.errors import LakehouseError
from lakehouse.naming import MAX_MESSAGE_BYTES, Topic

if TYPE_CHECKING:
    from lakehouse.settings import Settings

TIMEOUT_SECONDS = 10.0
"""How long a request for metadata may take."""


@dataclass(frozen=True)
class PartitionState:
    """What the broker says about a partition."""

    low: int
    """First offset that is still there."""
    end: int
    """Offset that the next record will get, as a reader of committed records sees it."""


@dataclass(frozen=True)
class TopicState:
    """What the broker says about a topic."""

    topic_id: str
    """Changes when a topic is deleted and created again under its name."""
    partitions: dict[int, PartitionState]


def client_config(settings: Settings) -> dict[str, Any]:
    """What every client of the brokers needs to connect."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_brokers,
        "security.protocol": settings.kafka_security_protocol,
        "client.id": "lakehouse",
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        config |= {
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": settings.kafka_username,
            "sasl.password": settings.kafka_password.get_secret_value(),
        }
    return config


def open_admin(settings: Settings) -> AdminClient:
    """Client for metadata."""
    return AdminClient(client_config(settings), logger=_SILENT)


def open_producer(settings: Settings) -> Producer:
    """Idempotent producer: acknowledged means on all replicas in sync, once and in order."""
    return Producer(
        {
            **client_config(settings),
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 20,
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "queue.buffering.max.kbytes": 256 * 1024,
        },
        logger=_SILENT,
    )


def open_consumer(settings: Settings) -> Consumer:
    """Consumer of committed records that never moves by itself: no reset, no automatic commit."""
    return Consumer(
        {
            **client_config(settings),
            "group.id": settings.kafka_group_id,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            # What is fetched ahead is memory: two answers for each partition. A larger record still comes, alone.
            "fetch.message.max.bytes": MAX_MESSAGE_BYTES // 4,
            "fetch.max.bytes": MAX_MESSAGE_BYTES,
            "receive.message.max.bytes": 8 * MAX_MESSAGE_BYTES,
            "queued.max.messages.kbytes": 16 * 1024,
        },
        logger=_SILENT,
    )


def describe_topic(admin: AdminClient, topic: str) -> TopicState | None:
    """Identity of a topic and the bounds of its partitions; None when it does not exist.

    Raises:
        LakehouseError: when the brokers do not answer.
    """
    try:
        return _describe_topic(admin, topic)
    except KafkaException as error:
        if error.args[0].name() == "UNKNOWN_TOPIC_OR_PART":
            return None
        raise LakehouseError(f"Kafka does not answer for topic {topic}: {error.args[0].str()}") from None


def _describe_topic(admin: AdminClient, topic: str) -> TopicState:
    futures = admin.describe_topics(TopicCollection([topic]), request_timeout=TIMEOUT_SECONDS)
    description = futures[topic].result()
    ids = [partition.id for partition in description.partitions]
    bounds = []
    for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):  # type: ignore[no-untyped-call]
        requests = {TopicPartition(topic, id_): spec for id_ in ids}
        results = admin.list_offsets(
            requests, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT_SECONDS
        )
        bounds.append({partition.partition: future.result().offset for partition, future in results.items()})
    return TopicState(str(description.topic_id), {id_: PartitionState(bounds[0][id_], bounds[1][id_]) for id_ in ids})


def ensure_topic(admin: AdminClient, topic: Topic, *, name: str | None = None, replicas: int = -1) -> None:
    """Create a topic where it is missing. An existing one is left as it is.

    Raises:
        LakehouseError: when the brokers refuse or do not answer.
    """
    new = NewTopic(
        name or topic.name,
        num_partitions=topic.partitions,
        replication_factor=replicas,
        config={
            "retention.ms": str(topic.retention_hours * 3_600_000),
            "max.message.bytes": str(MAX_MESSAGE_BYTES),
        },
    )
    try:
        for future in admin.create_topics([new], request_timeout=TIMEOUT_SECONDS).values():
            future.result()
    except KafkaException as error:
        if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
            raise LakehouseError(f"cannot create topic {new.topic}: {error.args[0].str()}") from None


def _make_silent() -> Any:
    import logging

    logger = logging.getLogger("lakehouse.kafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


_SILENT = _make_silent()
"""librdkafka would write its connection retries to the terminal; we report what matters ourselves."""
