"""The serving sink: what Flink counts and lands of the players into PostgreSQL and Redis, a batch at a time.

A batch is one transaction of PostgreSQL, which also moves the positions in the topics: so nothing is taken twice, and
of totals and scores, which are absolute, the highest version stays. Redis is told before the transaction is committed.
Where it did not hear, or has lost what it had, the number of its batch is another than PostgreSQL's, and everything in
it is made again. A message that none of our jobs can have written goes to `players.dlq_events`, and costs only itself.
"""

from __future__ import annotations

import io
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from confluent_kafka import TopicPartition
from psycopg2.errors import ProgramLimitExceeded, StatementTooComplex

from lakehouse.adapters.kafka.client import describe_topic, open_admin, open_consumer
from lakehouse.adapters.kafka.drain import poll
from lakehouse.adapters.kafka.probe import headers_of
from lakehouse.adapters.postgres.client import copy_rows, open_postgres
from lakehouse.adapters.redis.client import in_words, open_redis
from lakehouse.contracts.contract import EARLIEST, LATEST
from lakehouse.domains.players.cache import Cache, Score, Totals
from lakehouse.domains.players.schema import ensure_schema
from lakehouse.errors import LakehouseError
from lakehouse.naming import (
    GAME_LEADERBOARDS,
    PLAYER_EVENTS_PROCESSED,
    PLAYER_STATISTICS,
    SERVING_GROUP_ID,
    SYSTEM_DLQ,
)

if TYPE_CHECKING:
    from confluent_kafka import Message
    from psycopg2.extensions import connection as Connection  # noqa: N812
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

    from lakehouse.adapters.kafka.client import KafkaConsumer
    from lakehouse.settings import Settings

log = logging.getLogger("lakehouse.sink")

Row = TypeVar("Row", Totals, Score)

TOPICS = (PLAYER_EVENTS_PROCESSED, PLAYER_STATISTICS, GAME_LEADERBOARDS, SYSTEM_DLQ)
BATCH_RECORDS, BATCH_SECONDS = 50_000, 0.5
RETRY_SECONDS = 2.0
PAUSE_SECONDS = 10.0
"""A Redis that does not answer is left alone for so long: PostgreSQL is not to wait for it with each batch."""
SEEN_SECONDS = 5.0
"""How often an idle sink says that it is there."""
LOCK = "lakehouse players sink"
SERVICE = "flink/players"
"""Who refuses records of the players."""
OWN_SERVICE, FOREIGN = "lakehouse sink", "FOREIGN_MESSAGE"
"""Who puts messages aside, and why."""
NOT_OURS = (
    *(ValueError, TypeError, KeyError, OverflowError, RecursionError),
    *(psycopg2.DataError, psycopg2.IntegrityError, ProgramLimitExceeded, StatementTooComplex),
)
"""What reading a message, and taking it, fails with for its own sake."""
AHEAD_DAYS = 2
"""Days after today that an event may be of: one that is more than an hour ahead was refused."""

EVENT = pa.schema(
    [
        *((name, pa.string()) for name in ("event_id", "event_time", "event_type", "player_id", "game_id", "data")),
        ("score", pa.int64()),
        ("kafka_partition", pa.int32()),
        ("kafka_offset", pa.int64()),
    ]
)
"""A message of `player.events.processed`."""

STAGING = """
create temporary table new_events (
    event_id text, event_date date, event_time timestamptz, event_type text, player_id text, game_id text, data text,
    score bigint, kafka_partition integer, kafka_offset bigint
) on commit delete rows;
create temporary table new_statistics (
    player_id text, total_events bigint, event_breakdown jsonb, first_event_at timestamptz, last_event_at timestamptz,
    version bigint, repeats jsonb
) on commit delete rows;
create temporary table new_scores (
    game_id text, period text, period_start date, player_id text, score bigint, version bigint, repeated_events bigint,
    repeated_score bigint
) on commit delete rows;
create temporary table new_dlq_events (
    origin text, consumer_service text, error_type text, error_message text, text text, original_payload bytea,
    failed_at timestamptz
) on commit delete rows;
"""
CLEAR = "truncate new_events, new_statistics, new_scores, new_dlq_events"
# What is JSON, but more than `jsonb` can hold, such as a number of a million digits, is kept as a text.
INSERT_EVENTS = """
insert into players.events
select event_id, event_date, event_time, event_type, player_id, game_id,
    case when data is null then null when pg_input_is_valid(data, 'jsonb') then data::jsonb else to_jsonb(data) end,
    score, kafka_partition, kafka_offset
from new_events on conflict do nothing
"""
# What the job has counted again, as a correction has found, is taken off.
LESS_STATISTICS = """
update new_statistics as new set
    total_events = new.total_events - (select sum(value::bigint) from jsonb_each_text(old.repeats)),
    event_breakdown = (
        select coalesce(jsonb_object_agg(kind, events) filter (where events > 0), '{}')
        from (
            select key as kind, value::bigint - coalesce((old.repeats ->> key)::bigint, 0) as events
            from jsonb_each_text(new.event_breakdown)
        ) as kinds
    )
from players.player_statistics as old
where old.player_id = new.player_id and old.repeats <> '{}'
returning new.player_id, new.total_events, new.event_breakdown, new.first_event_at, new.last_event_at, new.version
"""
LESS_SCORES = """
update new_scores as new set score = new.score - old.repeated_score
from players.scores as old
where old.game_id = new.game_id and old.period = new.period and old.period_start = new.period_start
    and old.player_id = new.player_id and old.repeated_events > 0
returning new.game_id, new.period, new.period_start, new.player_id, new.score, new.version
"""
UPSERT_STATISTICS = """
insert into players.player_statistics as old
select player_id, total_events, event_breakdown, first_event_at, last_event_at, version, now() from new_statistics
on conflict (player_id) do update set total_events = excluded.total_events, event_breakdown = excluded.event_breakdown,
    first_event_at = excluded.first_event_at, last_event_at = excluded.last_event_at, version = excluded.version,
    updated_at = excluded.updated_at
where excluded.version > old.version
"""
# A transaction has one time.
TAKEN_STATISTICS = """
select player_id from new_statistics as new join players.player_statistics as old using (player_id)
where old.version = new.version and old.updated_at = now()
"""
UPSERT_SCORES = """
insert into players.scores as old
select game_id, period, period_start, player_id, score, version, now() from new_scores
on conflict (game_id, period, period_start, player_id) do update set score = excluded.score,
    version = excluded.version, updated_at = excluded.updated_at
where excluded.version > old.version
"""
TAKEN_SCORES = """
select game_id, period, period_start, player_id
from new_scores as new join players.scores as old using (game_id, period, period_start, player_id)
where old.version = new.version and old.updated_at = now()
"""
INSERT_DLQ = """
insert into players.dlq_events
select origin, consumer_service, error_type, error_message,
    case when pg_input_is_valid(text, 'jsonb') then text::jsonb end, original_payload, failed_at
from new_dlq_events on conflict do nothing
"""


decode_totals = msgspec.json.Decoder(Totals).decode
_decode_score = msgspec.json.Decoder(Score).decode


@dataclass
class Found:
    """What a batch of messages holds."""

    events: pa.Table
    totals: list[Totals]
    scores: list[Score]
    refused: list[Message]


def sort_out(messages: Sequence[Message]) -> Found:
    """The messages by what they are: of totals and scores, which are absolute, only the last of each.

    Raises:
        ValueError, TypeError: one of them is none of ours.
    """
    by_topic: dict[str, list[Message]] = defaultdict(list)
    for message in messages:
        by_topic[str(message.topic())].append(message)
    totals = [decode_totals(value) for value in _last(by_topic[PLAYER_STATISTICS.name])]
    scores = [_decode_score(value) for value in _last(by_topic[GAME_LEADERBOARDS.name])]
    if any(not EARLIEST <= one.first_event_at <= one.last_event_at <= LATEST for one in totals):
        raise ValueError("times that no event can have")
    if any(not EARLIEST.date() <= one.period_start <= LATEST.date() or one.score is None for one in scores):
        raise ValueError("a score that no event can have made")
    return Found(
        _parsed(by_topic[PLAYER_EVENTS_PROCESSED.name]),
        _newest(totals, _player_of),
        _newest(scores, place_of),
        by_topic[SYSTEM_DLQ.name],
    )


def _parsed(messages: Sequence[Message]) -> pa.Table:
    """Processed events, in columns."""
    if not messages:
        return EVENT.empty_table()
    text = b"\n".join(message.value() for message in messages)  # type: ignore[misc]  # none is no message of ours
    events = pj.read_json(
        io.BytesIO(text),
        pj.ReadOptions(block_size=len(text) + 1),
        pj.ParseOptions(explicit_schema=EVENT, unexpected_field_behavior="ignore"),
    )
    times = events["event_time"].cast(pa.timestamp("us", "UTC"))
    if len(events) != len(messages) or times.null_count:
        raise ValueError("a message is not one event with its time")
    bounds = pc.min_max(times).as_py()
    if not EARLIEST <= bounds["min"] <= bounds["max"] <= LATEST:
        raise ValueError("a time that no event can have")
    return events


def _last(messages: Iterable[Message]) -> Iterable[Any]:
    return {message.key(): message.value() for message in messages}.values()


def _newest(rows: Sequence[Row], key: Callable[[Row], tuple[Any, ...]]) -> list[Row]:
    """Of each place the row with the highest version: somebody else's message may have our place, and another key."""
    newest: dict[tuple[Any, ...], Row] = {}
    for one in rows:
        place = key(one)
        if place not in newest or newest[place].version < one.version:
            newest[place] = one
    return list(newest.values())


def serve(settings: Settings, stop: threading.Event) -> None:
    """Serve until told to stop; what is away, or was lost, is waited for."""
    told = ""
    while not stop.is_set():
        try:
            ensure_schema(settings)
            with (
                open_postgres(settings, "sink") as connection,
                closing(open_consumer(settings, SERVING_GROUP_ID)) as consumer,
                open_redis(settings) as redis,
            ):
                Sink(settings, connection, consumer, Cache(redis)).run(stop)
        except LakehouseError as error:
            if str(error) != told:
                log.warning("%s: tried again every %.0f s", error, RETRY_SECONDS)
            told = str(error)
            stop.wait(RETRY_SECONDS)


class Sink:
    """The one writer of the serving stores, while it is connected."""

    def __init__(self, settings: Settings, connection: Connection, consumer: KafkaConsumer, cache: Cache) -> None:
        self._settings, self._connection, self._consumer, self._cache = settings, connection, consumer, cache
        self._days: set[date] = set()
        """Days that `players.events` has room for."""
        self._seen = self._turned = 0.0
        self._tidied: date | None = None
        self._told = ""
        """What was last said of Redis."""
        self._asked_again = 0.0
        """When Redis, which did not answer, is asked again."""

    def run(self, stop: threading.Event) -> None:
        """Take batch after batch.

        Raises:
            LakehouseError: PostgreSQL or the brokers do not answer.
        """
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute("select pg_try_advisory_lock(hashtext(%s))", (LOCK,))
            if not (cursor.fetchone() or (False,))[0]:
                raise LakehouseError("another sink is at work")
            cursor.execute(STAGING)
        self._consumer.assign(begin(self._settings, self._connection))
        while not stop.is_set():
            messages, _ = poll(self._consumer, BATCH_RECORDS, BATCH_SECONDS)
            if messages:
                self.apply(messages)
            self._keep_time()

    def apply(self, messages: Sequence[Message]) -> None:
        """Take a batch, whole."""
        positions = {
            (str(message.topic()), message.partition() or 0): (message.offset() or 0) + 1 for message in messages
        }
        now = datetime.now(UTC)
        with self._connection, self._connection.cursor() as cursor:
            batch = next_batch(cursor)
            totals, scores = self._take(cursor, messages, now)
            cursor.executemany(
                "update players.positions set position = %s where topic = %s and partition = %s",
                [(position, *place) for place, position in positions.items()],
            )
            self._tell_redis(lambda: self._write(totals, scores, batch, now))
        hint = [TopicPartition(*place, position) for place, position in positions.items()]
        self._consumer.commit(offsets=hint, asynchronous=True)

    def _take(
        self, cursor: Cursor, messages: Sequence[Message], now: datetime
    ) -> tuple[Sequence[Totals], Sequence[Score]]:
        """Take messages, but for those that cannot be taken, which are looked for by halves: they are rare.

        Returns:
            What changed.
        """
        cursor.execute("savepoint here")
        try:
            found = sort_out(messages)
            self._take_events(cursor, found.events, now.date())
            changed = upsert(cursor, found.totals, found.scores)
            _take_refused(cursor, found.refused)
        except NOT_OURS as error:
            # One that stays holds a lock: of thousands of them PostgreSQL has no more.
            cursor.execute("rollback to savepoint here; release savepoint here")
            self._days.clear()
            if len(messages) == 1:
                _put_aside(cursor, messages[0], error, now)
                return [], []
            half = len(messages) // 2
            totals, scores = self._take(cursor, messages[:half], now)
            cursor.execute(CLEAR)
            more_totals, more_scores = self._take(cursor, messages[half:], now)
            return [*totals, *more_totals], [*scores, *more_scores]
        cursor.execute("release savepoint here")
        return changed

    def _write(self, totals: Sequence[Totals], scores: Sequence[Score], batch: int, now: datetime) -> None:
        """What changed; where Redis does not have what came before, everything."""
        # A batch that Redis has and PostgreSQL has not is about to come again.
        if self._cache.batch() in (batch - 1, batch):
            self._cache.write(totals, scores, batch, now)
        else:
            self._rebuild(batch, now)

    def _rebuild(self, batch: int, now: datetime) -> None:
        started = time.monotonic()
        players, places = self._cache.rebuild(self._connection, batch, now)
        seconds = time.monotonic() - started
        log.warning("Redis was made again: %d players, %d scores, %.1f s", players, places, seconds)

    def _tell_redis(self, tell: Callable[[], None]) -> None:
        """PostgreSQL goes on without Redis, which is made again when it is back."""
        if time.monotonic() < self._asked_again:
            return
        try:
            with in_words(self._settings):
                tell()
            self._told = ""
        except LakehouseError as error:
            if str(error) != self._told:
                log.warning("%s", error)
            self._told, self._asked_again = str(error), time.monotonic() + PAUSE_SECONDS

    def _keep_time(self) -> None:
        """What has to be done whether anything comes or not."""
        now = time.monotonic()
        if now - self._turned >= 1:
            self._turned = now
            self._tell_redis(lambda: self._cache.turn(self._connection, datetime.now(UTC)))
        if now - self._seen >= SEEN_SECONDS:
            self._seen = now
            with self._connection, self._connection.cursor() as cursor:
                cursor.execute("update players.sink set seen_at = now() returning batch")
                batch = (cursor.fetchone() or (0,))[0]
                self._tell_redis(lambda: self._heal(batch))
        if self._tidied != (today := datetime.now(UTC).date()):
            self._tidied = today
            self._drop_old_days(today)

    def _heal(self, batch: int) -> None:
        """Make Redis again where it has lost something, though nothing comes."""
        if self._cache.batch() not in (batch, batch + 1):
            self._rebuild(batch, datetime.now(UTC))

    def _take_events(self, cursor: Cursor, events: pa.Table, today: date) -> None:
        """Events of the days that are kept; older ones are in the lake alone."""
        days = pc.utf8_slice_codeunits(events["event_time"], 0, 10)
        events = events.append_column("event_date", days)
        first = today - timedelta(days=self._settings.player_events_kept_days)
        is_kept = pc.and_(
            pc.greater_equal(days, first.isoformat()),
            pc.less_equal(days, (today + timedelta(days=AHEAD_DAYS)).isoformat()),
        )
        events = events.filter(is_kept)
        for day in set(map(date.fromisoformat, events["event_date"].unique().to_pylist())) - self._days:
            cursor.execute(
                f"create table if not exists players.events_{day:%Y%m%d} partition of players.events "
                f"for values from ('{day}') to ('{day + timedelta(days=1)}')"
            )
            self._days.add(day)
        if events.num_rows:
            copy_rows(cursor, "new_events", events)
            cursor.execute(INSERT_EVENTS)

    def _drop_old_days(self, today: date) -> None:
        first = today - timedelta(days=self._settings.player_events_kept_days)
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(
                "select inhrelid::regclass::text from pg_inherits where inhparent = 'players.events'::regclass "
                "and inhrelid::regclass::text < %s",
                (f"players.events_{first:%Y%m%d}",),
            )
            for (name,) in cursor.fetchall():
                cursor.execute(f"drop table {name}")
                log.info("%s is older than the days that are kept: dropped", name)


def begin(settings: Settings, connection: Connection) -> list[TopicPartition]:
    """Where each partition of the topics is read from; new ones from their beginning.

    Raises:
        LakehouseError: the brokers do not answer.
    """
    admin = open_admin(settings)
    places = []
    with connection, connection.cursor() as cursor:
        cursor.execute("select topic, partition, topic_id, position from players.positions")
        known = {(topic, partition): (id_, position) for topic, partition, id_, position in cursor.fetchall()}
        for topic in TOPICS:
            state = describe_topic(admin, topic.name)
            if state is None:
                raise LakehouseError(f"there is no topic {topic.name}: `lakehouse topics apply` makes it")
            for partition, bounds in state.partitions.items():
                id_, position = known.get((topic.name, partition), (state.topic_id, bounds.low))
                if id_ != state.topic_id or position > bounds.end:
                    log.warning("%s is a new topic: it is read from its beginning", topic.name)
                    position = bounds.low
                if position < bounds.low:
                    log.warning(
                        "%s[%d]: %d messages are gone; `lakehouse rebuild redis` takes from the lake what they told",
                        *(topic.name, partition, bounds.low - position),
                    )
                    position = bounds.low
                cursor.execute(
                    "insert into players.positions values (%s, %s, %s, %s) on conflict (topic, partition) do update "
                    "set topic_id = excluded.topic_id, position = excluded.position",
                    (topic.name, partition, state.topic_id, position),
                )
                places.append(TopicPartition(topic.name, partition, position))
    return places


def next_batch(cursor: Cursor) -> int:
    """The number of the transaction's batch; until it ends, nobody else changes what is served."""
    cursor.execute("update players.sink set batch = batch + 1, seen_at = now() returning batch")
    return int((cursor.fetchone() or (0,))[0])


def upsert(
    cursor: Cursor, totals: Sequence[Totals], scores: Sequence[Score]
) -> tuple[Sequence[Totals], Sequence[Score]]:
    """Take what has a higher version than what is there; returns that, as it is told."""
    if totals:
        columns = _columns(totals)
        columns["event_breakdown"] = [msgspec.json.encode(one).decode() for one in columns["event_breakdown"]]
        copy_rows(cursor, "new_statistics", pa.table(columns))
        totals = _taken(cursor, LESS_STATISTICS, UPSERT_STATISTICS, TAKEN_STATISTICS, totals, _player_of)
    if scores:
        copy_rows(cursor, "new_scores", pa.table(_columns(scores)))
        scores = _taken(cursor, LESS_SCORES, UPSERT_SCORES, TAKEN_SCORES, scores, place_of)
    return totals, scores


def _player_of(one: Totals) -> tuple[str]:
    return (one.player_id,)


def place_of(one: Score) -> tuple[str, str, date, str]:
    """Key of a score."""
    return (one.game_id, one.period, one.period_start, one.player_id)


def _taken(
    cursor: Cursor, less: str, upsert: str, which: str, rows: Sequence[Row], key: Callable[[Row], tuple[Any, ...]]
) -> Sequence[Row]:
    cursor.execute(less)
    if corrected := {key(one): one for one in (type(rows[0])(*row) for row in cursor.fetchall())}:
        rows = [corrected.get(key(one), one) for one in rows]
    cursor.execute(upsert)
    if cursor.rowcount < len(rows):
        cursor.execute(which)
        taken = set(cursor.fetchall())
        rows = [one for one in rows if key(one) in taken]
    return rows


def _columns(rows: Sequence[msgspec.Struct]) -> dict[str, Any]:
    names = rows[0].__struct_fields__
    return dict(zip(names, zip(*map(msgspec.structs.astuple, rows), strict=True), strict=True))


def _take_refused(cursor: Cursor, messages: Sequence[Message]) -> None:
    if not messages:
        return
    told = [{name: (value or b"").decode() for name, value in headers_of(message)} for message in messages]
    rows = {
        "origin": [":".join(one[f"kafka_{name}"] for name in ("topic", "partition", "offset")) for one in told],
        "consumer_service": [SERVICE] * len(told),
        **{name: [one[name] for one in told] for name in ("error_type", "error_message", "failed_at")},
    }
    _insert_refused(cursor, rows, messages)


def _put_aside(cursor: Cursor, message: Message, error: Exception, now: datetime) -> None:
    origin = f"{message.topic()}:{message.partition()}:{message.offset()}"
    why = (str(error).strip() or type(error).__name__).splitlines()[0].replace("\0", "")
    log.warning("%s is put aside, none of our jobs wrote it: %s", origin, why)
    rows = {"origin": origin, "consumer_service": OWN_SERVICE, "error_type": FOREIGN, "error_message": why}
    rows["failed_at"] = now.isoformat()
    _insert_refused(cursor, {name: [value] for name, value in rows.items()}, [message])


def _insert_refused(cursor: Cursor, rows: dict[str, list[Any]], messages: Sequence[Message]) -> None:
    payloads = [message.value() for message in messages]
    rows["text"] = [_text(payload) for payload in payloads]
    rows["original_payload"] = [None if payload is None else f"\\x{payload.hex()}" for payload in payloads]
    copy_rows(cursor, "new_dlq_events", pa.table(rows))
    cursor.execute(INSERT_DLQ)


def _text(payload: bytes | None) -> str | None:
    """Text that may be JSON which PostgreSQL can hold; None where it is none, also where it is nested too deep."""
    if payload is None or b"\0" in payload:
        return None
    try:
        msgspec.json.decode(payload, type=msgspec.Raw)
        return payload.decode()
    except (ValueError, RecursionError):
        return None
