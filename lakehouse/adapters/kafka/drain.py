"""Reading a topic from given positions until it is empty, in batches of bounded size, bytes and age."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from lakehouse.adapters.batch import RECORDS, Batch, Range
from lakehouse.adapters.kafka.client import TIMEOUT_SECONDS, KafkaConsumer
from lakehouse.errors import LakehouseError, LedgerGapError

MAX_BATCH_BYTES = 16 * 1024 * 1024
"""A batch is closed when its values exceed this, whatever their number: memory stays flat with large records."""

HEADERS = pa.field("headers", pa.map_(pa.string(), pa.binary()))

POLL_RECORDS = 2_000
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Limits:
    """When a batch is closed, and when draining ends."""

    batch_size: int
    flush_interval_sec: float
    idle_sec: float
    max_sec: float


def drain(
    consumer: KafkaConsumer,
    topic: str,
    topic_id: str,
    positions: dict[int, int],
    limits: Limits,
    *,
    with_headers: bool = False,
) -> Iterator[Batch]:
    """Yield the topic's records from ``positions`` on, until none came for a while or time is up.

    On demand the records have their headers too, in one more column, `HEADERS`.

    Nothing is remembered here: what the caller does not commit is read again by the next run.

    Raises:
        LedgerGapError: the broker no longer has a position that was asked for.
        LakehouseError: the brokers do not answer, or refuse the client.
    """
    consumer.assign([TopicPartition(topic, partition, start) for partition, start in positions.items()])
    positions = dict(positions)
    started = last_record = time.monotonic()
    while True:
        records, ends = _read(consumer, limits, with_headers=with_headers)
        for last in records.group_by("partition").aggregate([("offset", "max")]).to_pylist():
            ends[last["partition"]] = max(ends.get(last["partition"], 0), last["offset_max"] + 1)
        ranges = {p: Range(positions[p], end) for p, end in ends.items() if end > positions[p]}
        if ranges:
            positions |= {p: read.end for p, read in ranges.items()}
            yield Batch(topic, topic_id, records, ranges)
        now = time.monotonic()
        if records.num_rows:
            last_record = now
        elif now - last_record > limits.idle_sec:
            # Silence may also mean that the brokers are away: then this says so.
            if _is_drained(consumer, topic, positions):
                return
            last_record = now
        if now - started > limits.max_sec:
            return


@contextmanager
def _no_cycle_search() -> Iterator[None]:
    """Messages refer to nothing, yet the collector would search all that live again and again: a fifth of the read."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read(consumer: KafkaConsumer, limits: Limits, *, with_headers: bool) -> tuple[pa.Table, dict[int, int]]:
    """Records of one batch, and ends of partitions that were reached. The messages they came as are gone then."""
    with _no_cycle_search():
        messages, ends = _collect(consumer, limits)
        return _to_arrow(messages, with_headers=with_headers), ends


def _collect(consumer: KafkaConsumer, limits: Limits) -> tuple[list[Message], dict[int, int]]:
    """Records of one batch, and ends of partitions that were reached."""
    messages: list[Message] = []
    ends: dict[int, int] = {}
    size = 0
    opened = time.monotonic()
    while len(messages) < limits.batch_size and size < MAX_BATCH_BYTES:
        polled, reached = poll(consumer, min(POLL_RECORDS, limits.batch_size - len(messages)), POLL_SECONDS)
        ends |= {cast(int, event.partition()): cast(int, event.offset()) for event in reached}
        messages += polled
        size += sum(map(len, polled))
        if time.monotonic() - opened >= (limits.flush_interval_sec if messages else POLL_SECONDS):
            break
    return messages, ends


def poll(consumer: KafkaConsumer, count: int, seconds: float) -> tuple[list[Message], list[Message]]:
    """Records that came within some time, at most so many; and the ends of partitions that were reached.

    Raises:
        LedgerGapError: the broker no longer has a position that was asked for.
        LakehouseError: the brokers refuse the client.
    """
    polled = consumer.consume(count, seconds)
    if consumer.refusal:
        raise LakehouseError(consumer.refusal)
    events = [(message, error) for message in polled if (error := message.error()) is not None]
    if not events:
        return polled, []
    for event, error in events:
        if error.code() != KafkaError._PARTITION_EOF:
            _raise_what_lasts(error, event)
    reached = [event for event, error in events if error.code() == KafkaError._PARTITION_EOF]
    return [message for message in polled if message.error() is None], reached


def _raise_what_lasts(error: KafkaError, message: Message) -> None:
    """Raise what will not pass by itself; a lost connection may."""
    if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
        raise LedgerGapError(
            f"{message.topic()}[{message.partition()}]: the broker no longer has the offset after the ledger's position"
            f" ({error.str()}). `lakehouse audit` shows the gap."
        )
    if error.code() not in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN) and not error.retriable():
        raise LakehouseError(f"{message.topic()}: Kafka refuses: {error.str()}")


def _is_drained(consumer: KafkaConsumer, topic: str, positions: dict[int, int]) -> bool:
    """Whether the brokers have nothing more than what was read."""
    try:
        ends = {
            partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_SECONDS)[1]
            for partition in positions
        }
    except KafkaException as error:
        raise LakehouseError(f"{topic}: Kafka does not answer: {error.args[0].str()}") from None
    return all(ends[partition] <= position for partition, position in positions.items())


def _to_arrow(messages: list[Message], *, with_headers: bool) -> pa.Table:
    """Columns of the records: one pass a column, no object a record."""
    timestamps = pa.array([message.timestamp()[1] for message in messages], pa.timestamp("ms", tz="UTC"))
    columns = [
        pa.array([message.partition() for message in messages], pa.int32()),
        pa.array([message.offset() for message in messages], pa.int64()),
        timestamps.cast(pa.timestamp("us", tz="UTC")),
        pa.array([message.key() for message in messages], pa.binary()),
        pa.array([message.value() for message in messages], pa.binary()),
    ]
    records = pa.table(columns, schema=RECORDS)
    if not with_headers:
        return records
    return records.append_column(HEADERS, pa.array([message.headers() or [] for message in messages], HEADERS.type))
