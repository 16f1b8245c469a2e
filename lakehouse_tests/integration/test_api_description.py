"""The service does what its description says, whoever asks and whatever is sent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from redis import Redis
from schemathesis import Case, CheckFunction
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import negative_data_rejection

from lakehouse.adapters.redis.client import connection_options
from lakehouse.api.keys import create
from lakehouse.api.openapi import EXAMPLE, LINES, document
from lakehouse.api.scope import Scope
from lakehouse.contracts.contract import EARLIEST, LATEST
from lakehouse.domains.players.boards import Period, begin_of, board_key, statistics_key, turned_key
from lakehouse.settings import load
from lakehouse.stack import up
from lakehouse_tests.integration.conftest import Service

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

EXAMPLES = 25
"""Of what is sent to each path, beside what covers each word of its description."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""After it nothing happens: that an event may be an hour ahead no schema can say."""
NOW_MS, LATEST_MS = (int(at.timestamp() * 1000) for at in (NOW, LATEST))

TIMES = st.datetimes(EARLIEST.replace(tzinfo=None), NOW.replace(tzinfo=None), timezones=st.just(UTC))
schemathesis.openapi.format("date-time", TIMES.map(datetime.isoformat))


@schemathesis.serializer(LINES)
def lines(_: schemathesis.SerializationContext, body: Any) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in many(body))


def many(body: Any) -> list[Any]:
    return body if isinstance(body, list) else [body]


def described(*, asks_for_keys: bool) -> BaseSchema:
    """What the service says of itself."""
    config = {
        "seed": 1,
        "generation": {
            "mode": "all",
            "max-examples": EXAMPLES,
            "deterministic": True,
            "database": "none",
            "allow-x00": False,  # names and texts of any depth are without it, which no schema can say
        },
        "analysis": {"constants": {"enabled": False}},
        "checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}},
    }
    found = schemathesis.openapi.from_dict(
        document(asks_for_keys=asks_for_keys), config=schemathesis.Config.from_dict(config)
    )
    # A stream has no end.
    return found.exclude(path_regex="/live$")


class Asked:
    """A service that was asked all kinds of things, and the events that it acknowledged."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._before = counted(service.on_topic())
        self._acknowledged: Counter[tuple[str, bytes]] = Counter()

    def ask(self, case: Case[Any], **more: Any) -> None:
        """Send what was made up, and hold the answer against the description."""
        for one in many(case.body):
            if isinstance(one, dict) and type(at := one.get("timestamp")) is int and NOW_MS < at <= LATEST_MS:
                one["timestamp"] = NOW_MS
        answer = case.call(self.service.address, **more)
        told = answer.json() if case.method == "POST" and answer.status_code == 200 else {}
        # Of a batch the good events are taken, and the others named.
        excluded: list[CheckFunction] = [negative_data_rejection] if told.get("refused") else []
        case.validate_response(answer, excluded_checks=excluded, **more, transport_kwargs=more)
        if told:
            refused = {one["index"] for one in told.get("refused", ())}
            players = [one["player_id"] for index, one in enumerate(many(case.body)) if index not in refused]
            ids = told["event_ids"] if "event_ids" in told else [told["event_id"]]
            self._acknowledged.update(zip(ids, (str(player).encode() for player in players), strict=True))

    def check(self) -> None:
        """Each acknowledged event is on the topic as often as it was acknowledged, and no other is."""
        assert self._acknowledged
        found = self.service.on_topic()
        assert counted(found) - self._before == self._acknowledged
        for event_id, _ in self._acknowledged:
            for record in found[event_id]:
                told = json.loads(record.value)
                assert dict(record.headers) == {name: told[name].encode() for name in ("event_type", "event_id")}


def counted(found: dict[str, list[Any]]) -> Counter[tuple[str, bytes]]:
    """How many records have an event id and a key."""
    return Counter((event_id, record.key) for event_id, records in found.items() for record in records)


@pytest.fixture(scope="module")
def asked(service: Service) -> Iterator[Asked]:
    with Redis(**connection_options(load())) as redis:
        player, game = EXAMPLE["player_id"], EXAMPLE["game_id"]
        at = NOW.isoformat()
        totals = {"total_events": 1, "event_player_score": 1, "first_event": at, "last_event": at}
        redis.hset(statistics_key(player), mapping=totals)
        for period in Period:
            redis.set(turned_key(period), begin_of(period, datetime.now(UTC).date()).isoformat())
            redis.zadd(board_key(game, period), {player: 100})
    found = Asked(service)
    yield found
    found.check()


@described(asks_for_keys=False).parametrize()
def test_it_does_what_its_description_says(case: Case[Any], asked: Asked) -> None:
    asked.ask(case)


@pytest.fixture(scope="module")
def token(asked: Asked) -> Iterator[str]:
    """A key of the same service, which asks for one now."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_API_KEYS_REQUIRED", "true")
        found = create(load(), "described", tuple(Scope))
        up(load(), servers=["api"])
        yield found


@described(asks_for_keys=True).parametrize()
def test_it_does_so_where_keys_are_needed(case: Case[Any], asked: Asked, token: str) -> None:
    asked.ask(case, headers={"Authorization": f"Bearer {token}"})


def test_both_descriptions_are_those_that_were_tried(service: Service, token: str) -> None:
    said = requests.get(f"{service.address}/openapi.json", timeout=30).json()
    assert said == document(asks_for_keys=True)
    assert said != document(asks_for_keys=False)
