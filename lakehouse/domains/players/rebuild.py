"""The serving stores made again of the lake."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from lakehouse.adapters.iceberg.catalog import connect, find_table
from lakehouse.adapters.postgres.client import copy_rows, open_postgres
from lakehouse.adapters.redis.client import open_redis
from lakehouse.domains.players.boards import ALL_TIME
from lakehouse.domains.players.cache import Cache
from lakehouse.domains.players.contract import SCORE_EVENT
from lakehouse.domains.players.schema import ensure_schema
from lakehouse.domains.players.serving import STAGING, UPSERT_SCORES, UPSERT_STATISTICS, next_batch
from lakehouse.naming import PLAYER_EVENTS

if TYPE_CHECKING:
    import duckdb
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

    from lakehouse.settings import Settings

COLUMNS = (
    *("event_id", "event_time", "event_type", "player_id", "game_id", "score"),
    *("kafka_timestamp", "kafka_partition", "kafka_offset"),
)
FIRSTS = """
create temporary table firsts as select event_id, event_time, event_type, player_id, game_id, score from held
qualify row_number() over (partition by event_id order by kafka_timestamp, kafka_partition, kafka_offset) = 1
"""
TOTALS = """
select player_id, sum(events)::bigint as total_events,
    json_group_object(event_type, events)::varchar as event_breakdown,
    min(first) as first_event_at, max(last) as last_event_at, sum(events)::bigint as version
from (
    select player_id, event_type, count(*) as events, min(event_time) as first, max(event_time) as last
    from firsts group by player_id, event_type
) group by player_id
"""
SCORES = f"""
with scores as (
    select game_id, player_id, score, event_time::date as day from firsts
    where event_type = '{SCORE_EVENT}' and score is not null
), each as (
    select 'daily' as period, day as period_start, * from scores
    union all select 'weekly', date_trunc('week', day)::date, * from scores
    union all select 'alltime', date '{ALL_TIME}', * from scores
)
select game_id, period, period_start, player_id, sum(score)::bigint as score, count(*) as version
from each group by game_id, period, period_start, player_id
"""


@dataclass(frozen=True)
class Lake:
    """What bronze holds, each event id counted once; None where there is no table."""

    read_at: datetime
    totals: pa.Table | None = None
    """Columns as `new_statistics`."""
    scores: pa.Table | None = None
    """Columns as `new_scores`."""


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
    ensure_schema(settings)
    lake = of_lake(settings)
    with (
        open_postgres(settings, "rebuild") as connection,
        open_redis(settings) as redis,
        connection,
        connection.cursor() as cursor,
    ):
        batch = next_batch(cursor)
        stage(cursor, lake)
        taken = 0
        for statement in (UPSERT_STATISTICS, UPSERT_SCORES):
            cursor.execute(statement)
            taken += cursor.rowcount
        players, places = Cache(redis).rebuild(connection, batch, datetime.now(UTC))
    return Rebuilt(players, places, taken)


def stage(cursor: Cursor, lake: Lake) -> None:
    """Put what the lake says into `new_statistics` and `new_scores`, until the transaction ends."""
    cursor.execute(STAGING)
    for table, rows in (("new_statistics", lake.totals), ("new_scores", lake.scores)):
        if rows is not None:
            copy_rows(cursor, table, rows)


def of_lake(settings: Settings) -> Lake:
    """Count all that bronze holds.

    Raises:
        LakehouseError: the catalog does not answer.
    """
    import duckdb

    read_at = datetime.now(UTC)
    table = find_table(connect(settings), PLAYER_EVENTS)
    if table is None:
        return Lake(read_at)
    with duckdb.connect() as engine:
        held = table.scan(row_filter="erased_at is null", selected_fields=COLUMNS).to_arrow_batch_reader()
        # Without a zone, as PostgreSQL takes them here: the engine has zones in an extension only.
        engine.register("held", held.cast(pa.schema([_without_zone(field) for field in held.schema])))
        engine.execute(FIRSTS)
        return Lake(read_at, _answer(engine, TOTALS), _answer(engine, SCORES))


def _without_zone(field: pa.Field) -> pa.Field:
    return field.with_type(pa.timestamp(field.type.unit)) if pa.types.is_timestamp(field.type) else field


def _answer(engine: duckdb.DuckDBPyConnection, question: str) -> pa.Table:
    return engine.sql(question).to_arrow_table()
