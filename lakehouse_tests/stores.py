"""The serving stores, read by clients that are not the product's.

Other tests have players and games of their own in them, so a recount is held against those that it knows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import psycopg2
from redis import Redis

from lakehouse.settings import Settings

Totals = dict[str, tuple[int, dict[str, int], datetime, datetime]]
"""By player: all events, events by type, time of the first and of the last."""
Scores = dict[tuple[str, str, date], dict[str, int]]
"""By game, period and its first day: score of each player."""


class Event(NamedTuple):
    """What counts of an event."""

    player: str
    game: str
    kind: str
    at: datetime
    score: int | None
    """What it adds to boards; None where it is no score."""


def begin(period: str, day: date) -> date:
    """First day of a period."""
    if period == "weekly":
        return day - timedelta(days=day.isoweekday() - 1)
    return day if period == "daily" else date(1970, 1, 1)


def count_totals(events: Iterable[Event]) -> Totals:
    """Totals, one event after the other."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    times: dict[str, list[datetime]] = defaultdict(list)
    for player, _, kind, at, _ in events:
        kinds[player][kind] += 1
        times[player].append(at)
    return {p: (k.total(), dict(k), min(times[p]), max(times[p])) for p, k in kinds.items()}


def count_scores(events: Iterable[Event]) -> Scores:
    """Boards, one event after the other."""
    found: Scores = defaultdict(Counter)
    for player, game, _, at, score in events:
        if score is not None:
            day = at.astimezone(UTC).date()
            for period in ("daily", "weekly", "alltime"):
                found[game, period, begin(period, day)][player] += score
    return {key: dict(board) for key, board in found.items()}


def ranked(board: dict[str, int]) -> list[tuple[int, str, int]]:
    """Rank, player, score."""
    order = sorted(board.items(), key=lambda item: (-item[1], item[0].encode()))
    return [(rank, player, score) for rank, (player, score) in enumerate(order, start=1)]


def told_places(board: dict[str, Any]) -> list[tuple[int, str, int]]:
    """Rank, player, score, as HTTP tells them of a board."""
    return [(one["rank"], one["player_id"], one["score"]) for one in board["players"]]


def open_database(settings: Settings) -> closing[Any]:
    """A connection to the serving database that commits each statement."""
    connection = psycopg2.connect(
        host="127.0.0.1",
        port=settings.db_port,
        dbname=settings.db_name,
        user=settings.db_user,
        password=settings.db_password.get_secret_value(),
        options="-c timezone=UTC",
    )
    connection.autocommit = True
    return closing(connection)


class Stores:
    """PostgreSQL and Redis."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.redis = Redis(
            port=settings.redis_port, password=settings.redis_password.get_secret_value(), decode_responses=True
        )

    def close(self) -> None:
        self.redis.close()

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with open_database(self.settings) as connection:
            cursor = connection.cursor()
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def counted(self, totals: Totals) -> int:
        """Events that PostgreSQL counts of these players; −1 while it does not answer."""
        question = "select coalesce(sum(total_events), 0) from players.player_statistics where player_id = any(%s)"
        try:
            ((found,),) = self.sql(question, list(totals))
        except psycopg2.Error:
            return -1
        return int(found)

    def check_totals(self, totals: Totals) -> None:
        """Hold the totals of both stores against a recount."""
        for found in (self.served_totals(), self.cached_totals()):
            assert {player: told for player, told in found.items() if player in totals} == totals

    def served_totals(self) -> Totals:
        statement = (
            "select player_id, total_events, event_breakdown, first_event_at, last_event_at "
            "from players.player_statistics"
        )
        return {player: (count, kinds, first, last) for player, count, kinds, first, last in self.sql(statement)}

    def served_scores(self) -> Scores:
        found: Scores = defaultdict(dict)
        for game, period, start, player, score in self.sql(
            "select game_id, period, period_start, player_id, score from players.scores "
            # Somebody who only repeated what another had scored is on no board.
            "where version > repeated_events"
        ):
            found[game, period, start][player] = score
        return dict(found)

    def leaderboard(self, game: str, period: str, start: date) -> list[tuple[int, str, int]]:
        """The table of the first 100."""
        found = self.sql(
            "select rank, player_id, score from players.leaderboards where game_id = %s and period = %s "
            "and period_start = %s order by rank",
            *(game, period, start),
        )
        return [(rank, player, score) for rank, player, score in found]

    def cached_totals(self) -> Totals:
        found: Totals = {}
        for key in self.redis.scan_iter("player_stats:*", count=1000):
            held: dict[Any, Any] = self.redis.hgetall(key)
            kinds = {n.removeprefix("event_"): int(v) for n, v in held.items() if n.startswith("event_")}
            first, last = (datetime.fromisoformat(held[name]) for name in ("first_event", "last_event"))
            found[key.removeprefix("player_stats:")] = (int(held["total_events"]), kinds, first, last)
        return found

    def has_scores(self, scores: Scores) -> bool:
        """Whether PostgreSQL has these scores."""
        games = {game for game, *_ in scores}
        return {key: board for key, board in self.served_scores().items() if key[0] in games} == scores

    def check_boards(self, scores: Scores, today: date | None = None) -> None:
        """Hold the boards of both stores against a recount, on a day of the stores' own, or today."""
        today = today or datetime.now(UTC).date()
        for (game, period, start), board in scores.items():
            assert self.leaderboard(game, period, start) == ranked(board)[:100]
            is_current = start == begin(period, today)
            key = f"leaderboard:{game}:{period}" + ("" if is_current else f":{start}")
            kept = {"daily": timedelta(days=9), "weekly": timedelta(days=28), "alltime": timedelta.max}[period]
            held: list[Any] = self.redis.zrange(key, 0, -1, withscores=True)
            assert dict(held) == (board if period == "alltime" or start + kept > today else {}), key
            assert (self.redis.ttl(key) > 0) is (bool(held) and not is_current)
