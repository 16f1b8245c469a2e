"""The serving stores made again of the lake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lakehouse.adapters.postgres.client import copy_rows, open_postgres
from lakehouse.adapters.redis.client import open_redis
from lakehouse.domains.players.cache import Cache
from lakehouse.domains.players.lake import Lake, of_lake
from lakehouse.domains.players.schema import ensure_schema
from lakehouse.domains.players.serving import STAGING, next_batch

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

    from lakehouse.settings import Settings

# The job counts rows of bronze. Where it has counted as many, the lake knows which of them came again.
KNOWS_BETTER = """
lake.version > old.version or (
    lake.version = old.version
    and (lake.repeats, lake.first_event_at, lake.last_event_at)
        is distinct from (old.repeats, old.first_event_at, old.last_event_at)
)
"""
KNOWS_SCORE_BETTER = (
    "lake.version > old.version or (lake.version = old.version and lake.repeated_events <> old.repeated_events)"
)
# Where it has counted more, which is so of all who play, what it counted again is in that, too.
TAKE_OFF = """
update new_statistics as lake set
    total_events = old.total_events + (select coalesce(sum(value::bigint), 0) from jsonb_each_text(old.repeats))
        - (select coalesce(sum(value::bigint), 0) from jsonb_each_text(lake.repeats)),
    event_breakdown = case when old.event_breakdown = '{}' and old.total_events > 0 then '{}' else (
        select coalesce(jsonb_object_agg(kind, events) filter (where events > 0), '{}')
        from (
            select kind, sum(events) as events
            from (
                select key as kind, value::bigint as events from jsonb_each_text(old.event_breakdown)
                union all select key, value::bigint from jsonb_each_text(old.repeats)
                union all select key, -value::bigint from jsonb_each_text(lake.repeats)
            ) as each group by kind
        ) as kinds
    ) end,
    first_event_at = old.first_event_at, last_event_at = old.last_event_at, version = old.version
from players.player_statistics as old
where old.player_id = lake.player_id and old.version > lake.version and old.repeats <> lake.repeats;
update new_scores as lake set score = old.score + old.repeated_score - lake.repeated_score, version = old.version
from players.scores as old
where old.game_id = lake.game_id and old.period = lake.period and old.period_start = lake.period_start
    and old.player_id = lake.player_id and old.version > lake.version and old.repeated_events <> lake.repeated_events
"""
LEAVE_OUT = f"""
delete from new_statistics as lake using players.player_statistics as old
where old.player_id = lake.player_id and not ({KNOWS_BETTER});
delete from new_scores as lake using players.scores as old
where old.game_id = lake.game_id and old.period = lake.period and old.period_start = lake.period_start
    and old.player_id = lake.player_id and not ({KNOWS_SCORE_BETTER})
"""
"""What PostgreSQL knows as well: taking it would change nothing, and lock each row all the same."""
TAKE_STATISTICS = f"""
insert into players.player_statistics as old
select player_id, total_events, event_breakdown, first_event_at, last_event_at, version, now(), repeats
from new_statistics
on conflict (player_id) do update set total_events = excluded.total_events, event_breakdown = excluded.event_breakdown,
    first_event_at = excluded.first_event_at, last_event_at = excluded.last_event_at, version = excluded.version,
    updated_at = excluded.updated_at, repeats = excluded.repeats
where {KNOWS_BETTER.replace("lake.", "excluded.")}
"""
TAKE_SCORES = f"""
insert into players.scores as old
select game_id, period, period_start, player_id, score, version, now(), repeated_events, repeated_score from new_scores
on conflict (game_id, period, period_start, player_id) do update set score = excluded.score,
    version = excluded.version, updated_at = excluded.updated_at, repeated_events = excluded.repeated_events,
    repeated_score = excluded.repeated_score
where {KNOWS_SCORE_BETTER.replace("lake.", "excluded.")}
"""


@dataclass(frozen=True)
class Rebuilt:
    """What was made again."""

    players: int
    scores: int
    from_lake: int
    """Rows that the lake knew of and PostgreSQL did not, or not so well."""


def rebuild(settings: Settings) -> Rebuilt:
    """Bring into PostgreSQL what the lake knows better, and make Redis again of that; the sink waits meanwhile.

    Raises:
        LakehouseError: the catalog, PostgreSQL or Redis does not answer.
    """
    with offered(settings, of_lake(settings)) as (connection, cursor, cache, batch):
        cursor.execute(LEAVE_OUT)
        taken = 0
        for statement in (TAKE_STATISTICS, TAKE_SCORES):
            cursor.execute(statement)
            taken += cursor.rowcount
        players, places = cache.rebuild(connection, batch, datetime.now(UTC))
    return Rebuilt(players, places, taken)


@contextmanager
def offered(settings: Settings, lake: Lake) -> Iterator[tuple[Connection, Cursor, Cache, int]]:
    """A transaction in which what the lake says is staged; until it ends, the sink waits.

    Yields:
        PostgreSQL, its cursor, Redis, and the number of the batch.

    Raises:
        LakehouseError: PostgreSQL or Redis does not answer.
    """
    ensure_schema(settings)
    with (
        open_postgres(settings, "lake") as connection,
        open_redis(settings) as redis,
        connection,
        connection.cursor() as cursor,
    ):
        batch = next_batch(cursor)
        stage(cursor, lake)
        cursor.execute(TAKE_OFF)
        yield connection, cursor, Cache(redis), batch


def stage(cursor: Cursor, lake: Lake) -> None:
    """Put what the lake says into `new_statistics` and `new_scores`, until the transaction ends."""
    cursor.execute(STAGING)
    for table, rows in (("new_statistics", lake.totals), ("new_scores", lake.scores)):
        if rows is not None:
            copy_rows(cursor, table, rows)
