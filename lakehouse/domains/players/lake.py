"""What the lake says of the players: all that bronze holds, counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from lakehouse.adapters.iceberg.catalog import connect, find_table
from lakehouse.domains.players.boards import ALL_TIME
from lakehouse.domains.players.contract import MOST_TYPES, SCORE_EVENT
from lakehouse.naming import PLAYER_EVENTS

if TYPE_CHECKING:
    import duckdb

    from lakehouse.settings import Settings

SERVED_SECONDS = 15.0
"""After so long, PostgreSQL has what bronze has."""
COLUMNS = (
    *("event_id", "event_time", "event_type", "player_id", "game_id", "score"),
    *("kafka_timestamp", "kafka_partition", "kafka_offset", "ingested_at"),
)
EVENTS = """
create temporary table events as select *,
    row_number() over (partition by event_id order by kafka_timestamp, kafka_partition, kafka_offset) = 1 as is_first
from held
"""
TOTALS = f"""
select player_id, sum(events)::bigint as total_events,
    case when count(*) > {MOST_TYPES} then '{{}}'
        else coalesce(to_json(map_from_entries(list((event_type, events)) filter (events > 0)))::varchar, '{{}}') end
        as event_breakdown,
    coalesce(min(first), min(earliest)) as first_event_at, coalesce(max(last), max(latest)) as last_event_at,
    sum(counted)::bigint as version,
    coalesce(
        to_json(map_from_entries(list((event_type, counted - events)) filter (counted > events)))::varchar, '{{}}'
    ) as repeats
from (
    select player_id, event_type, count(*) as counted, count(*) filter (is_first) as events,
        min(event_time) filter (is_first) as first, max(event_time) filter (is_first) as last,
        min(event_time) as earliest, max(event_time) as latest
    from events group by player_id, event_type
) group by player_id
"""
SCORES = f"""
with scores as (
    select game_id, player_id, score, is_first, event_time::date as day from events
    where event_type = '{SCORE_EVENT}' and score is not null
), each as (
    select 'daily' as period, day as period_start, * from scores
    union all select 'weekly', date_trunc('week', day)::date, * from scores
    union all select 'alltime', date '{ALL_TIME}', * from scores
)
select game_id, period, period_start, player_id,
    coalesce(sum(score) filter (is_first), 0)::bigint as score, count(*) as version,
    count(*) filter (not is_first) as repeated_events,
    coalesce(sum(score) filter (not is_first), 0)::bigint as repeated_score
from each group by game_id, period, period_start, player_id
"""


@dataclass(frozen=True)
class Lake:
    """What bronze holds, each event id counted once, and what came again; None where there is no table."""

    read_at: datetime
    totals: pa.Table | None = None
    """Columns as `new_statistics`."""
    scores: pa.Table | None = None
    """Columns as `new_scores`."""


@contextmanager
def open_lake(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """An engine with the table `events`: what bronze holds, and of each event id which row counts.

    Yields:
        The engine; None where there is no table.

    Raises:
        LakehouseError: the catalog does not answer.
    """
    import duckdb

    table = find_table(connect(settings), PLAYER_EVENTS)
    if table is None:
        yield None
        return
    with duckdb.connect() as engine:
        held = table.scan(row_filter="erased_at is null", selected_fields=COLUMNS).to_arrow_batch_reader()
        # Without a zone, as PostgreSQL takes them here: the engine has zones in an extension only.
        engine.register("held", held.cast(pa.schema([_without_zone(field) for field in held.schema])))
        engine.execute(EVENTS)
        yield engine


def of_lake(settings: Settings) -> Lake:
    """Count all that bronze holds.

    Raises:
        LakehouseError: the catalog does not answer.
    """
    read_at = datetime.now(UTC)
    with open_lake(settings) as engine:
        return counted(engine, read_at)


def counted(engine: duckdb.DuckDBPyConnection | None, read_at: datetime) -> Lake:
    """Count what an engine of `open_lake` has, which it began to read at a time."""
    if engine is None:
        return Lake(read_at)
    return Lake(read_at, engine.sql(TOTALS).to_arrow_table(), engine.sql(SCORES).to_arrow_table())


def settled_lake(settings: Settings) -> Lake:
    """What bronze holds, when PostgreSQL has had the time to take it, too.

    Raises:
        LakehouseError: the catalog does not answer.
    """
    lake = of_lake(settings)
    settle()
    return lake


def settle() -> None:
    """Give PostgreSQL the time to take what bronze had."""
    time.sleep(SERVED_SECONDS)


def _without_zone(field: pa.Field) -> pa.Field:
    return field.with_type(pa.timestamp(field.type.unit)) if pa.types.is_timestamp(field.type) else field
