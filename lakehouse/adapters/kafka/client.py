"""Connections to Kafka and what can be known without reading a message."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewTopic

from lakehouse.errors import LakehouseError
from lakehouse.naming import FOREVER, MAX_MESSAGE_BYTES, Topic

if TYPE_CHECKING:
    from lakehouse.settings import Settings

TLS_SECONDS = 5.0

PAUSE_SECONDS = 0.2
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


_NO_ACCESS = "Kafka refuses the user or the password (KAFKA_USERNAME, KAFKA_PASSWORD)"
_NO_TLS = "no TLS connection to Kafka can be made (kafka_security_protocol, kafka_ssl_ca)"
_ADVICE = {
    KafkaError._AUTHENTICATION: _NO_ACCESS,
    KafkaError.SASL_AUTHENTICATION_FAILED: _NO_ACCESS,
    KafkaError._SSL: _NO_TLS,
}


class _Refusal:
    """Why the brokers will never let a client in, as far as it has learnt: librdkafka itself tries again for ever."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._brokers = str(config["bootstrap.servers"])
        self._authority = config.get("ssl.ca.location")
        self.reason: str | None = None

    def __call__(self, error: KafkaError) -> None:
        advice = _ADVICE.get(error.code())
        if advice and self.reason is None:
            said = error.str().removeprefix("[thrd:").split("]: ", 1)[-1]
            self.reason = f"{advice}: {self._certificate_problem() or said if advice is _NO_TLS else said}"

    def _certificate_problem(self) -> str | None:
        """What is wrong with the first broker's certificate: librdkafka says only that something is."""
        host, _, port = self._brokers.split(",")[0].rpartition(":")
        context = ssl.create_default_context(cafile=self._authority)
        try:
            with socket.create_connection((host, int(port)), timeout=TLS_SECONDS) as connection:
                context.wrap_socket(connection, server_hostname=host).close()
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
        except (OSError, ValueError):
            return None
        return None


class _Told:
    """A client that knows why it was refused."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Connect in the background."""
        self._refusal = _Refusal(config)
        super().__init__(config | {"error_cb": self._refusal}, logger=_SILENT)  # type: ignore[call-arg]

    @property
    def refusal(self) -> str | None:
        """Why the brokers will never let it in, if they have said so by the last time the client was asked."""
        return self._refusal.reason


class KafkaAdmin(_Told, AdminClient):
    """Client for metadata."""

    def explain(self, error: KafkaException) -> str:
        """The reason of a failed request."""
        self.poll(0)
        return self.refusal or str(error.args[0].str())


class KafkaConsumer(_Told, Consumer):
    """Client that reads."""


class KafkaProducer(_Told, Producer):
    """Client that writes."""


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
    if settings.kafka_ssl_ca:
        config["ssl.ca.location"] = settings.kafka_ssl_ca
    return config


def open_admin(settings: Settings) -> KafkaAdmin:
    """Client for metadata."""
    return KafkaAdmin(client_config(settings))


def open_producer(settings: Settings, more: Mapping[str, Any] | None = None) -> KafkaProducer:
    """Idempotent producer: acknowledged means on all replicas in sync, once and in order.

    Args:
        settings: Where the brokers are.
        more: Settings of librdkafka that are to be others.
    """
    return KafkaProducer(
        {
            **client_config(settings),
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 20,
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "queue.buffering.max.kbytes": 32 * 1024,
            **(more or {}),
        }
    )


def open_consumer(settings: Settings, group_id: str | None = None) -> KafkaConsumer:
    """Consumer of committed records that never moves by itself: no reset, no automatic commit.

    Args:
        settings: Where the brokers are.
        group_id: Group under which lag tools see it; by default that of the micro-batches.
    """
    return KafkaConsumer(
        {
            **client_config(settings),
            "group.id": group_id or settings.kafka_group_id,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            # What is fetched ahead is memory: two answers for each partition. A larger record still comes, alone.
            "fetch.message.max.bytes": MAX_MESSAGE_BYTES // 16,
            "fetch.max.bytes": MAX_MESSAGE_BYTES // 4,
            "receive.message.max.bytes": 8 * MAX_MESSAGE_BYTES,
            "queued.max.messages.kbytes": 16 * 1024,
            # A full queue is looked at again after that long: by default a second, in which it has long run dry.
            "fetch.queue.backoff.ms": 10,
        }
    )


def describe_topic(admin: KafkaAdmin, topic: str) -> TopicState | None:
    """Identity of a topic and the bounds of its partitions; None when it does not exist.

    Raises:
        LakehouseError: when the brokers do not answer.
    """
    return _describe_unless(admin, topic, ("UNKNOWN_TOPIC_OR_PART",))


def await_topic(admin: KafkaAdmin, topic: str) -> TopicState:
    """Like `describe_topic`, of a topic that exists: one that was made just now is not led and known at once.

    Raises:
        LakehouseError: when the brokers do not answer, or do not know of it after a while.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (state := _describe_unless(admin, topic, _NOT_YET)) is None:
        if time.monotonic() > deadline:
            raise LakehouseError(f"the brokers do not know of topic {topic}")
        time.sleep(PAUSE_SECONDS)
    return state


_NOT_YET = (
    *("UNKNOWN_TOPIC_OR_PART", "NOT_LEADER_FOR_PARTITION", "LEADER_NOT_AVAILABLE"),
    *("UNKNOWN_LEADER_EPOCH", "FENCED_LEADER_EPOCH"),
)
"""What is said of a topic that is being made."""


def _describe_unless(admin: KafkaAdmin, topic: str, passing: tuple[str, ...]) -> TopicState | None:
    try:
        return _describe_topic(admin, topic)
    except KafkaException as error:
        if error.args[0].name() in passing:
            return None
        raise LakehouseError(f"Kafka does not answer for topic {topic}: {admin.explain(error)}") from None


def _describe_topic(admin: KafkaAdmin, topic: str) -> TopicState:
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


UNLIMITED = -1
"""Kafka's word for a retention without end."""


def topic_config(topic: Topic) -> dict[str, str]:
    """Settings that a topic should have."""
    is_aging = topic.retention_hours != FOREVER
    policies = ["compact"] * topic.is_compacted + ["delete"] * is_aging
    return {
        "retention.ms": str(topic.retention_hours * 3_600_000 if is_aging else UNLIMITED),
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        "cleanup.policy": ",".join(policies),
        "min.compaction.lag.ms": str(topic.compaction_lag_hours * 3_600_000),
    }


def ensure_topic(admin: KafkaAdmin, topic: Topic, *, name: str | None = None, replicas: int = -1) -> None:
    """Create a topic where it is missing. An existing one is left as it is.

    Raises:
        LakehouseError: when the brokers refuse or do not answer.
    """
    new = NewTopic(
        name or topic.name,
        num_partitions=topic.partitions,
        replication_factor=replicas,
        config=topic_config(topic),
    )
    try:
        for future in admin.create_topics([new], request_timeout=TIMEOUT_SECONDS).values():
            future.result()
    except KafkaException as error:
        if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
            raise LakehouseError(f"cannot create topic {new.topic}: {admin.explain(error)}") from None


def move_group(admin: KafkaAdmin, group: str, topic: str, positions: Mapping[int, int]) -> None:
    """Put a group that has no members at positions of a topic's partitions.

    Raises:
        LakehouseError: when the brokers refuse or do not answer.
    """
    wanted = [TopicPartition(topic, partition, offset) for partition, offset in positions.items()]
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        asked = ConsumerGroupTopicPartitions(group, wanted)
        try:
            moved = admin.alter_consumer_group_offsets([asked], request_timeout=TIMEOUT_SECONDS)[group].result()
            problems = {str(partition.error) for partition in moved.topic_partitions if partition.error}
        except KafkaException as error:
            problems = {admin.explain(error)}
        if not problems:
            return
        # A topic that was made just now, or the first group of all, is not known everywhere at once.
        if time.monotonic() > deadline:
            raise LakehouseError(f"cannot move group {group} on {topic}: {'; '.join(problems)}")
        time.sleep(PAUSE_SECONDS)


def group_positions(admin: KafkaAdmin, group: str, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Where a group says it is in each partition of a topic, as far as it has said so.

    Raises:
        LakehouseError: when the brokers do not answer.
    """
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, partition) for partition in partitions])
    try:
        found = admin.list_consumer_group_offsets([asked], request_timeout=TIMEOUT_SECONDS)[group].result()
    except KafkaException as error:
        raise LakehouseError(f"Kafka does not say where group {group} is: {admin.explain(error)}") from None
    return {place.partition: place.offset for place in found.topic_partitions or () if place.offset >= 0}


def offsets_at(admin: KafkaAdmin, topic: str, partitions: Iterable[int], at: datetime) -> dict[int, int]:
    """First offset of each partition of a topic whose record is not older than a time; none where all are.

    Raises:
        LakehouseError: when the brokers do not answer.
    """
    spec = OffsetSpec.for_timestamp(int(at.timestamp() * 1000))
    asked = {TopicPartition(topic, partition): spec for partition in partitions}
    try:
        results = admin.list_offsets(asked, request_timeout=TIMEOUT_SECONDS)
        found = {place.partition: future.result().offset for place, future in results.items()}
    except KafkaException as error:
        raise LakehouseError(f"Kafka does not answer for topic {topic}: {admin.explain(error)}") from None
    return {partition: offset for partition, offset in found.items() if offset >= 0}


def _make_silent() -> Any:
    import logging

    logger = logging.getLogger("lakehouse.kafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


_SILENT = _make_silent()
"""librdkafka would write its connection retries to the terminal; we report what matters ourselves."""
