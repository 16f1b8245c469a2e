"""Sending messages and knowing that they arrived."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, Message

from lakehouse.adapters.kafka.client import open_producer
from lakehouse.errors import LakehouseError

if TYPE_CHECKING:
    from lakehouse.settings import Settings

FLUSH_SECONDS = 60.0

Sendable = tuple[bytes | None, bytes | None] | tuple[bytes | None, bytes | None, dict[str, str | bytes | None]]


def send(
    settings: Settings,
    topic: str,
    messages: Iterable[Sendable],
    *,
    rate: float | None = None,
    on_sent: Callable[[int], None] = lambda count: None,
) -> int:
    """Send messages and wait until the brokers have them all.

    Args:
        settings: Where the brokers are.
        topic: Name of the topic; it must exist.
        messages: Keys and values; headers where there are any.
        rate: Messages a second at most; as fast as it goes, if not given.
        on_sent: Called now and then with the number of messages handed over so far.

    Returns:
        Number of messages that the brokers acknowledged: all of them.

    Raises:
        LakehouseError: naming the first message that the brokers did not take.
    """
    producer = open_producer(settings)
    failures: list[KafkaError] = []
    acknowledged = 0

    def on_delivery(error: KafkaError | None, _: Message) -> None:
        nonlocal acknowledged
        if error is None:
            acknowledged += 1
        else:
            failures.append(error)

    started = time.monotonic()
    sent = 0
    is_cut_off = False
    for key, value, *headers in messages:
        while not producer.refusal:
            try:
                producer.produce(
                    topic, key=key, value=value, headers=next(iter(headers), None), on_delivery=on_delivery
                )
                break
            except BufferError:
                producer.poll(0.1)
        sent += 1
        if sent % 500 == 0 or rate:
            producer.poll(0)
            on_sent(sent)
        if is_cut_off := bool(failures or producer.refusal):
            break
        if rate and (ahead := sent / rate - (time.monotonic() - started)) > 0:
            time.sleep(ahead)
    deadline = time.monotonic() + FLUSH_SECONDS
    while (waiting := producer.flush(1.0)) and not producer.refusal and time.monotonic() < deadline:
        pass
    on_sent(sent)
    if failures or waiting or is_cut_off:
        told = producer.refusal or (failures[0].str() if failures else None)
        reason = told or f"no answer within {FLUSH_SECONDS:.0f} s"
        raise LakehouseError(f"{topic}: {acknowledged} of {sent} messages were acknowledged: {reason}")
    return acknowledged
