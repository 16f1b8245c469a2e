"""The always-on job as tests see it: what they send to its topic, and what comes of each record.

What was sent is read by a client that is not the product's, and what came of it by whatever the test reads tables with.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from kafka import KafkaConsumer, KafkaProducer

from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.adapters.kafka.resource import KafkaResource
from lakehouse.audit import run_audit
from lakehouse.domains.conversions.automation import QUEUE as QUEUE_FEED
from lakehouse.domains.conversions.automation import conversions_stream
from lakehouse.domains.disorder import Message, Shares
from lakehouse.ledger.account import Account
from lakehouse.naming import CONVERSION_EVENTS, DUPLICATES, TableName
from lakehouse.orchestration.landing import land_queue
from lakehouse.orchestration.streams import TROUBLE_TAG
from lakehouse.settings import Settings
from lakehouse_tests.topics import records_of

TOPIC, QUEUE = "roman-numeral-events", "roman-numeral-events-dlq"
DISORDER = Shares(late=0.02, duplicate=0.02, malformed=0.02)

Coordinate = tuple[int, int]
"""Partition and offset."""
Reader = Callable[[TableName, Sequence[str]], Sequence[Sequence[Any]]]
"""Reads columns of a table, all rows."""


@dataclass(frozen=True)
class Record:
    """A record as the brokers have it."""

    key: bytes | None
    value: bytes | None
    headers: dict[str, str]


class Stream:
    """The topic, and what came of it."""

    def __init__(self, settings: Settings, read: Reader, *, look_after: Callable[[], object] = lambda: None) -> None:
        self.settings, self._read = settings, read
        self._look_after = look_after
        """What is done about the stream again and again while it is waited for."""
        # Kept for all tests: a client that is closed while it still opens a connection leaves the socket open.
        self.producer = KafkaProducer(bootstrap_servers=settings.kafka_brokers, acks="all", linger_ms=5)
        self.consumer = KafkaConsumer(bootstrap_servers=settings.kafka_brokers, enable_auto_commit=False)

    def close(self) -> None:
        self.producer.close()
        self.consumer.close()

    def send(self, messages: list[Message], partition: int | None = None) -> None:
        sent = [self.producer.send(TOPIC, key=key, value=value, partition=partition) for key, value in messages]
        self.producer.flush(timeout=60)
        for future in sent:
            future.get(timeout=60)

    def topic(self, name: str) -> dict[Coordinate, Record]:
        found: dict[Coordinate, Record] = {}
        for record in records_of(self.consumer, name):
            headers = {key: value.decode() for key, value in record.headers}
            found[record.partition, record.offset] = Record(record.key, record.value, headers)
        return found

    def refused(self) -> dict[Coordinate, Record]:
        """By the coordinate of the record itself: the queue may hold it twice."""
        queue = self.topic(QUEUE).values()
        return {(int(r.headers["kafka_partition"]), int(r.headers["kafka_offset"])): r for r in queue}

    def all_rows(self) -> list[dict[str, Any]]:
        columns = (
            "kafka_partition", "kafka_offset", "event_id", "event_time", "event_type", "user_id", "input_number",
            "range_max", "response_time_nanos", "raw_payload", "is_late_arrival", "is_beyond_lateness",
        )  # fmt: skip
        return [dict(zip(columns, row, strict=True)) for row in self._read(CONVERSION_EVENTS, columns)]

    def rows(self) -> dict[Coordinate, dict[str, Any]]:
        return by_coordinate(self.all_rows())

    def all_duplicates(self) -> list[tuple[Coordinate, str]]:
        columns = ("kafka_topic", "kafka_partition", "kafka_offset", "event_id")
        found = self._read(DUPLICATES, columns)
        return [((partition, offset), event_id) for topic, partition, offset, event_id in found if topic == TOPIC]

    def duplicates(self) -> dict[Coordinate, str]:
        return dict(self.all_duplicates())

    def landed(self) -> int:
        """How many records are somewhere."""
        self._look_after()
        tables = (CONVERSION_EVENTS, DUPLICATES)
        return sum(len(self._read(table, ["kafka_offset"])) for table in tables) + len(self.refused())

    def until_landed(self) -> dict[Coordinate, Record]:
        """Wait until as much has come out as went in, then hold every record against where it is."""
        sent = self.topic(TOPIC)
        eventually(lambda: self.landed() >= len(sent))
        all_rows, all_duplicates, refused = self.all_rows(), self.all_duplicates(), self.refused()
        rows, twice = by_coordinate(all_rows), dict(all_duplicates)
        assert len(all_rows) == len(rows), "a coordinate is twice in bronze"
        assert len(all_duplicates) == len(twice), "a coordinate is twice among the duplicates"
        assert sorted([*rows, *twice, *refused]) == sorted(sent), "every record is in exactly one place"
        ids = {row["event_id"] for row in rows.values()}
        assert len(ids) == len(rows), "an event id is twice in bronze"
        assert set(twice.values()) <= ids
        for coordinate, row in rows.items():
            assert row["raw_payload"].encode() == sent[coordinate].value
            assert fields(row["raw_payload"]) == {name: row[name] for name in FIELDS}
        for coordinate, letter in refused.items():
            assert letter.value == sent[coordinate].value
            assert letter.headers["error_type"]
            assert letter.headers["kafka_topic"] == TOPIC
        return sent

    def land_queue(self) -> int:
        """Land what waits in the queue, as Dagster does; returns how many letters it was."""
        return sum(commit.dead_letters for commit in land_queue(QUEUE_FEED, KafkaResource(), IcebergResource(), "run"))

    def accounts(self) -> list[Account]:
        """What the audit says of the topic and its queue."""
        found = run_audit(self.settings).accounts
        return [account for account in found if account.source in (TOPIC, QUEUE, str(CONVERSION_EVENTS))]


def by_coordinate(rows: list[dict[str, Any]]) -> dict[Coordinate, dict[str, Any]]:
    return {(row["kafka_partition"], row["kafka_offset"]): row for row in rows}


FIELDS = ("event_id", "event_time", "event_type", "user_id", "input_number", "range_max", "response_time_nanos")


def fields(payload: str) -> dict[str, Any]:
    """Some fields of an event in either spelling, read by other means than the product's."""
    event = json.loads(payload)
    found: dict[str, Any] = {}
    for name in FIELDS:
        first, *others = name.split("_")
        value = event.get(name, event.get(first + "".join(word.title() for word in others)))
        found[name] = None if value == "" else value
    found["event_time"] = moment(found["event_time"])
    found["user_id"] = None if found["user_id"] is None else str(found["user_id"])
    return found


def moment(at: Any) -> datetime:
    if isinstance(at, int):
        return datetime.fromtimestamp(at / 1000, UTC)
    found = datetime.fromisoformat(at)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def eventually(is_so: Callable[[], bool], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(1)


def tick(cursor: str | None = None) -> dg.SensorResult:
    """One look of the sensor that watches the stream."""
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"iceberg": IcebergResource()}, sensor_name="conversions_stream"
        )
        result = conversions_stream.sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def bring_back() -> list[str]:
    """One look of Dagster at the stream, and what it does about one that does not run; returns what was wrong."""
    troubles = [request.tags[TROUBLE_TAG] for request in tick().run_requests or []]
    if troubles:
        start, _ = conversions_stream.jobs
        start.execute_in_process(raise_on_error=False)  # what fails is asked for again
    return troubles
