"""Whether the stores say the same: PostgreSQL against bronze and Flink's topic, gold against bronze, Redis.

They are never at the same place, so only what must hold is asked: what bronze and the topic had a while ago, PostgreSQL
has by now; what PostgreSQL has had for some checkpoints, bronze has, too; and what bronze had some checkpoints before
gold was built is in gold. Redis is held against PostgreSQL, which nobody changes meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.adapters.iceberg.catalog import connect, find_table
from lakehouse.adapters.kafka.client import describe_topic, open_admin, open_consumer
from lakehouse.adapters.kafka.probe import committed
from lakehouse.adapters.postgres.client import copy_rows, open_postgres
from lakehouse.adapters.redis.client import open_redis
from lakehouse.contracts.lineage import LOADED_AT
from lakehouse.domains.players.boards import Period, statistics_key
from lakehouse.domains.players.cache import IS_ON_BOARD, ROWS, Cache, Totals, held_under
from lakehouse.domains.players.lake import Lake, counted, open_lake, settle
from lakehouse.domains.players.rebuild import stage
from lakehouse.domains.players.serving import NOT_OURS, decode_totals
from lakehouse.ledger.streamed import PATIENCE
from lakehouse.naming import DIM_PLAYER, PLAYER_STATISTICS

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812

    from lakehouse.settings import Settings

SHOWN = 50

_TOTAL = pa.schema([("player_id", pa.string()), ("total_events", pa.int64()), ("version", pa.int64())])
_TOTALS = """
select 'total of ' || player_id, l.total_events, p.total_events from new_statistics l
full join players.player_statistics p using (player_id)
where l.version > coalesce(p.version, 0) or (p.version > coalesce(l.version, 0) and p.updated_at < %(cut)s)
    or (l.version = p.version and (l.event_breakdown, l.first_event_at, l.last_event_at)
        is distinct from (p.event_breakdown, p.first_event_at, p.last_event_at))
"""
_TOLD = """
select 'total of ' || player_id, told.total_events, old.total_events
from new_statistics told left join players.player_statistics old using (player_id)
where told.version > coalesce(old.version, 0)
"""
_GOLD = """
select 'events of ' || player_id, gold.events, lake.events from (
    select player_id, count(*) filter (is_first) as events,
        count(*) filter (is_first and ingested_at < $cut) as settled
    from events group by player_id
) as lake full join gold using (player_id)
where coalesce(gold.events, 0) not between coalesce(lake.settled, 0) and coalesce(lake.events, 0)
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
    """One of them."""
    said: int | None
    """There."""
    other: str
    """Another one."""
    said_otherwise: int | None
    """There."""


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
        LakehouseError: the catalog, the brokers, PostgreSQL or Redis does not answer.
    """
    patience = timedelta(seconds=PATIENCE * settings.checkpoint_sec)
    found, lake = _gold_against_bronze(settings, patience)
    told = _told(settings)
    settle()
    with (
        open_postgres(settings, "agreement") as connection,
        open_redis(settings) as redis,
        connection,
        connection.cursor() as cursor,
    ):
        stage(cursor, lake)
        for store, question in (("lake", _TOTALS), ("lake", _SCORES), ("topic", _TOLD)):
            if store == "topic":
                cursor.execute("truncate new_statistics")
                copy_rows(cursor, "new_statistics", told)
            cursor.execute(f"{question} limit {SHOWN}", {"cut": lake.read_at - patience})
            found += [Disagreement(what, store, there, "PostgreSQL", here) for what, there, here in cursor]
        # Until this ends, the sink waits.
        cursor.execute("select 1 from players.sink for update")
        players = _totals_in_redis(connection, Cache(redis), found)
        scores = _scores_in_redis(connection, Cache(redis), found, datetime.now(UTC).date())
    return Agreement(players, scores, found[: 2 * SHOWN])


def _gold_against_bronze(settings: Settings, patience: timedelta) -> tuple[list[Disagreement], Lake]:
    """What gold says otherwise than bronze, and what bronze says, which is read once, and after gold."""
    table = find_table(connect(settings), DIM_PLAYER)
    gold = table.scan(selected_fields=("player_id", "events", LOADED_AT)).to_arrow() if table is not None else None
    built = pc.max(gold[LOADED_AT]).as_py() if gold is not None else None
    differing, read_at = [], datetime.now(UTC)
    with open_lake(settings) as engine:
        if engine is not None and gold is not None and built is not None:
            engine.register("gold", gold.drop_columns(LOADED_AT))
            cut = (built - patience).replace(tzinfo=None)
            differing = engine.execute(f"{_GOLD} limit {SHOWN}", {"cut": cut}).fetchall()
        lake = counted(engine, read_at)
    return [Disagreement(what, "gold", there, "bronze", here) for what, there, here in differing], lake


def _told(settings: Settings) -> pa.Table:
    """What Flink says on its topic: of each player the newest."""
    state = describe_topic(open_admin(settings), PLAYER_STATISTICS.name)
    if state is None:
        return _TOTAL.empty_table()
    with closing(open_consumer(settings)) as consumer:
        begins = {partition: bounds.low for partition, bounds in state.partitions.items()}
        newest: dict[str, Totals] = {}
        for record in committed(consumer, PLAYER_STATISTICS.name, begins):
            with suppress(*NOT_OURS):  # the sink has put it aside
                told = decode_totals(record.value())  # type: ignore[arg-type]
                newest[told.player_id] = told
    columns = {name: [getattr(told, name) for told in newest.values()] for name in _TOTAL.names}
    return pa.table(columns, schema=_TOTAL)


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
                    there = int(said) if said else None
                    found.append(Disagreement(f"total of {player}", "Redis", there, "PostgreSQL", total))
            count += len(rows)
    return count


def _scores_in_redis(connection: Connection, cache: Cache, found: list[Disagreement], today: date) -> int:
    begins, count = cache.begins(), 0
    with connection.cursor("scores") as cursor:
        cursor.execute(
            "select game_id, period, period_start, player_id, "
            f"case when {IS_ON_BOARD} then score end from players.scores"
        )
        while rows := cursor.fetchmany(ROWS):
            boards: dict[str, list[tuple[str, int | None]]] = defaultdict(list)
            for game, name, start, player, score in rows:
                if key := held_under(game, Period(name), start, begins, today):
                    boards[key].append((player, score))
            with cache.redis.pipeline(transaction=False) as pipe:
                for key, members in boards.items():
                    pipe.zmscore(key, [player for player, _ in members])
                held: list[list[Any]] = pipe.execute()
            for (key, members), answers in zip(boards.items(), held, strict=True):
                for (player, score), said in zip(members, answers, strict=True):
                    there = None if said is None else int(float(said))
                    if there != score:
                        found.append(Disagreement(f"{player} on {key}", "Redis", there, "PostgreSQL", score))
            count += len(rows)
    return count
