"""What players did, counted by Flink, served by PostgreSQL, Redis and HTTP: held against a recount in plain Python."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import requests
from kafka import KafkaConsumer, KafkaProducer
from pyiceberg.exceptions import CommitFailedException
from redis import Redis

from lakehouse import stream
from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.domains.disorder import Shares
from lakehouse.domains.players import agreement, statistics
from lakehouse.domains.players.cache import Cache
from lakehouse.domains.players.contract import MOST_TYPES
from lakehouse.domains.players.corrections import Corrected, correct
from lakehouse.domains.players.freshness import overdue
from lakehouse.domains.players.rebuild import rebuild
from lakehouse.domains.players.source import player_events
from lakehouse.domains.players.stream import PIPELINE
from lakehouse.naming import PLAYER_EVENTS
from lakehouse.settings import Settings, load
from lakehouse.stack.api import Api
from lakehouse_tests.catalogs import rows_of
from lakehouse_tests.home import Home, open_home
from lakehouse_tests.stores import (
    Event,
    Scores,
    Stores,
    Totals,
    begin,
    count_scores,
    count_totals,
    open_database,
    ranked,
    told_places,
)
from lakehouse_tests.streams import eventually
from lakehouse_tests.topics import records_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

TOPIC = "player.events.raw"
SERVED_SECONDS = "lakehouse.domains.players.lake.SERVED_SECONDS"
"""How long a comparison waits for PostgreSQL."""
TWICE, OTHER, THIRD, GAME = "twice", "other-of-twice", "third-of-twice", "game-of-twice"
"""Somebody, one of whose events came again after days, also as somebody else's."""
PLAYER = "player-"
"""How the ids of these players begin; other tests have others."""
BREAKS = (
    b'{"event_id": ',
    b"\xff\xfe",
    b'{"event_id":"x","event_type":"jump","player_id":"p","game_id":"g"}',
    b"7",
    None,
)


@dataclass
class Recount:
    """What every store should say, counted event by event."""

    events: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, value: bytes) -> None:
        event = json.loads(value)
        self.events.setdefault(event["event_id"], event)

    def told(self) -> Iterator[Event]:
        for event in self.events.values():
            score = event["data"]["score"] if event["event_type"] == "player_score" else None
            at = datetime.fromisoformat(event["timestamp"])
            yield Event(event["player_id"], event["game_id"], event["event_type"], at, score)

    def totals(self) -> Totals:
        return count_totals(self.told())

    def scores(self) -> Scores:
        return count_scores(self.told())


class Serving(Stores):
    """The servers, what was sent, and what they say."""

    def __init__(self, home: Home, settings: Settings) -> None:
        super().__init__(settings)
        self.home, self.recount = home, Recount()

    def send(self, count: int, *, seed: int, days: float, end: datetime | None = None) -> None:
        shares = Shares(late=0.02, duplicate=0.03)
        messages = list(player_events(count, seed=seed, days=days, shares=shares, end=end))
        self.produce(*((TOPIC, key, value) for key, value in messages))
        for _, value in messages:
            assert value
            self.recount.add(value)

    def produce(self, *messages: tuple[str, bytes | None, bytes | None]) -> None:
        """Topic, key and value of each. The client is not kept: one that loses its broker leaves sockets open."""
        with closing(KafkaProducer(bootstrap_servers=self.settings.kafka_brokers, acks="all", linger_ms=5)) as producer:
            waiting = [producer.send(topic, key=key, value=value) for topic, key, value in messages]
            producer.flush(timeout=120)
            for future in waiting:
                future.get(timeout=120)

    def until_served(self, seconds: float = 180) -> None:
        """Wait until PostgreSQL counts as many events as were sent."""
        totals = self.recount.totals()
        eventually(lambda: self.counted(totals) == len(self.recount.events), seconds)

    def until_in_bronze(self) -> None:
        """Wait until Flink has committed all that was sent."""

        def is_landed() -> bool:
            return {id_ for (id_,) in rows_of(self.settings, PLAYER_EVENTS, ["event_id"])} >= self.recount.events.keys()

        eventually(is_landed)

    def check(self) -> None:
        """Hold every store against the recount."""
        self.until_served()
        totals, scores = self.recount.totals(), self.recount.scores()
        eventually(lambda: self.has_scores(scores), 60)
        eventually(lambda: self.is_cached(totals), 60)
        self.check_totals(totals)
        self.check_boards(scores)

    def is_cached(self, totals: Totals) -> bool:
        cached = self.cached_totals()
        return all(cached.get(player) == told for player, told in totals.items())

    def check_topic(self) -> None:
        """Hold the newest message of each key against the recount."""
        told = self.topic("player.statistics")
        for player, (total, *_) in self.recount.totals().items():
            assert told[player.encode()]["total_events"] == total
        told = self.topic("game.leaderboards")
        names = ("game_id", "period", "period_start", "player_id")
        for (game, period, start), board in self.recount.scores().items():
            for player, score in board.items():
                key = json.dumps(
                    dict(zip(names, (game, period, str(start), player), strict=True)), separators=(",", ":")
                )
                assert told[key.encode()]["score"] == score

    def topic(self, name: str) -> dict[bytes, dict[str, Any]]:
        """The newest message of each key; none is without a value."""
        with closing(
            KafkaConsumer(bootstrap_servers=self.settings.kafka_brokers, enable_auto_commit=False)
        ) as consumer:
            return {record.key: json.loads(record.value) for record in records_of(consumer, name)}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """On servers of its own, for it kills them, and nobody else's events are in its stores."""
    with open_home(tmp_path_factory.mktemp("serving") / "home") as home:
        home.environment |= {"LAKEHOUSE_CHECKPOINT_SEC": "2", "LAKEHOUSE_STREAM_RESTART_SEC": "3"}
        home.up("flink", "sink", "api")
        with home.as_environment():
            settings = load()
            for pipeline in (PIPELINE, statistics.PIPELINE):
                stream.start(settings, pipeline)
            found = Serving(home, settings)
            found.send(20_000, seed=1, days=12)
            found.produce(*((TOPIC, b"broken", value) for value in BREAKS))
            yield found
            found.close()


def test_every_store_says_what_a_recount_says(serving: Serving) -> None:
    serving.check()


def test_events_are_there_once_for_the_days_that_are_kept(serving: Serving) -> None:
    serving.until_served()
    columns = ("event_id", "event_time", "event_type", "player_id", "game_id", "data", "score")
    wanted = {
        event["event_id"]: (
            *(event["event_id"], datetime.fromisoformat(event["timestamp"]), event["event_type"]),
            *(event["player_id"], event["game_id"], event["data"], event["data"].get("score")),
        )
        for event in serving.recount.events.values()
    }

    def rows() -> list[tuple[Any, ...]]:
        return serving.sql(f"select {', '.join(columns)} from players.events where player_id like %s", f"{PLAYER}%")

    eventually(lambda: len(rows()) >= len(wanted), 60)
    found = rows()
    assert len(found) == len(wanted)
    assert {row[0]: row for row in found} == wanted


def test_what_was_refused_is_there_with_its_exact_bytes(serving: Serving) -> None:
    serving.until_served()
    question = "select original_payload, original_event, error_type, consumer_service from players.dlq_events"

    def refused() -> dict[bytes | None, tuple[Any, ...]]:
        return {payload and bytes(payload): tuple(told) for payload, *told in serving.sql(question)}

    eventually(lambda: set(BREAKS) <= set(refused()), 60)
    for payload, (event, reason, service) in refused().items():
        if payload in BREAKS:
            assert event == (json.loads(payload) if payload in (BREAKS[2], BREAKS[3]) else None)
            assert reason
            assert service


def test_types_without_end_make_no_message_without_end(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    serving.check()
    who, now = "of-many-types", datetime.now(UTC)

    def send(first: int, end: int) -> None:
        fields = {"player_id": who, "game_id": "g", "timestamp": now.isoformat(), "data": {}}
        events = [
            fields | {"event_id": f"{who}-{number}", "event_type": f"type-{number}"} for number in range(first, end)
        ]
        serving.produce(*((TOPIC, who.encode(), json.dumps(event).encode()) for event in events))

    def told() -> tuple[tuple[Any, ...] | None, ...]:
        return serving.served_totals().get(who), serving.cached_totals().get(who)

    each = {f"type-{number}": 1 for number in range(MOST_TYPES)}
    send(0, MOST_TYPES)
    eventually(lambda: told() == ((MOST_TYPES, each, now, now),) * 2, 60)
    send(MOST_TYPES, MOST_TYPES + 20)
    eventually(lambda: told() == ((MOST_TYPES + 20, {}, now, now),) * 2, 60)
    answer = requests.get(f"{Api().address(serving.settings)}/api/v1/players/{who}/statistics", timeout=15).json()
    assert (answer["total_events"], answer["event_breakdown"]) == (MOST_TYPES + 20, {})
    monkeypatch.setattr(SERVED_SECONDS, 1.0)
    eventually(lambda: agreement.compare(serving.settings).differing == [], 60)


def test_a_redis_that_hangs_is_told_soon(serving: Serving) -> None:
    url = f"{Api().address(serving.settings)}/api/v1/players/nobody/statistics"
    redis = dict(serving.home.programs())["redis"]
    redis.suspend()
    try:
        answer = requests.get(url, timeout=15)
    finally:
        redis.resume()
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
    assert requests.get(url, timeout=15).status_code == 404


def test_http_tells_ranks_and_neighbours(serving: Serving) -> None:
    serving.check()
    address = Api().address(serving.settings)
    today, chance = datetime.now(UTC).date(), random.Random(3)
    scores = serving.recount.scores()
    game = max((key for key in scores if key[1] == "alltime"), key=lambda key: len(scores[key]))[0]
    for period in ("daily", "weekly", "alltime"):
        board = ranked(scores.get((game, period, begin(period, today)), {}))
        url = f"{address}/api/v1/games/{game}/leaderboards/{period}"
        for limit in (1, 7, 100):
            assert places(requests.get(url, {"limit": limit}, timeout=10)) == board[:limit]
        for rank, player, _ in chance.sample(board, min(20, len(board))):
            found = places(requests.get(f"{url}?limit=5&around={player}", timeout=10))
            first = max(0, rank - 1 - 2)
            assert found == board[first : first + 5]
    player, (count, kinds, first_at, last_at) = chance.choice(sorted(serving.recount.totals().items()))
    told = requests.get(f"{address}/api/v1/players/{player}/statistics", timeout=10).json()
    assert (told["total_events"], told["event_breakdown"]) == (count, kinds)
    times = (datetime.fromisoformat(told[name]) for name in ("first_event_at", "last_event_at"))
    assert tuple(times) == (first_at, last_at)


def places(answer: requests.Response) -> list[tuple[int, str, int]]:
    assert answer.status_code == 200, answer.text
    return told_places(answer.json())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("players/nobody/statistics", 404),
        ("games/nothing/leaderboards/daily", 200),
        ("games/nothing/leaderboards/daily?around=nobody", 404),
        ("games/g/leaderboards/yearly", 404),
        ("games/g/leaderboards/daily?limit=0", 400),
        ("games/g/leaderboards/daily?limit=101", 400),
        ("games/g/leaderboards/daily?limit=x", 400),
        ("games/%2F..%2F/leaderboards/daily", 200),
        ("games/%00/leaderboards/daily", 400),
    ],
)
def test_what_is_not_there_is_told(serving: Serving, path: str, status: int) -> None:
    answer = requests.get(f"{Api().address(serving.settings)}/api/v1/{path}", timeout=10)
    assert answer.status_code == status
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"


def test_boards_are_put_away_by_the_clock(serving: Serving) -> None:
    serving.check()
    settings, now = serving.settings, datetime.now(UTC)
    scores = serving.recount.scores()
    password = settings.redis_password.get_secret_value()
    with (
        Redis(port=settings.redis_port, password=password, db=1, decode_responses=True) as redis,
        open_database(settings) as connection,
    ):
        connection.autocommit = False
        cache = Cache(redis)
        # As it was a week ago, when boards of days since then were those of days to come.
        with connection:
            cache.rebuild(connection, 1, now - timedelta(days=7))
        for days in range(6, -1, -1):
            cache.turn(connection, now - timedelta(days=days))
        today = now.date()
        for (game, period, start), board in scores.items():
            if start > today - timedelta(days=7):
                current = start == begin(period, today)
                key = f"leaderboard:{game}:{period}" + ("" if current else f":{start}")
                assert dict(redis.zrange(key, 0, -1, withscores=True)) == board, key
                assert (redis.ttl(key) == -1) is current
        # Redis was away when a day ended, and nobody has played since.
        redis.zadd("leaderboard:forgotten:daily", {"somebody": 7})
        with connection:
            cache.rebuild(connection, 1, now)
        assert not redis.exists("leaderboard:forgotten:daily")
        redis.flushdb()


def test_a_store_that_says_something_else_is_named(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    serving.check()
    serving.until_in_bronze()
    monkeypatch.setattr(SERVED_SECONDS, 1.0)
    same = agreement.compare(serving.settings)
    assert same.differing == []
    assert same.players == len(serving.served_totals())
    assert same.scores == sum(map(len, serving.served_scores().values()))
    player, (total, *_) = max(serving.recount.totals().items(), key=lambda item: item[1][0])
    (game, _, _), board = next(item for item in serving.recount.scores().items() if item[0][1] == "alltime")
    other = next(iter(board))
    change = (
        "update players.player_statistics set total_events = total_events + %s, version = version + %s, "
        "updated_at = now() - interval '1 hour' where player_id = %s"
    )
    serving.sql(change, 1, 1, player)
    serving.redis.zincrby(f"leaderboard:{game}:alltime", 5, other)
    try:
        found = {
            (one.what, one.store): (one.said, one.said_otherwise)
            for one in agreement.compare(serving.settings).differing
        }
    finally:
        serving.sql(change, -1, -1, player)
        serving.redis.zincrby(f"leaderboard:{game}:alltime", -5, other)
    assert found == {
        (f"total of {player}", "lake"): (total, total + 1),
        (f"total of {player}", "Redis"): (total, total + 1),
        (f"{other} on leaderboard:{game}:alltime", "Redis"): (board[other] + 5, board[other]),
    }


def test_what_came_again_after_days_is_told_once_when_it_was_corrected(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day later the job knows an event id no more: bronze has two rows then, and the job tells of one more."""
    monkeypatch.setattr(SERVED_SECONDS, 1.0)
    settings, at = serving.settings, datetime(2026, 11, 23, 12, tzinfo=UTC)
    table = connect(settings).load_table("bronze.player_events")
    schema = table.schema().as_arrow()

    def row(days: int, name: str, score: int | None, player: str = TWICE) -> dict[str, Any]:
        kind = "jump" if score is None else "player_score"
        told = {"event_id": f"{TWICE}-{name}", "event_time": at, "event_type": kind, "player_id": player}
        came = {"kafka_timestamp": at + timedelta(days=days), "ingested_at": at}
        return dict.fromkeys(schema.names) | told | came | {"game_id": GAME, "score": score}

    def append(*rows: dict[str, Any]) -> None:
        def is_appended() -> bool:
            table.refresh()
            try:
                table.append(pa.Table.from_pylist(rows, schema))
            except CommitFailedException:  # Flink commits, too
                return False
            return True

        eventually(is_appended, 30)

    append(row(0, "first", 5), row(1, "second", 7), row(2, "first", 5))
    tell_of(serving, TWICE, {"player_score": 3}, score=17, at=at)
    eventually(lambda: serving.served_totals().get(TWICE, (0,))[0] == 3)
    eventually(lambda: serving.served_scores().get((GAME, "alltime", date(1970, 1, 1))) == {TWICE: 17})

    assert correct(settings) == Corrected(1, 3)
    check_twice(serving, count=2, score=12, at=at)
    told = serving.sql("select what, was, becomes from players.corrections order by what")
    wanted = [(f"score of {TWICE}, {GAME}, {period}", 17, 12) for period in ("alltime", "daily", "weekly")]
    assert [(what.rsplit(", ", 1)[0] if was == 17 else what, was, now) for what, was, now in told] == [
        *wanted,
        (f"total of {TWICE}", 3, 2),
    ]
    serving.until_in_bronze()
    assert agreement.compare(settings).differing == []
    assert correct(settings) == Corrected(0, 0)

    tell_of(serving, TWICE, {"player_score": 4}, score=18, at=at)
    eventually(lambda: serving.served_totals()[TWICE][0] == 3)
    eventually(lambda: serving.served_scores()[GAME, "alltime", date(1970, 1, 1)] == {TWICE: 13})
    check_twice(serving, count=3, score=13, at=at)
    # Who plays on is corrected, too, where bronze has less than was counted; others had nothing but what came again.
    append(row(3, "second", 7), row(3, "jump", None, OTHER), row(4, "jump", None))
    append(row(4, "first", 5, OTHER), row(4, "first", 5, THIRD))
    tell_of(serving, TWICE, {"player_score": 5, "jump": 1}, score=25, at=at)
    tell_of(serving, OTHER, {"player_score": 1, "jump": 1}, score=5, at=at)
    tell_of(serving, THIRD, {"player_score": 1}, score=5, at=at)
    board = (GAME, "alltime", date(1970, 1, 1))
    eventually(lambda: serving.served_scores()[board] == {TWICE: 20, OTHER: 5, THIRD: 5})
    eventually(lambda: serving.cached_totals().get(TWICE, (0,))[0] == 5)
    assert correct(settings) == Corrected(3, 9)
    check_twice(serving, count=3, score=13, at=at)
    serving.check_totals({OTHER: (1, {"jump": 1}, at, at), THIRD: (0, {}, at, at)})
    assert agreement.compare(settings).differing == []
    assert correct(settings) == Corrected(0, 0)

    # As if that had not been told: in bronze there are three rows.
    for name in ("player_statistics", "scores"):
        serving.sql(f"delete from players.{name} where player_id = %s", TWICE)
    rebuild(settings)
    check_twice(serving, count=2, score=12, at=at)


def tell_of(serving: Serving, player: str, kinds: dict[str, int], *, score: int, at: datetime) -> None:
    """As the job tells it."""
    count = sum(kinds.values())
    total = {"player_id": player, "total_events": count, "event_breakdown": kinds, "version": count}
    total |= dict.fromkeys(("first_event_at", "last_event_at"), at.isoformat())
    messages = [("player.statistics", player.encode(), json.dumps(total).encode())]
    for period in ("daily", "weekly", "alltime"):
        key = {"game_id": GAME, "period": period, "period_start": str(begin(period, at.date())), "player_id": player}
        value = json.dumps(key | {"score": score, "version": kinds["player_score"]}).encode()
        messages.append(("game.leaderboards", json.dumps(key).encode(), value))
    serving.produce(*messages)


def check_twice(serving: Serving, *, count: int, score: int, at: datetime) -> None:
    totals: Totals = {TWICE: (count, {"player_score": count}, at, at)}
    scores = {(GAME, period, begin(period, at.date())): {TWICE: score} for period in ("daily", "weekly", "alltime")}
    eventually(lambda: serving.is_cached(totals), 30)
    serving.check_totals(totals)
    serving.check_boards(scores)


class Client(threading.Thread):
    """A game backend: it notes what it is about to send, and sends it until it is acknowledged."""

    def __init__(self, address: str, notes: Path) -> None:
        super().__init__()
        self.address, self.notes, self.is_told_to_end = address, notes, threading.Event()
        self.acknowledged: list[str] = []
        self.retries = 0

    def run(self) -> None:
        for number in itertools.count():
            if self.is_told_to_end.is_set():
                return
            events = [json.loads(value) for _, value in player_events(50, seed=1_000 + number, days=2) if value]
            # The service says when it took them.
            values = [json.dumps({n: v for n, v in e.items() if n != "ingested_at"}).encode() for e in events]
            with self.notes.open("ab") as notes:
                notes.writelines(value + b"\n" for value in values)
            self.acknowledged += self.sent(b"\n".join(values))
            time.sleep(0.1)

    def sent(self, body: bytes) -> list[str]:
        while True:
            with contextlib.suppress(requests.RequestException):
                url, kind = f"{self.address}/api/v1/events/batch", {"Content-Type": "application/x-ndjson"}
                answer = requests.post(url, body, headers=kind, timeout=30)
                if answer.status_code == 200:
                    ids: list[str] = answer.json()["event_ids"]
                    return ids
                assert answer.status_code == 503, answer.text
            self.retries += 1
            time.sleep(0.3)


def look_after(serving: Serving) -> None:
    """What Dagster's sensors do."""
    for pipeline in (PIPELINE, statistics.PIPELINE):
        if stream.trouble(serving.settings, pipeline):
            stream.bring_back(serving.settings, pipeline)


def test_each_acknowledged_event_counts_once_everywhere_whatever_is_killed(serving: Serving, tmp_path: Path) -> None:
    client = Client(Api().address(serving.settings), tmp_path / "sent")
    client.start()
    for server in ("sink", "api", "redis", "flink-tasks", "kafka", "postgres", "sink"):
        time.sleep(2)
        assert serving.home.kill(server) == [server]
    serving.redis.flushall()
    time.sleep(4)
    client.is_told_to_end.set()
    client.join(timeout=120)
    assert not client.is_alive()
    noted = client.notes.read_bytes().splitlines()
    assert client.acknowledged == [json.loads(value)["event_id"] for value in noted]
    assert client.retries > 1
    for value in noted:
        serving.recount.add(value)
    totals = serving.recount.totals()

    def is_counted() -> bool:
        look_after(serving)
        return serving.counted(totals) == len(serving.recount.events)

    eventually(is_counted, 240)
    serving.check()
    ((held,),) = serving.sql(
        "select count(distinct event_id) from players.events where event_id = any(%s)", client.acknowledged
    )
    assert held == len(set(client.acknowledged))
    serving.until_in_bronze()
    rows = Counter(id_ for (id_,) in rows_of(serving.settings, PLAYER_EVENTS, ["event_id"]))
    assert {rows[id_] for id_ in client.acknowledged} == {1}


def test_the_job_that_counts_begins_with_bronze_and_goes_on_from_its_savepoint(serving: Serving) -> None:
    pipeline, settings = statistics.PIPELINE, serving.settings
    # It may still be coming back from the kills.
    stream.stop(settings, pipeline)
    shutil.rmtree(settings.home / "flink" / "state" / pipeline.name)
    serving.until_in_bronze()
    serving.send(3_000, seed=7, days=1)
    stream.start(settings, pipeline)
    serving.check()
    serving.check_topic()
    # Five rows of bronze, three of which were corrected before, and one event more.
    event = {
        **{"event_id": f"{TWICE}-third", "event_type": "player_score", "player_id": TWICE, "game_id": GAME},
        **{"timestamp": "2026-11-23T12:00:00Z", "data": {"score": 1}},
    }
    serving.produce((TOPIC, TWICE.encode(), json.dumps(event).encode()))
    eventually(lambda: serving.served_totals()[TWICE][0] == 3)
    eventually(lambda: serving.served_scores()[GAME, "alltime", date(1970, 1, 1)] == {TWICE: 13})

    stream.stop(settings, pipeline)
    forget_snapshots(settings)
    serving.send(3_000, seed=8, days=1)
    assert overdue(settings, 3600) == {}
    assert overdue(settings, 0)[TOPIC] >= 3_000
    stream.start(settings, pipeline)
    serving.check()
    eventually(lambda: overdue(settings, 0) == {}, 60)
    serving.check_topic()


def forget_snapshots(settings: Settings) -> None:
    """Take all but the newest snapshot of bronze out, also the one that the job began with."""
    table = connect(settings).load_table("bronze.player_events")

    def is_forgotten() -> bool:
        table.refresh()
        newest = table.current_snapshot()
        old = [snapshot.snapshot_id for snapshot in table.snapshots() if snapshot != newest]
        try:
            table.maintenance.expire_snapshots().by_ids(old).commit()
        except CommitFailedException:  # Flink commits, too
            return False
        return True

    eventually(is_forgotten, 30)


def test_what_was_served_is_made_again_of_the_lake(serving: Serving) -> None:
    serving.check()
    serving.until_in_bronze()
    totals, scores = serving.served_totals(), serving.served_scores()
    serving.sql("truncate players.player_statistics, players.scores")
    serving.redis.flushall()
    rebuilt = rebuild(serving.settings)
    assert rebuilt.players == len(totals)
    assert rebuilt.scores == sum(map(len, scores.values()))
    serving.check()


def test_a_message_of_somebody_else_is_put_aside_and_costs_only_itself(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of each kind, on each of the topics that the sink reads, in one batch with what is to be taken.

    The last of these tests: the lake knows nothing of what is taken here.
    """
    serving.check()
    mark, now = "of-somebody-else", datetime.now(UTC).isoformat()
    event: dict[str, Any] = {
        "event_id": mark,
        "event_time": now,
        "event_type": "e",
        "player_id": mark,
        "game_id": "g",
        "data": "{}",
    }
    event |= {"kafka_partition": 0, "kafka_offset": 0}
    total = {"player_id": mark, "total_events": 1, "event_breakdown": {"e": 1}, "version": 1}
    total |= dict.fromkeys(("first_event_at", "last_event_at"), now)
    score = {"game_id": mark, "period": "alltime", "period_start": "1970-01-01", "player_id": mark, "score": 7}
    score |= {"version": 1}
    broken: dict[str, list[Any]] = {
        "player.events.processed": [
            *(b"{", b"\xff", b"[]", b"", None),
            *(event | change for change in ({"event_time": "today"}, {"event_time": None}, {"player_id": 7})),
            *(event | change for change in ({"event_id": None}, {"event_id": "a\0b"}, {"event_type": None})),
            event | {"event_time": "9999-12-31T23:59:59Z"},
            b"%b\n%b" % (json.dumps(event).encode(), json.dumps(event).encode()),
        ],
        "player.statistics": [
            *(b"{", None, b"7", b'{"unknown": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"),
            *(total | change for change in ({"total_events": 10**30}, {"player_id": "a\0b"})),
            *(total | {"last_event_at": at} for at in ("2026-01-01T00:00:00", "9999-12-31T23:59:59Z")),
        ],
        "game.leaderboards": [
            b"{",
            None,
            score | {"period": "yearly"},
            score | {"score": 2**63},
            *(score | change for change in ({"version": None}, {"score": None}, {"period_start": "9999-12-31"})),
        ],
        "system.dlq": [b"without headers", None],
    }
    messages = [
        (
            topic,
            f"{mark}-{number}".encode(),
            value if value is None or isinstance(value, bytes) else json.dumps(value).encode(),
        )
        for topic, values in broken.items()
        for number, value in enumerate(values)
    ]
    good = [("player.events.processed", event), ("player.statistics", total), ("game.leaderboards", score)]
    wanted = Counter((topic, value) for topic, _, value in messages)
    messages += [(topic, mark.encode(), json.dumps(value).encode()) for topic, value in good]
    # An older total of the same player, under another key.
    messages.append(("player.statistics", b"other", json.dumps(total | {"version": 0, "total_events": 9}).encode()))
    random.Random(5).shuffle(messages)
    # What nobody could read is refused by the stream, however deep it is nested.
    deep = b"[" * 100_000
    serving.produce(*messages, (TOPIC, b"deep", deep))
    question = "select origin, original_payload from players.dlq_events where consumer_service = 'lakehouse sink'"

    def aside() -> Counter[tuple[str, bytes | None]]:
        return Counter((origin.split(":")[0], raw and bytes(raw)) for origin, raw in serving.sql(question))

    eventually(lambda: aside() == wanted, 60)
    eventually(lambda: serving.served_totals().get(mark, (0,))[0] == 1, 60)
    kept = "select original_event, original_payload from players.dlq_events where length(original_payload) = %s"
    eventually(lambda: [(json_, bytes(raw)) for json_, raw in serving.sql(kept, len(deep))] == [(None, deep)], 60)
    assert serving.served_scores()[mark, "alltime", date(1970, 1, 1)] == {mark: 7}
    assert serving.redis.zscore(f"leaderboard:{mark}:alltime", mark) == 7
    assert serving.sql("select event_id from players.events where player_id = %s", mark) == [(mark,)]
    serving.check()
    # The lake knows nothing of these, which is told once they are older than what it may still have to land.
    for table in ("player_statistics", "scores"):
        serving.sql(f"update players.{table} set updated_at = now() - interval '1 hour' where player_id = %s", mark)
    monkeypatch.setattr(SERVED_SECONDS, 1.0)
    serving.until_in_bronze()
    assert {one.what for one in agreement.compare(serving.settings).differing} == {
        f"total of {mark}",
        f"score of {mark}, {mark}, alltime, 1970-01-01",
    }
