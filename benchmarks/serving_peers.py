"""The peers of the serving sink: consumers that count by themselves. Nothing of `lakehouse` is imported.

Both read the events that the stream has processed, keep each in PostgreSQL, add to the totals of its player, and, of
one with a score, to the player's scores on the boards of the day, the week and all time; totals and boards are in
Redis, too. They fill the same tables as the sink, with the same indexes. What they read twice they count twice.

- ``usual``: for each event a new connection, a statement and a round trip for each thing that changes, and the first
  100 of each board that changed written anew in PostgreSQL; offsets are committed by the client now and then.
- ``tuned``: one connection, 1,000 events a transaction, each thing that changes once, `execute_values`, one pipeline;
  offsets are committed after it. Boards are kept as whole scores, like the sink's: their first 100 are a view.
"""

from __future__ import annotations

import argparse
import json
import os
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import psycopg2
from confluent_kafka import Consumer, KafkaException
from psycopg2.extras import Json, execute_values
from redis import Redis

from benchmarks.child import Child

BATCH = 1_000
WAIT_SECONDS = 1.0
EVENT = "insert into players.events values %s on conflict do nothing"
STATISTICS = """
insert into players.player_statistics as old values %s on conflict (player_id) do update set
    total_events = old.total_events + excluded.total_events,
    event_breakdown = (
        select jsonb_object_agg(kind, events) from (
            select kind, sum(events::bigint) as events from (
                select * from jsonb_each_text(old.event_breakdown)
                union all select * from jsonb_each_text(excluded.event_breakdown)
            ) as each (kind, events) group by kind
        ) as added
    ),
    first_event_at = least(old.first_event_at, excluded.first_event_at),
    last_event_at = greatest(old.last_event_at, excluded.last_event_at),
    version = old.version + excluded.version, updated_at = now()
"""
SCORES = """
insert into players.scores as old values %s on conflict (game_id, period, period_start, player_id) do update set
    score = old.score + excluded.score, version = old.version + excluded.version, updated_at = now()
"""
TOP = """
drop view players.leaderboards;
create table players.leaderboards (
    game_id text, player_id text, period text, period_start date, rank integer, score bigint, updated_at timestamptz,
    primary key (game_id, period, period_start, rank)
)
"""
DAYS = "create table players.events_of_all_days partition of players.events default"
Event = dict[str, Any]


def periods(event: Event) -> list[tuple[str, date]]:
    """The boards that an event counts on."""
    day = datetime.fromisoformat(event["event_time"]).date()
    return [("daily", day), ("weekly", day - timedelta(days=day.weekday())), ("alltime", date(1970, 1, 1))]


def row_of(event: Event) -> tuple[Any, ...]:
    """Of `players.events`."""
    names = ("event_type", "player_id", "game_id", "data", "score", "kafka_partition", "kafka_offset")
    return (event["event_id"], event["event_time"][:10], event["event_time"], *(event[name] for name in names))


def usual(redis: Redis) -> Callable[[Sequence[Event]], None]:
    """One after the other."""

    def insert(events: Sequence[Event]) -> None:
        for event in events:
            with psycopg2.connect("") as connection, connection.cursor() as cursor:
                one(cursor, event)
            connection.close()

    def one(cursor: Any, event: Event) -> None:
        player, game, kind, at = (event[name] for name in ("player_id", "game_id", "event_type", "event_time"))
        execute_values(cursor, EVENT, [row_of(event)])
        execute_values(cursor, STATISTICS, [(player, 1, Json({kind: 1}), at, at, 1, at)])
        key = f"player_stats:{player}"
        redis.hincrby(key, "total_events", 1)
        redis.hincrby(key, f"event_{kind}", 1)
        redis.hsetnx(key, "first_event", at)
        redis.hset(key, "last_event", at)
        for period, begin in periods(event) if event["score"] is not None else ():
            board = f"leaderboard:{game}:{period}"
            redis.zincrby(board, event["score"], player)
            best: Any = redis.zrevrange(board, 0, 99, withscores=True)
            ranked = enumerate(sorted(best, key=lambda held: (-held[1], held[0])), start=1)
            cursor.execute(
                "delete from players.leaderboards where game_id = %s and period = %s and period_start = %s",
                (game, period, begin),
            )
            rows = [(game, who, period, begin, rank, score, at) for rank, (who, score) in ranked]
            execute_values(cursor, "insert into players.leaderboards values %s", rows)

    return insert


def tuned(redis: Redis) -> Callable[[Sequence[Event]], None]:
    """Many at once."""
    connection = psycopg2.connect("")

    def insert(events: Sequence[Event]) -> None:
        kinds: dict[str, Counter[str]] = {}
        times: dict[str, list[str]] = {}
        scores: dict[tuple[Any, ...], list[int]] = {}
        for event in events:
            player, at = event["player_id"], event["event_time"]
            kinds.setdefault(player, Counter())[event["event_type"]] += 1
            first, last = times.setdefault(player, [at, at])
            times[player] = [min(first, at), max(last, at)]
            for period, begin in periods(event) if event["score"] is not None else ():
                found = scores.setdefault((event["game_id"], period, begin, player), [0, 0])
                found[0] += event["score"]
                found[1] += 1
        totals = [(who, of.total(), Json(of), *times[who], of.total(), times[who][1]) for who, of in kinds.items()]
        with connection, connection.cursor() as cursor:
            execute_values(cursor, EVENT, [row_of(event) for event in events], page_size=BATCH)
            execute_values(cursor, STATISTICS, totals, page_size=BATCH)
            rows = [(*place, *found, events[-1]["event_time"]) for place, found in scores.items()]
            execute_values(cursor, SCORES, rows, page_size=BATCH)
        with redis.pipeline(transaction=False) as pipe:
            for player, of in kinds.items():
                key, (first, last) = f"player_stats:{player}", times[player]
                pipe.hincrby(key, "total_events", of.total())
                for kind, count in of.items():
                    pipe.hincrby(key, f"event_{kind}", count)
                pipe.hsetnx(key, "first_event", first)
                pipe.hset(key, "last_event", last)
            for (game, period, _, player), (score, _) in scores.items():
                pipe.zincrby(f"leaderboard:{game}:{period}", score, player)
            pipe.execute()

    return insert


def run(topic: str, limit: int, *, is_usual: bool) -> None:
    """Consume and count, until enough is counted."""
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["BENCH_KAFKA"],
            "group.id": f"benchmark-{uuid.uuid4().hex}",
            "enable.auto.commit": is_usual,
            "auto.offset.reset": "earliest",
        }
    )
    redis = Redis(
        os.environ["REDIS_HOST"],
        int(os.environ["REDIS_PORT"]),
        password=os.environ["REDISCLI_AUTH"],
        decode_responses=True,
    )
    with psycopg2.connect("") as connection, connection.cursor() as cursor:
        cursor.execute(DAYS)
        if is_usual:
            cursor.execute(TOP)
    insert = usual(redis) if is_usual else tuned(redis)
    consumer.subscribe([topic])
    child = Child()
    counted = commits = 0
    while counted < limit:
        messages = consumer.consume(min(1 if is_usual else BATCH, limit - counted), WAIT_SECONDS)
        for message in messages:
            if error := message.error():
                raise KafkaException(error)
        if messages:
            insert([json.loads(message.value() or b"") for message in messages])
            if not is_usual:
                consumer.commit(asynchronous=False)
            counted, commits = counted + len(messages), commits + 1
            child.progress(counted)
    child.done(counted, commits)
    consumer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["usual", "tuned"])
    parser.add_argument("topic")
    parser.add_argument("limit", type=int)
    arguments = parser.parse_args()
    run(arguments.topic, arguments.limit, is_usual=arguments.peer == "usual")
