"""Whether the stores say the same: PostgreSQL against the lake, and Redis against PostgreSQL.

They are never at the same place, so of the lake only what must hold is asked: what bronze had a while ago, PostgreSQL
has by now; and what PostgreSQL has had for some checkpoints, bronze has, too. Redis is written with PostgreSQL, which
nobody changes while the two are compared.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from lakehouse.adapters.postgres.client import open_postgres
from lakehouse.adapters.redis.client import open_redis
from lakehouse.domains.players.boards import Period, statistics_key
from lakehouse.domains.players.cache import ROWS, Cache, held_under
from lakehouse.domains.players.rebuild import of_lake, stage
from lakehouse.ledger.streamed import PATIENCE

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812

    from lakehouse.settings import Settings

SERVED_SECONDS = 15.0
"""After so long, PostgreSQL has what bronze has."""
SHOWN = 50

_TOTALS = """
select 'total of ' || player_id, l.version, p.version from new_statistics l
full join players.player_statistics p using (player_id)
where l.version > coalesce(p.version, 0) or (p.version > coalesce(l.version, 0) and p.updated_at < %(cut)s)
    or (l.version = p.version and (l.event_breakdown, l.first_event_at, l.last_event_at)
        is distinct from (p.event_breakdown, p.first_event_at, p.last_event_at))
"""
_SCORES = """
select 'score of ' || concat_ws(', ', player_id, game_id, period, period_start), l.score, p.score from new_scores l
full join players.scores p using (game_id, period, period_start, player_id)
where l.version > coalesce(p.version, 0) or (p.version > coalesce(l.version, 0) and p.updated_at < %(cut)s)
    or (l.version = p.version and l.score <> p.score)
"""


@dataclass(frozen=True)
class Disagreement:
    """Two stores that say different things of the same."""

    what: str
    store: str
    """Which of the others than PostgreSQL."""
    said: int | None
    """There."""
    postgres: int | None


@dataclass(frozen=True)
class Agreement:
    """What was compared."""

    players: int
    scores: int
    differing: list[Disagreement]
    """The first of them."""


def compare(settings: Settings) -> Agreement:
    """Compare all totals and scores of all stores.

    Raises:
        LakehouseError: the catalog, PostgreSQL or Redis does not answer.
    """
    lake = of_lake(settings)
    time.sleep(SERVED_SECONDS)
    cut = lake.read_at - timedelta(seconds=PATIENCE * settings.checkpoint_sec)
    found: list[Disagreement] = []
    with (
        open_postgres(settings, "agreement") as connection,
        open_redis(settings) as redis,
        connection,
        connection.cursor() as cursor,
    ):
        stage(cursor, lake)
        for question in (_TOTALS, _SCORES):
            cursor.execute(f"{question} limit {SHOWN}", {"cut": cut})
            found += [Disagreement(what, "lake", said, here) for what, said, here in cursor.fetchall()]
        # Until this ends, the sink waits.
        cursor.execute("select 1 from players.sink for update")
        players = _totals_in_redis(connection, Cache(redis), found)
        scores = _scores_in_redis(connection, Cache(redis), found, datetime.now(UTC).date())
    return Agreement(players, scores, found[: 2 * SHOWN])


def _totals_in_redis(connection: Connection, cache: Cache, found: list[Disagreement]) -> int:
    count = 0
    with connection.cursor("totals") as cursor:
        cursor.execute("select player_id, total_events from players.player_statistics")
        while rows := cursor.fetchmany(ROWS):
            with cache.redis.pipeline(transaction=False) as pipe:
                for player, _ in rows:
                    pipe.hget(statistics_key(player), "total_events")
                held = pipe.execute()
            for (player, total), said in zip(rows, held, strict=True):
                if said is None or int(said) != total:
                    found.append(Disagreement(f"total of {player}", "Redis", int(said) if said else None, total))
            count += len(rows)
    return count


def _scores_in_redis(connection: Connection, cache: Cache, found: list[Disagreement], today: date) -> int:
    begins, count = cache.begins(), 0
    with connection.cursor("scores") as cursor:
        cursor.execute("select game_id, period, period_start, player_id, score from players.scores")
        while rows := cursor.fetchmany(ROWS):
            boards: dict[str, list[tuple[str, int]]] = defaultdict(list)
            for game, name, start, player, score in rows:
                if key := held_under(game, Period(name), start, begins, today):
                    boards[key].append((player, score))
            with cache.redis.pipeline(transaction=False) as pipe:
                for key, members in boards.items():
                    pipe.zmscore(key, [player for player, _ in members])
                held: list[list[Any]] = pipe.execute()
            for (key, members), answers in zip(boards.items(), held, strict=True):
                for (player, score), said in zip(members, answers, strict=True):
                    if said is None or int(float(said)) != score:
                        there = None if said is None else int(float(said))
                        found.append(Disagreement(f"{player} on {key}", "Redis", there, score))
            count += len(rows)
    return count
