"""The peers of the HTTP service, in FastAPI: nothing of `lakehouse` is imported.

Both take the same requests, check the same fields (`event_type`, `player_id`, `game_id`, `timestamp`), complete an
event as the service does, and answer when the brokers have it on all replicas. They do not look into `data` for what
the stream behind the topic would refuse.

- ``usual``: Pydantic, and for each event `produce` and `flush`, in the threads that FastAPI has for handlers that wait.
- ``tuned``: `msgspec` instead of Pydantic, one idempotent producer that gathers messages for as long as the service
  does, and a future a message, which its delivery report fulfils.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

import msgspec
import uvicorn
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, Field

LINGER_MS = 3
BROKERS = {"bootstrap.servers": os.environ.get("BENCH_KAFKA", ""), "acks": "all"}


class Posted(BaseModel):
    """One event, as the usual service takes it."""

    event_type: Annotated[str, Field(min_length=1, max_length=100)]
    player_id: Annotated[str, Field(min_length=1, max_length=100)]
    game_id: Annotated[str, Field(min_length=1, max_length=100)]
    timestamp: datetime
    data: dict[str, Any] = {}
    event_id: UUID = Field(default_factory=uuid4)


def usual(topic: str) -> FastAPI:
    """An event, a flush."""
    app, producer = FastAPI(), Producer(BROKERS)

    def deliver(event: Posted) -> str:
        failures: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        record = event.model_dump(mode="json") | {"ingested_at": datetime.now(UTC).isoformat()}
        producer.produce(topic, json.dumps(record).encode(), event.player_id.encode(), on_delivery=on_delivery)
        if producer.flush(10) or failures:
            raise HTTPException(503, "the brokers did not take the event")
        return str(event.event_id)

    @app.post("/api/v1/events")
    def post_event(event: Posted) -> dict[str, str]:
        return {"status": "success", "event_id": deliver(event)}

    @app.post("/api/v1/events/batch")
    def post_batch(events: list[Posted]) -> dict[str, Any]:
        ids = [deliver(event) for event in events]
        return {"status": "success", "accepted": len(ids), "event_ids": ids}

    return app


Id = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class Event(msgspec.Struct):
    """One event, as the tuned service takes it, and as it is on the topic."""

    event_type: Id
    player_id: Id
    game_id: Id
    timestamp: datetime
    data: dict[str, Any] = {}
    event_id: UUID = msgspec.field(default_factory=uuid4)
    ingested_at: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))


class Deliveries:
    """A producer, and the thread in which its delivery reports come."""

    def __init__(self, topic: str) -> None:
        self._topic, self._loop = topic, asyncio.get_running_loop()
        more = {"enable.idempotence": True, "compression.type": "lz4", "linger.ms": LINGER_MS}
        self._producer = Producer(BROKERS | more)
        threading.Thread(target=self._poll, daemon=True).start()

    async def deliver(self, events: Sequence[Event]) -> None:
        """Return when all replicas have all of the events."""
        try:
            await asyncio.gather(*map(self._produce, events))
        except (BufferError, KafkaException):
            raise HTTPException(503, "the brokers did not take the events") from None

    def _produce(self, event: Event) -> asyncio.Future[None]:
        future = self._loop.create_future()

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            self._loop.call_soon_threadsafe(_settle, future, error)

        value, key = msgspec.json.encode(event), event.player_id.encode()
        self._producer.produce(self._topic, value, key, on_delivery=on_delivery)
        return future

    def _poll(self) -> None:
        while True:
            self._producer.poll(0.1)


def _settle(future: asyncio.Future[None], error: KafkaError | None) -> None:
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(KafkaException(error))


def tuned(topic: str) -> FastAPI:
    """Everything that is usually advised."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.deliveries = Deliveries(topic)
        yield

    app = FastAPI(lifespan=lifespan)
    decode_one, decode_many = (msgspec.json.Decoder(kind).decode for kind in (Event, list[Event]))

    async def taken(request: Request, decode: Callable[[bytes], Any]) -> Any:
        try:
            return decode(await request.body())
        except msgspec.DecodeError as error:
            raise HTTPException(422, str(error)) from None

    @app.post("/api/v1/events")
    async def post_event(request: Request) -> Response:
        event = await taken(request, decode_one)
        await request.app.state.deliveries.deliver([event])
        return _answer({"status": "success", "event_id": event.event_id})

    @app.post("/api/v1/events/batch")
    async def post_batch(request: Request) -> Response:
        events = await taken(request, decode_many)
        await request.app.state.deliveries.deliver(events)
        ids = [event.event_id for event in events]
        return _answer({"status": "success", "accepted": len(ids), "event_ids": ids})

    return app


def _answer(told: object) -> Response:
    return Response(msgspec.json.encode(told), media_type="application/json")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers = {"usual": usual, "tuned": tuned}
    parser.add_argument("peer", choices=peers)
    parser.add_argument("port", type=int)
    parser.add_argument("topic")
    arguments = parser.parse_args()
    uvicorn.run(
        peers[arguments.peer](arguments.topic),
        port=arguments.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=60,
    )
