"""The HTTP service of the players, on real servers, for the tests of several files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import requests
from kafka import KafkaConsumer

from lakehouse.stack import down, up
from lakehouse.stack.api import Api
from lakehouse_tests.conftest import Stack
from lakehouse_tests.topics import records_of

TOPIC = "player.events.raw"


def event(**changes: Any) -> dict[str, Any]:
    good = {"event_type": "player_score", "player_id": f"p-{uuid4()}", "game_id": "g", "data": {"score": 7}}
    return good | {"timestamp": datetime.now(UTC).isoformat()} | changes


@dataclass(frozen=True)
class Service:
    """The service, and what is on its topic."""

    stack: Stack
    address: str

    def post(self, path: str, body: Any, **more: Any) -> requests.Response:
        return requests.post(f"{self.address}/api/v1/{path}", json=body, timeout=30, **more)

    def on_topic(self) -> dict[str, list[Any]]:
        """All records, by the event id that their headers tell."""
        found: dict[str, list[Any]] = {}
        brokers = self.stack.settings.kafka_brokers
        with closing(KafkaConsumer(bootstrap_servers=brokers, enable_auto_commit=False)) as consumer:
            for record in records_of(consumer, TOPIC):
                found.setdefault(dict(record.headers or ()).get("event_id", b"").decode(), []).append(record)
        return found

    def pid(self) -> int:
        return self.stack.pids("api")[0]


@pytest.fixture(scope="module")
def service(stack: Stack) -> Iterator[Service]:
    up(stack.settings, servers=["api"])
    try:
        yield Service(stack, Api().address(stack.settings))
    finally:
        down(stack.settings, ["api"])
