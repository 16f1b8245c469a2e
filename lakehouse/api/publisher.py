"""Handing messages to the brokers from an event loop, and waiting until all replicas have them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Message

from lakehouse.adapters.kafka.client import open_producer

if TYPE_CHECKING:
    from lakehouse.settings import Settings

LINGER_MS = 3
"""How long a message waits for others: most of the time that a single event takes."""
DELIVERY_SECONDS = 10
"""After so long without an answer of the brokers a message counts as not taken."""
MAX_WAITING = 50_000
"""Messages that wait for the brokers at a time."""
POLL_SECONDS = 0.1

Header = tuple[str, str | bytes | None]
Sendable = tuple[bytes, bytes, list[Header]]
"""Key, value, headers."""


class Unavailable(Exception):
    """The brokers did not take messages, or not all of them; the text says why."""


class _Delivery:
    """Messages that are waited for together."""

    __slots__ = ("error", "future", "waiting")

    def __init__(self, count: int, future: asyncio.Future[None]) -> None:
        self.waiting, self.future = count, future
        self.error: KafkaError | None = None

    def settle(self) -> None:
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(Unavailable(self.error.str()))


class Publisher:
    """A producer for one event loop. Callbacks come in a thread of their own, and are passed on together."""

    def __init__(self, settings: Settings, topic: str) -> None:
        """Connect in the background."""
        self._topic = topic
        more = {"linger.ms": LINGER_MS, "delivery.timeout.ms": DELIVERY_SECONDS * 1000}
        self._producer = open_producer(settings, more)
        self._loop = asyncio.get_running_loop()
        self._settled: list[_Delivery] = []
        self._is_open = True
        self._poller = threading.Thread(target=self._poll, name="kafka-poll", daemon=True)
        self._poller.start()

    async def publish(self, messages: Sequence[Sendable]) -> None:
        """Send messages, and return when all replicas have all of them.

        Raises:
            Unavailable: some may not have been taken; the same may be sent again.
        """
        if len(self._producer) + len(messages) > MAX_WAITING:
            raise Unavailable("too many messages wait for the brokers")
        delivery = _Delivery(len(messages), self._loop.create_future())

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                delivery.error = error
            delivery.waiting -= 1
            if not delivery.waiting:
                self._settled.append(delivery)

        produce, topic = self._producer.produce, self._topic
        for key, value, headers in messages:
            try:
                produce(topic, value, key, headers=headers, on_delivery=on_delivery)
            except (BufferError, KafkaException) as error:
                raise Unavailable(str(error)) from None
        await delivery.future

    async def is_ready(self) -> bool:
        """Whether the brokers answer."""
        with suppress(KafkaException):
            await asyncio.to_thread(self._producer.list_topics, self._topic, 2.0)
            return self._producer.refusal is None
        return False

    async def close(self) -> None:
        """Wait for all that was handed over."""
        deadline = self._loop.time() + DELIVERY_SECONDS
        while len(self._producer) and self._loop.time() < deadline:
            await asyncio.sleep(POLL_SECONDS / 2)
        self._is_open = False
        await asyncio.to_thread(self._poller.join)

    def _poll(self) -> None:
        while self._is_open:
            self._producer.poll(POLL_SECONDS)
            if self._settled:
                settled, self._settled = self._settled, []
                self._loop.call_soon_threadsafe(_settle, settled)


def _settle(deliveries: list[_Delivery]) -> None:
    for delivery in deliveries:
        delivery.settle()
