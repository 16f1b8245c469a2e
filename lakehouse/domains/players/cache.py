"""What Redis holds of the players: written from what PostgreSQL took, and made again of it where it was lost.

A batch has a number, which PostgreSQL and Redis both keep: where they differ, Redis has lost something, or was away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from msgspec import Meta, Struct

from lakehouse.contracts.json_schema import NO_NUL
from lakehouse.domains.players.boards import (
    BOARDS,
    SESSION_SECONDS,
    Period,
    begin_of,
    board_key,
    forgotten_on,
    session_key,
    statistics_key,
    turned_key,
)

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812
    from redis import Redis
    from redis.client import Pipeline

BATCH = "serving:batch"
"""Key: number of the batch that was written last."""
_NEW = "serving:new:"
"""Before the key of a board that is being made again."""
ROWS = 1_000
"""That go in one trip when all is made again."""
IS_ON_BOARD = "version > repeated_events"
"""Of a row of `players.scores`: the player has scored, not only somebody whose event came again as another's."""
Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""What PostgreSQL takes for a `bigint`."""
Text = Annotated[str, Meta(pattern=NO_NUL)]
"""What it takes for a `text`."""
Time = Annotated[datetime, Meta(tz=True)]
Result = TypeVar("Result")


class Totals(Struct, frozen=True, gc=False):
    """Totals of a player: a message of `player.statistics`, as both stores take it."""

    player_id: Text
    total_events: Whole
    event_breakdown: dict[str, int]
    """Events by type; nothing where there are more types than are told."""
    first_event_at: Time
    last_event_at: Time
    version: Whole


class Score(Struct, frozen=True, gc=False):
    """Score of a player on a board: a message of `game.leaderboards`, as both stores take it."""

    game_id: Text
    period: Period
    period_start: date
    player_id: Text
    score: Whole | None
    """Nothing where all that was counted of it had come before, elsewhere: the player is not on the board."""
    version: Whole


class Cache:
    """Redis, for the one process that writes."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    def batch(self) -> int | None:
        """Number of the batch that it holds; None where it knows of none."""
        number = self.redis.get(BATCH)
        return int(number) if number else None

    def write(
        self, totals: Sequence[Totals], scores: Sequence[Score], batch: int, now: datetime, *, anew: bool = False
    ) -> None:
        """What changed, then the number of the batch it came with: where it breaks off, the number is the old one.

        Args:
            totals: What changed.
            scores: What changed.
            batch: Its number.
            now: In UTC.
            anew: A player may have lost types of events, too.
        """
        begins = self.begins()
        self._replace([one for one in totals if anew or not one.event_breakdown], now)
        # In a transaction, nobody could read for as long as a whole batch takes.
        with self.redis.pipeline(transaction=False) as pipe:
            if not anew:
                _put_totals(pipe, [one for one in totals if one.event_breakdown], now)
            for key, end in _put_scores(pipe, scores, begins, now.date()).items():
                if end:
                    pipe.expireat(key, end)
            pipe.execute()
        self.redis.set(BATCH, batch)

    def turn(self, connection: Connection, now: datetime) -> None:
        """At the end of a period, put its boards away under its date, and bring out those that have begun."""
        for period, was in self.begins().items():
            begin = begin_of(period, now.date())
            if begin <= was:
                continue
            with connection, connection.cursor() as cursor, self.redis.pipeline(transaction=True) as pipe:
                # Until it is done, nobody else writes.
                cursor.execute("select 1 from players.sink for update")
                if self.begins().get(period) != was:
                    continue
                cursor.execute(
                    "select period_start, game_id from players.scores where period = %s and period_start in (%s, %s) "
                    "group by period_start, game_id",
                    (period, was, begin),
                )
                for start, game in sorted(cursor.fetchall()):
                    current, dated = board_key(game, period), board_key(game, period, start)
                    pipe.rename(*((current, dated) if start == was else (dated, current)))
                    if start != was:
                        pipe.persist(current)
                    elif end := _end(period, was):
                        pipe.expireat(dated, end)
                pipe.set(turned_key(period), begin.isoformat())
                # A board that Redis has not got has no name to change.
                pipe.execute(raise_on_error=False)

    def rebuild(self, connection: Connection, batch: int, now: datetime) -> tuple[int, int]:
        """Make everything again of PostgreSQL, which no other may change meanwhile.

        Returns:
            How many players and how many scores.
        """
        today = now.date()
        begins = {period: begin_of(period, today) for period in Period}
        unfinished = list(self.redis.scan_iter(f"{_NEW}*", count=ROWS))
        self.redis.delete(BATCH, *unfinished)

        def put_totals(rows: Sequence[tuple[Any, ...]]) -> int:
            self._replace([Totals(*row) for row in rows], now)
            return len(rows)

        def put_scores(rows: Sequence[tuple[Any, ...]]) -> tuple[int, dict[str, datetime | None]]:
            with self.redis.pipeline(transaction=False) as pipe:
                # Readers see a board as it was until the new one is whole.
                found = _put_scores(pipe, [Score(*row) for row in rows], begins, today, prefix=_NEW)
                pipe.execute()
            return len(rows), found

        players = sum(_overlapped(put_totals, _rows_of(connection, Totals, "players.player_statistics")))
        scores, boards = 0, dict[str, datetime | None]()
        for count, found in _overlapped(put_scores, _rows_of(connection, Score, f"players.scores where {IS_ON_BOARD}")):
            scores, boards = scores + count, boards | found
        held = set(self.redis.scan_iter(f"{BOARDS}*", count=ROWS))
        with self.redis.pipeline(transaction=True) as pipe:
            # Of a game that nobody plays now, Redis may have had a board of a period that has ended since.
            for key in held - boards.keys():
                pipe.delete(key)
            for key, end in boards.items():
                pipe.rename(_NEW + key, key)
                if end:
                    pipe.expireat(key, end)
            for period, begin in begins.items():
                pipe.set(turned_key(period), begin.isoformat())
            pipe.set(BATCH, batch)
            pipe.execute()
        return players, scores

    def _replace(self, totals: Sequence[Totals], now: datetime) -> None:
        """Totals in place of what is there, so many at a time as readers do not wait for."""
        for start in range(0, len(totals), ROWS):
            some = totals[start : start + ROWS]
            with self.redis.pipeline(transaction=True) as pipe:
                pipe.delete(*(statistics_key(one.player_id) for one in some))
                _put_totals(pipe, some, now)
                pipe.execute()

    def begins(self) -> dict[Period, date]:
        """Begin of the period of each kind whose boards have no date in their name; none where Redis is empty."""
        periods = list(Period)
        found = self.redis.mget([turned_key(period) for period in periods])
        return {period: date.fromisoformat(str(text)) for period, text in zip(periods, found, strict=True) if text}


def _rows_of(connection: Connection, kind: type[Struct], source: str) -> Iterator[list[tuple[Any, ...]]]:
    """The columns of a kind of thing, so many rows at a time."""
    with connection.cursor(kind.__name__.lower()) as cursor:
        cursor.execute(f"select {', '.join(kind.__struct_fields__)} from {source}")
        while rows := cursor.fetchmany(ROWS):
            yield rows


def _overlapped(put: Callable[[list[Any]], Result], batches: Iterable[list[Any]]) -> Iterator[Result]:
    """What came of each batch; while one is put into Redis, PostgreSQL is asked for the next."""
    with ThreadPoolExecutor(1) as thread:
        running: Future[Result] | None = None
        for batch in batches:
            if running:
                yield running.result()
            running = thread.submit(put, batch)
        if running:
            yield running.result()


def _put_totals(pipe: Pipeline, totals: Iterable[Totals], now: datetime) -> None:
    playing = now - timedelta(seconds=SESSION_SECONDS)
    for one in totals:
        values: dict[Any, Any] = {f"event_{kind}": count for kind, count in one.event_breakdown.items()}
        values |= {
            "total_events": one.total_events,
            "first_event": one.first_event_at.isoformat(),
            "last_event": one.last_event_at.isoformat(),
            "version": one.version,
        }
        pipe.hset(statistics_key(one.player_id), mapping=values)
        if one.last_event_at > playing:
            ends = one.last_event_at + timedelta(seconds=SESSION_SECONDS)
            pipe.set(session_key(one.player_id), one.last_event_at.isoformat(), exat=ends)


def _put_scores(
    pipe: Pipeline, scores: Iterable[Score], begins: dict[Period, date], today: date, *, prefix: str = ""
) -> dict[str, datetime | None]:
    """Scores into the boards that Redis still has; returns their keys, without the prefix, and when each ends."""
    boards: dict[tuple[str, Period, date], dict[str, int | None]] = defaultdict(dict)
    for one in scores:
        boards[one.game_id, Period(one.period), one.period_start][one.player_id] = one.score
    ends: dict[str, datetime | None] = {}
    for (game, period, begin), members in boards.items():
        if key := held_under(game, period, begin, begins, today):
            if on_board := {player: score for player, score in members.items() if score is not None}:
                pipe.zadd(prefix + key, on_board)
            if len(on_board) < len(members):
                pipe.zrem(prefix + key, *(members.keys() - on_board.keys()))
            ends[key] = None if begin == begins.get(period) else _end(period, begin)
    return ends


def held_under(game: str, period: Period, begin: date, begins: Mapping[Period, date], today: date) -> str | None:
    """Key under which Redis holds a board; None where it holds it no more.

    Args:
        game: Which.
        period: Which of its boards.
        begin: Its first day.
        begins: First day of the boards that have no date in their name.
        today: In UTC.
    """
    forgotten = forgotten_on(period, begin)
    if forgotten and forgotten <= today:
        return None
    return board_key(game, period, None if begin == begins.get(period) else begin)


def _end(period: Period, begin: date) -> datetime | None:
    """When Redis has a board no more."""
    day = forgotten_on(period, begin)
    return datetime(day.year, day.month, day.day, tzinfo=UTC) if day else None
