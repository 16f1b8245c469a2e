"""Sending either gets every message acknowledged or says that it did not."""

from collections.abc import Callable
from typing import Any

import pytest

from lakehouse.adapters.kafka import produce
from lakehouse.errors import LakehouseError
from lakehouse.settings import load


class Brokers:
    """Producer whose brokers acknowledge what they get, and refuse the client after a number of messages."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    @property
    def refusal(self) -> str | None:
        return "no TLS connection" if self.taken >= self._limit else None

    def produce(self, topic: str, *, on_delivery: Callable[[Any, Any], None], **_: Any) -> None:
        self.taken += 1
        on_delivery(None, None)

    def poll(self, seconds: float) -> None:
        pass

    def flush(self, seconds: float) -> int:
        return 0


def send(brokers: Brokers, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(produce, "open_producer", lambda settings: brokers)
    return produce.send(load(), "topic", ((b"k", b"v") for _ in range(10)))


def test_all_messages_are_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    assert send(Brokers(1_000), monkeypatch) == 10


def test_a_refusal_in_the_middle_is_an_error_though_what_was_sent_is_acknowledged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(LakehouseError, match="topic: 3 of 3 messages were acknowledged: no TLS connection"):
        send(Brokers(3), monkeypatch)
