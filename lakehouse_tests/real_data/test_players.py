"""Real game events by HTTP and by Kafka, through Flink into bronze and the stores, recomputed in plain Python."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import requests
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from lakehouse import stream
from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.adapters.kafka.resource import KafkaResource
from lakehouse.audit import run_audit
from lakehouse.domains.players.automation import QUEUE
from lakehouse.domains.players.statistics import PIPELINE as STATISTICS
from lakehouse.domains.players.stream import PIPELINE
from lakehouse.orchestration.landing import land_queue
from lakehouse.settings import load
from lakehouse.stack import down, up
from lakehouse.stack.api import Api
from lakehouse_tests.conftest import REAL_DATA, Stack, questions_of_the_readme
from lakehouse_tests.player_marts import Rows, boards, facts, players
from lakehouse_tests.real_data import game_events
from lakehouse_tests.real_data.game_events import Record
from lakehouse_tests.stores import Event, Stores, count_scores, count_totals
from lakehouse_tests.streams import eventually
from lakehouse_tests.topics import ends_of, records_of

pytestmark = [pytest.mark.real_data, pytest.mark.integration, pytest.mark.timeout(900)]

TOPIC, DLQ = "player.events.raw", "system.dlq"
MATCHES = ("7564", "16196")
MANY = 12_000
"""Events of a file, at most."""
BATCH = 1_000
"""Events a request."""

Place = tuple[int, int]


def read(folder: Path) -> tuple[list[Record], list[Record]]:
    """What is posted, with ids as the service asks for, and what another program produces."""
    lila = (game_events.lila_black(file) for file in sorted((folder / "lila_black").glob("events_*.parquet")))
    matches = [game_events.statsbomb(folder / "statsbomb" / f"events_{match}.parquet") for match in MATCHES]
    cookies = game_events.cookie_cats(folder / "cookie_cats.csv.gz")
    posted = [event for events in (*lila, matches[0], cookies) for event in islice(events, MANY)]
    for event in posted:
        event["event_id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, event["event_id"]))
    return posted, list(islice(matches[1], MANY))


def post(address: str, events: list[Record]) -> tuple[Counter[str], list[Record]]:
    """Send events in batches; returns how often each id was acknowledged, and the refused."""
    acknowledged: Counter[str] = Counter()
    refused: list[Record] = []
    for first in range(0, len(events), BATCH):
        batch = events[first : first + BATCH]
        body, kind = "\n".join(map(json.dumps, batch)), {"Content-Type": "application/x-ndjson"}
        answer = requests.post(f"{address}/api/v1/events/batch", body, headers=kind, timeout=60)
        assert answer.status_code == 200, answer.text
        acknowledged.update(answer.json()["event_ids"])
        refused += [batch[one["index"]] for one in answer.json()["refused"]]
    return acknowledged, refused


def on_topic(brokers: str, begins: dict[TopicPartition, int]) -> dict[Place, bytes | None]:
    """What came to the topic since, by where it is."""
    with closing(KafkaConsumer(bootstrap_servers=brokers, enable_auto_commit=False)) as consumer:
        records = records_of(consumer, TOPIC, begins)
        return {(record.partition, record.offset): record.value for record in records}


def ends(brokers: str) -> dict[TopicPartition, int]:
    with closing(KafkaConsumer(bootstrap_servers=brokers, enable_auto_commit=False)) as consumer:
        return ends_of(consumer, TOPIC)


BREAKS = {
    "NULL_VALUE": None,
    "INVALID_JSON": b'{"event_id": ',
    "INVALID_UTF8": b'{"event_id": "\xff"}',
    "MISSING_FIELD": b'{"event_id":"x","event_type":"player_score","player_id":"p","game_id":"g","timestamp":0}',
    "WRONG_TYPE": b'{"event_id":"x","event_type":"jump","player_id":"p","game_id":"g","timestamp":0,"data":"no"}',
}


@dataclass(frozen=True)
class Delivery:
    """What was sent, by where it is in the topic; other tests have sent there, too."""

    stack: Stack
    stores: Stores
    posted: list[Record]
    acknowledged: Counter[str]
    refused_at_once: list[Record]
    """By the service: these were never in the topic."""
    sent: dict[Place, bytes | None]

    def expected(self) -> tuple[dict[Place, Record], set[Place], set[Place]]:
        """Rows, repeats and refused records: of an event id the first in its partition is the row."""
        rows: dict[Place, Record] = {}
        repeats, refused, known = set(), set(), set()
        for place, value in sorted(self.sent.items()):
            try:
                event = json.loads(value or b"")
                is_good = event["player_id"] is not None and isinstance(event["data"], dict)
                is_good &= event["event_type"] != "player_score" or "score" in event["data"]
            except (ValueError, KeyError):
                is_good = False
            if not is_good:
                refused.add(place)
            elif event["event_id"] in known:
                repeats.add(place)
            else:
                known.add(event["event_id"])
                rows[place] = event
        return rows, repeats, refused

    def places(self, table: str) -> list[Place]:
        found = self.stack.sql(
            f"select kafka_partition, kafka_offset from iceberg.bronze.{table} where kafka_topic = ?", TOPIC
        )
        return [(partition, offset) for partition, offset in found if (partition, offset) in self.sent]


@pytest.fixture(scope="module")
def delivery(stack: Stack) -> Iterator[Delivery]:
    """Everything in any order but the repeats of one player's events, some of it broken, landed by the job."""
    chance = random.Random(5)
    posted, produced = read(Path(os.environ[REAL_DATA]) / "game_events")
    chance.shuffle(posted)
    chance.shuffle(produced)
    messages: list[tuple[str, bytes | None]] = [(str(e["player_id"]), json.dumps(e).encode()) for e in produced]
    messages += [("broken", value) for value in BREAKS.values()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_CHECKPOINT_SEC", "2")
        settings = load()
        servers = ["flink", "redis", "sink", "api"]
        up(settings, servers=servers)
        settings = load()
        try:
            for pipeline in (PIPELINE, STATISTICS):
                stream.start(settings, pipeline)
            begins = ends(settings.kafka_brokers)
            acknowledged, refused_at_once = post(Api().address(settings), posted)
            with closing(KafkaProducer(bootstrap_servers=settings.kafka_brokers, acks="all", linger_ms=20)) as producer:
                waiting = [producer.send(TOPIC, key=key.encode(), value=value) for key, value in messages]
                producer.flush(timeout=120)
                for future in waiting:
                    future.get(60)
            sent = on_topic(settings.kafka_brokers, begins)
            found = Delivery(stack, Stores(settings), posted, acknowledged, refused_at_once, sent)
            rows, repeats, _ = found.expected()
            eventually(lambda: len(found.places("player_events")) >= len(rows))
            eventually(lambda: len(found.places("duplicates")) >= len(repeats))
            assert sum(commit.dead_letters for commit in land_queue(QUEUE, KafkaResource(), IcebergResource(), "run"))
            yield found
            found.stores.close()
            for pipeline in (PIPELINE, STATISTICS):
                stream.stop(settings, pipeline)
        finally:
            down(settings, servers)


def test_what_the_service_took_is_on_the_topic_as_it_was_posted_and_the_rest_was_refused(delivery: Delivery) -> None:
    good = [event for event in delivery.posted if event["player_id"] is not None]
    assert delivery.acknowledged == Counter(event["event_id"] for event in good)
    assert delivery.refused_at_once == [event for event in delivery.posted if event["player_id"] is None]
    assert delivery.refused_at_once
    texts = [value for value in delivery.sent.values() if value and b'"ingested_at"' in value]
    found = sorted((json.loads(text) for text in texts), key=lambda event: str(event["event_id"]))
    assert len(found) == len(good)
    for event, wanted in zip(found, sorted(good, key=lambda event: str(event["event_id"])), strict=True):
        assert datetime.fromisoformat(event.pop("ingested_at")).tzinfo
        assert game_events.moment(event.pop("timestamp")) == game_events.moment(wanted["timestamp"])
        rest = {name: value for name, value in wanted.items() if name != "timestamp"}
        assert event == rest | {"player_id": str(wanted["player_id"])}


def test_every_event_is_a_row_a_repeat_or_a_dead_letter(delivery: Delivery) -> None:
    rows, repeats, refused = delivery.expected()
    assert len(repeats) > 300
    assert len(refused) > len(BREAKS)
    for table, wanted in (("player_events", set(rows)), ("duplicates", repeats), ("dead_letters", refused)):
        found = delivery.places(table)
        assert len(found) == len(set(found)), table
        assert set(found) == wanted, table


def test_every_column_says_what_the_file_says(delivery: Delivery) -> None:
    wanted, _, _ = delivery.expected()
    columns = ("event_id", "event_time", "event_type", "player_id", "game_id", "data", "score", "raw_payload")
    found = delivery.stack.sql(
        f"select kafka_partition, kafka_offset, {', '.join(columns)} from iceberg.bronze.player_events"
    )
    found = [row for row in found if (row[0], row[1]) in delivery.sent]
    assert len(found) == len(wanted)
    for partition, offset, *values in found:
        event = wanted[partition, offset]
        row: dict[str, Any] = dict(zip(columns, values, strict=True))
        assert json.loads(row.pop("data")) == event["data"]
        assert row.pop("raw_payload").encode() == delivery.sent[partition, offset]
        assert row == {
            "event_id": event["event_id"],
            "event_time": game_events.moment(event["timestamp"]),
            "event_type": event["event_type"],
            "player_id": str(event["player_id"]),
            "game_id": event["game_id"],
            "score": event["data"]["score"] if event["event_type"] == "player_score" else None,
        }


def test_each_player_has_the_total_that_the_files_say(delivery: Delivery) -> None:
    wanted: Counter[tuple[str, str]] = Counter()
    for event in delivery.expected()[0].values():
        if event["event_type"] == "player_score":
            wanted[event["game_id"], str(event["player_id"])] += event["data"]["score"]
    found = delivery.stack.sql(
        "select game_id, player_id, sum(score) from iceberg.bronze.player_events"
        " where event_type = 'player_score' group by game_id, player_id"
    )
    games = {game for game, _ in wanted}
    assert {(game, player): total for game, player, total in found if game in games} == dict(wanted)


def told(delivery: Delivery) -> list[Event]:
    return [
        Event(
            *(str(event["player_id"]), str(event["game_id"]), event["event_type"]),
            game_events.moment(event["timestamp"]),
            event["data"]["score"] if event["event_type"] == "player_score" else None,
        )
        for event in delivery.expected()[0].values()
    ]


def test_totals_and_boards_are_served_as_the_files_say(delivery: Delivery) -> None:
    events = told(delivery)
    totals, scores = count_totals(events), count_scores(events)
    eventually(lambda: delivery.stores.counted(totals) == len(events))
    eventually(lambda: delivery.stores.has_scores(scores))
    delivery.stores.check_totals(totals)
    delivery.stores.check_boards(scores)
    ties = [score for (game, period, _), board in scores.items() if period == "alltime" for score in board.values()]
    assert len(ties) - len(set(ties)) > 1_000, "most of these scores are equal to another"


@pytest.fixture(scope="module")
def marts(delivery: Delivery) -> None:
    """The scheduled job, as a user starts it."""
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "lakehouse.definitions", "-j", "players_daily"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]


@pytest.mark.usefixtures("marts")
def test_gold_holds_every_day_player_and_board_that_the_files_say(delivery: Delivery) -> None:
    events = told(delivery)

    def held(table: str, key: tuple[str, ...], wanted: Rows, where: str) -> None:
        names = list(next(iter(wanted.values())))
        rows = delivery.stack.sql(f"select {', '.join(names)} from iceberg.gold.{table} where {where}")
        found = {tuple(row[names.index(name)] for name in key): dict(zip(names, row, strict=True)) for row in rows}
        assert len(rows) == len(found) == len(wanted)
        assert found == wanted

    games = ", ".join(sorted({f"'{event.game}'" for event in events}))
    of_games = f"game_id in ({games})"
    held("fact_player_daily", ("date_key", "game_id", "player_id"), facts(events), of_games)
    wanted = boards(events, datetime.now(UTC).date())
    held("leaderboard_history", ("period", "period_start", "game_id", "player_id"), wanted, of_games)
    # Other tests have players of their own in it.
    known = players(events)
    of_players = f"player_id in (select player_id from iceberg.gold.fact_player_daily where {of_games})"
    held("dim_player", ("player_id",), known, of_players)
    assert any(fact["sessions"] > 1 for fact in facts(events).values())
    assert len(wanted) > 10_000


@pytest.mark.usefixtures("marts")
def test_the_questions_of_the_readme_have_answers(delivery: Delivery) -> None:
    questions = questions_of_the_readme("players")
    assert len(questions) == 2
    for question in questions:
        assert delivery.stack.sql(question), question


def test_what_was_broken_is_named_with_its_exact_bytes(delivery: Delivery) -> None:
    found = delivery.stack.sql(
        "select error_type, original_payload from iceberg.bronze.dead_letters where kafka_topic = ?", TOPIC
    )
    assert {(reason, value) for reason, value in found} >= {(reason, value) for reason, value in BREAKS.items()}


def test_the_audit_is_complete(delivery: Delivery) -> None:
    accounts = [account for account in run_audit(load(), deep=True).accounts if account.source in (TOPIC, DLQ)]
    assert [account.gaps for account in accounts if account.gaps] == []
    assert sum(account.in_flight for account in accounts) == 0
    held = delivery.stack.sql("select count(*) from iceberg.bronze.player_events where kafka_topic = ?", TOPIC)
    assert [[sum(account.bronze for account in accounts)]] == held
