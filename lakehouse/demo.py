"""The demo: from nothing to marts and a verdict, through the real paths."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from lakehouse import settings as settings_module
from lakehouse.adapters.trino.query import query
from lakehouse.audit import run_audit
from lakehouse.domains.conversions import stream as conversions
from lakehouse.domains.disorder import Shares
from lakehouse.domains.mtg import statistics as cards
from lakehouse.domains.pipelines import LANDINGS
from lakehouse.domains.players import statistics
from lakehouse.domains.players import stream as players
from lakehouse.errors import LakehouseError
from lakehouse.job import run_job
from lakehouse.naming import (
    BRIDGE_GAME_GENRE,
    CONVERSIONS_DAILY,
    DIM_DATE,
    DIM_GENRE,
    DIM_MTG_CARD,
    DIM_USER,
    FACT_CONVERSIONS,
    FACT_GAMES,
    FACT_MTG_CARD_PRICE,
    FACT_PLAYER_DAILY,
    LEADERBOARD_HISTORY,
    MTG_CARD_VERSIONS,
    MTG_STATISTICS,
    PGR_CASE_LIFECYCLE,
    PGR_FUNNEL_DAILY,
    PLAYER_EVENTS,
    RAWG_GAMES,
    Domain,
)
from lakehouse.produce import produce
from lakehouse.progress import counting
from lakehouse.settings import LOOPBACK, Settings
from lakehouse.streaming.landing import Landing
from lakehouse.streaming.statements import Pipeline

if TYPE_CHECKING:
    from lakehouse.domains.rawg.windows import Window

DOMAINS: tuple[Domain, ...] = (Domain.PGR, Domain.CONVERSIONS, Domain.PLAYERS, Domain.MTG, Domain.RAWG)
"""Domains that have something to show."""

STREAMS: dict[Domain, tuple[Pipeline, ...]] = {
    Domain.CONVERSIONS: (conversions.PIPELINE,),
    Domain.PLAYERS: (players.PIPELINE, statistics.PIPELINE),
}

GAMES, CHANGED, GONE = 3_000, 30, 5
"""Games that the demo makes up; of them those that change, and those that are gone, on the day after."""
MADE_UNTIL = datetime(2026, 6, 30, tzinfo=UTC)
"""Newest update of a game before that day: each demo makes the same games."""
MONTHS = ("2020-01", "2027-12")
"""Months of their release."""

LANDING_SECONDS = 240.0
SAID_BY = "`lakehouse stream status` and `lakehouse logs flink` say why"

CASES_BY_STATUS = f"""
    select current_status, count(*) as cases, round(avg(time_to_resolve_seconds) / 3600, 1) as hours_to_resolve
    from {PGR_CASE_LIFECYCLE.sql} group by current_status order by cases desc
"""
SLA_BY_WARD = f"""
    select tenant_id, ward_id, sum(cohort_cases) as cases, sum(cohort_met_sla) as met_sla,
        sum(cohort_breached_sla) as breached_sla
    from {PGR_FUNNEL_DAILY.sql} group by tenant_id, ward_id order by cases desc limit 8
"""
CONVERSIONS_BY_DAY = f"""
    select date_key, conversions, unique_users, round(100 * error_rate, 2) as error_percent,
        round(p95_response_nanos / 1e6, 2) as p95_ms, round(100 * late_share, 2) as late_percent
    from {CONVERSIONS_DAILY.sql} order by date_key
"""
CONVERSIONS_BY_TIER = f"""
    select u.activity_tier, count(*) as conversions, count(distinct f.user_id) as users
    from {FACT_CONVERSIONS.sql} f join {DIM_USER.sql} u on f.user_key = u.user_key
    where f.user_id is not null group by u.activity_tier order by conversions desc
"""
BEST_PLAYERS = """
    select rank, player_id, score, total_events, last_event_at::timestamp(0)::text as last_event_utc
    from players.leaderboards join players.player_statistics using (player_id)
    where game_id = 'game-01' and period = 'weekly' and period_start = date_trunc('week', now())::date
    order by rank limit 8
"""
DAYS_WON = f"""
    select f.game_id, count(distinct f.player_id) as players, max_by(w.player_id, w.days) as best_player,
        max(w.days) as days_won
    from {FACT_PLAYER_DAILY.sql} f left join (
        select game_id, player_id, count(*) as days from {LEADERBOARD_HISTORY.sql}
        where period = 'daily' and rank = 1 group by 1, 2
    ) w on f.game_id = w.game_id
    group by f.game_id order by players desc limit 8
"""
CARDS_WITH_HISTORY = f"""
    select set_code, number, name, version, cast(valid_from as date) as since, cast(valid_to as date) as until
    from {DIM_MTG_CARD.sql} where uuid in (select uuid from {DIM_MTG_CARD.sql} where version > 1 or not is_current)
    order by valid_from desc, set_code, uuid, version limit 8
"""
MOVERS = f"""
    select c.set_code, c.name, f.provider, f.finish, f.currency, f.previous_price, f.price,
        round(f.price_change_pct, 1) as per_cent
    from {FACT_MTG_CARD_PRICE.sql} f join {DIM_MTG_CARD.sql} c on f.card_key = c.card_key
    where f.price_type = 'retail' and f.previous_price >= 1
        and f.date_key = (select max(date_key) from {FACT_MTG_CARD_PRICE.sql})
    order by abs(f.price_change_pct) desc limit 8
"""
CARDS_TO_COUNT = f"""
    select coalesce(sum(abs(coalesce(held.cards, 0) - coalesce(counted.cards, 0))), 0) from (
        select set_code, coalesce(rarity, 'unknown') as rarity, count(*) as cards
        from {MTG_CARD_VERSIONS.sql} where is_current group by 1, 2
    ) held full join {MTG_STATISTICS.sql} counted using (set_code, rarity)
"""
CARDS_BY_RARITY = f"""
    select set_code, rarity, cards, median_mana_value, json_extract_scalar(prices, '$.USD.average') as average_usd,
        json_extract_scalar(movers, '$.USD.up[0].name') as rose_most
    from {MTG_STATISTICS.sql} order by cards desc, set_code, rarity limit 8
"""
GENRES = f"""
    select d.name as genre, count(*) as links, cast(sum(b.weight) as decimal(12, 1)) as games,
        cast(sum(b.weight * f.added) as bigint) as in_lists,
        round(avg(f.rating), 2) as rating, round(avg(f.metacritic), 1) as metascore
    from {FACT_GAMES.sql} f
    join {BRIDGE_GAME_GENRE.sql} b on f.game_key = b.game_key
    join {DIM_GENRE.sql} d on b.genre_key = d.genre_key
    group by d.name order by games desc limit 8
"""
RELEASES = f"""
    select c.year, count(*) as games, count(f.metacritic) as with_metascore, sum(f.added) as in_lists
    from {FACT_GAMES.sql} f join {DIM_DATE.sql} c on f.date_key = c.date_key
    group by c.year order by c.year desc limit 8
"""
GAME_VERSIONS = f"""
    select count(distinct v.game_id) as seen_ever, count(*) as versions, count_if(v.change <> 'seen') as found_gone,
        (select count(*) from {FACT_GAMES.sql}) as in_gold
    from {RAWG_GAMES.sql} v
"""


def run_demo(settings: Settings, console: Console, *, count: int, domains: Sequence[Domain] | None) -> bool:
    """Start the servers, send events, wait for the sensor to land them, build marts, ask a few questions, audit.

    Returns:
        Whether the verdict is complete and nothing waits on a topic.

    Raises:
        LakehouseError: a step failed.
    """
    from lakehouse import stack

    chosen = list(domains or DOMAINS)
    if unknown := [str(domain) for domain in chosen if domain not in DOMAINS]:
        raise LakehouseError(f"nothing to show for {', '.join(unknown)}; there is {', '.join(DOMAINS)}")
    began = time.monotonic()
    stack.up(settings, domains=chosen, console=console)
    settings = settings_module.load()
    shares = Shares(late=0.02, duplicate=0.01, malformed=0.01)
    # First: what the streams land comes with their next checkpoints, while the other domain is at work.
    for domain, pipelines in STREAMS.items():
        if domain in chosen:
            for pipeline in pipelines:
                _start_stream(settings, console, pipeline)
            produce(settings, console, domain, count, seed=time.time_ns(), shares=shares, days=3)
    if Domain.PGR in chosen:
        produce(settings, console, Domain.PGR, count, seed=time.time_ns(), shares=shares)
        _wait_until_landed(settings, console)
        _build(settings, console, "pgr_daily", "dbt on Trino")
        _answer(settings, console, "Cases by status", CASES_BY_STATUS)
        _answer(settings, console, "Service level by ward, the busiest", SLA_BY_WARD)
    if Domain.PLAYERS in chosen:
        _wait_until_streamed(settings, console, players.PIPELINE)
        _wait_until_served(settings, console)
        _show(console, "Best players of game-01 this week, in PostgreSQL", *_served(settings, BEST_PLAYERS))
        _build(settings, console, "players_daily", "dbt on Trino, what is served is corrected and compared")
        _answer(settings, console, "Games, and who won most of their days", DAYS_WON)
    if Domain.MTG in chosen:
        _start_stream(settings, console, cards.PIPELINE)
        _take_builds(settings, console)
        _answer(settings, console, "Cards with a history, the newest versions first", CARDS_WITH_HISTORY)
        _answer(settings, console, "Cards whose retail price moved the most today", MOVERS)
        _wait_until_counted(settings, console)
        _answer(settings, console, "Cards by set and rarity, and what shops ask for them", CARDS_BY_RARITY)
    if Domain.CONVERSIONS in chosen:
        _wait_until_streamed(settings, console, conversions.PIPELINE)
        _build(settings, console, "conversions_silver", "Spark")
        _build(settings, console, "conversions_gold", "Spark, and its calendar by dbt on Trino")
        _answer(settings, console, "Conversions by day", CONVERSIONS_BY_DAY)
        _answer(settings, console, "Conversions by the tier that the user had then", CONVERSIONS_BY_TIER)
    if Domain.RAWG in chosen:
        _show_games(settings, console)
    return _verdict(settings, console, began)


def _take_builds(settings: Settings, console: Console) -> None:
    """Two builds of our own making, served like MTGJSON's: the job of the night takes the first, then the second."""
    from lakehouse.domains.mtg.made import make_builds
    from lakehouse.domains.mtg.server import serving

    with TemporaryDirectory(prefix="lakehouse-demo-") as folder:
        first, second = make_builds(Path(folder), datetime.now(UTC).date())
        with serving(first) as shelf:
            # Files of builds that are made up do not belong among those of real ones.
            kept = str(settings.raw_folder / "demo")
            there = settings.model_copy(update={"mtgjson_url": shelf.address, "raw": kept})
            for build in (first, second):
                shelf.folder = build
                _build(there, console, "mtg_daily", f"Spark and dbt on Trino, of the build of {build.name}")


def _show_games(settings: Settings, console: Console) -> None:
    """A server like RAWG's, all of its games, and those that changed on the day after."""
    from lakehouse.domains.rawg.made import changed, made_games
    from lakehouse.domains.rawg.server import running
    from lakehouse.domains.rawg.site import Site
    from lakehouse.domains.rawg.windows import released_between

    if settings.rawg_api_key.get_secret_value():
        console.print("Games are left out: RAWG_API_KEY is set, and made ones do not belong beside those of RAWG.")
        return
    site = Site(made_games(GAMES, end=MADE_UNTIL, first_year=2020))
    months = [*released_between(*MONTHS), *released_between("undated", "undated")]
    with running(site) as server:
        there = settings_module.load(
            rawg_url=server.url, rawg_api_key="any", rawg_requests_per_second=1_000, rawg_requests_per_month=1_000_000
        )
        _pull(there, console, months, "all months of release")
        _build(there, console, "rawg_daily", "dbt on Trino")
        _answer(settings, console, "Games by genre, each once over its genres", GENRES)
        _answer(settings, console, "Releases by year", RELEASES)
        yesterday = datetime.now(UTC).replace(hour=12) - timedelta(days=1)
        dated = sorted((game for game in site.games if game.released), key=lambda game: game.game_id)
        site.put(*(changed(game, yesterday) for game in dated[:CHANGED]))
        month = f"{dated[-1].released:.7}"
        for game in [game for game in dated[CHANGED:] if f"{game.released:.7}" == month][:GONE]:
            site.remove(game.game_id)
        _pull(there, console, released_between(month, month), f"{month} once more, of which some are gone")
        _build(there, console, "rawg_daily", f"dbt on Trino, of the {CHANGED} games that had changed")
        _answer(settings, console, "Games, and their versions", GAME_VERSIONS)


def _pull(settings: Settings, console: Console, windows: Sequence[Window], what: str) -> None:
    from lakehouse.domains.rawg.ingest import pull_windows

    with counting(console, f"Pulling {what}", len(windows)) as on_window:
        done = pull_windows(settings, windows, run_id=f"demo-{uuid.uuid4()}", again=True, on_window=on_window)
    console.print(
        f"[green]✓[/green] {what}: {done.items:,} games seen, {done.rows:,} new versions, {done.gone:,} gone, by"
        f" {done.requests:,} requests"
    )


def _start_stream(settings: Settings, console: Console, pipeline: Pipeline) -> None:
    from lakehouse import stream

    with console.status(f"Starting the stream {pipeline.name} in Flink"):
        if not stream.status(settings, pipeline).is_alive:
            stream.start(settings, pipeline)
    read = ", ".join(source.topic.name for source in pipeline.sources)
    does = f"lands {read}, a commit every {settings.checkpoint_sec} s"
    if not isinstance(pipeline, Landing):
        does = f"counts {read}"
    console.print(f"[green]✓[/green] Flink {does}")


def _wait_until_streamed(settings: Settings, console: Console, pipeline: Landing) -> None:
    """By the audit: until every record is in bronze, a repeat, or a dead letter."""
    topics = (pipeline.topic.name, pipeline.refused.name)

    def waiting() -> int:
        return sum(account.in_flight for account in run_audit(settings).accounts if account.source in topics)

    _wait(console, f"Waiting for the next commits of {pipeline.name}", waiting, SAID_BY)
    console.print(f"[green]✓[/green] {pipeline.name}: landed in bronze by Flink, what it refused by Dagster's sensor")


def _wait_until_served(settings: Settings, console: Console) -> None:
    """Until PostgreSQL counts every event that bronze holds, at least once."""

    def waiting() -> int:
        ((held,),) = query(settings, f"select count(distinct event_id) from {PLAYER_EVENTS.sql}")[1]
        ((counted,),) = _served(settings, "select coalesce(sum(total_events), 0) from players.player_statistics")[1]
        return max(0, int(held) - int(counted))

    _wait(console, "Waiting for the serving sink", waiting, f"{SAID_BY}; so does `lakehouse logs sink`")
    console.print("[green]✓[/green] players: counted by Flink, served by PostgreSQL, Redis and the HTTP API")


def _wait_until_counted(settings: Settings, console: Console) -> None:
    """Until Flink counts as many cards of each set and rarity as silver has."""

    def waiting() -> int:
        return int(query(settings, CARDS_TO_COUNT)[1][0][0])

    _wait(console, f"Waiting for the next commit of {cards.PIPELINE.name}", waiting, SAID_BY)
    console.print("[green]✓[/green] mtg: statistics by Flink, served by PostgreSQL within a minute")


def _served(settings: Settings, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names of the columns, and the rows, of a question to PostgreSQL."""
    from lakehouse.adapters.postgres.client import open_postgres

    with open_postgres(settings, "demo") as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return [column.name for column in cursor.description or ()], cursor.fetchall()


def _wait_until_landed(settings: Settings, console: Console) -> None:
    """The sensor sees the lag and requests a run; nothing is started here."""
    from lakehouse.adapters.iceberg.resource import IcebergResource
    from lakehouse.adapters.kafka.resource import KafkaResource
    from lakehouse.domains.feeds import FEEDS
    from lakehouse.orchestration.landing import measure_lag

    def lag() -> int:
        waiting, problems = measure_lag(FEEDS, KafkaResource(), IcebergResource())
        if problems:
            raise LakehouseError("; ".join(problems))
        return waiting

    said_by = "the Dagster UI and `lakehouse logs dagster` say why"
    _wait(console, "Waiting for Dagster's sensor to land them", lag, said_by)
    console.print(f"[green]✓[/green] landed in bronze by Dagster's sensor, {settings.kafka_topic} is drained")


def _wait(console: Console, what: str, waiting: Callable[[], int], said_by: str) -> None:
    """Wait until no record waits; where that takes too long, point to who says why."""
    with console.status(what) as status:
        deadline = time.monotonic() + LANDING_SECONDS
        while count := waiting():
            status.update(f"{what}: {count:,} records to go")
            if time.monotonic() > deadline:
                raise LakehouseError(f"{count:,} records were not landed within {LANDING_SECONDS:.0f} s; {said_by}")
            time.sleep(1)


def _build(settings: Settings, console: Console, job: str, engine: str) -> None:
    with console.status(f"Building: dagster job launch -j {job}"):
        run_job(settings, job)
    console.print(f"[green]✓[/green] {job}: built by {engine}")


def _answer(settings: Settings, console: Console, title: str, sql: str) -> None:
    _show(console, title, *query(settings, sql))


def _show(console: Console, title: str, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    table = Table(*names, title=title, title_justify="left")
    for row in rows:
        table.add_row(*("–" if cell is None else str(cell) for cell in row))
    console.print(table)


def _verdict(settings: Settings, console: Console, began: float) -> bool:
    report = run_audit(settings)
    rows = sum(account.bronze for account in report.accounts)
    # Those that came through a stream's queue are on the account of the topic that it serves.
    queues = {pipeline.refused.name for pipeline in LANDINGS}
    letters = sum(account.dead_letters for account in report.accounts if account.source not in queues)
    repeats = sum(account.duplicates for account in report.accounts if account.source not in queues)
    is_good = report.verdict == "complete" and not report.in_flight
    colour = "green" if is_good else "red"
    console.print(
        f"Audit: [bold {colour}]{report.verdict}[/bold {colour}]: {rows + letters + repeats:,} records came in, "
        f"{rows:,} are in bronze, {repeats:,} were repeats, {letters:,} are dead letters, {report.in_flight:,} wait"
    )
    for account in report.accounts:
        for gap in account.gaps:
            console.print(f"• {account.name}: {gap}", markup=False, soft_wrap=True)
    console.print(
        f"Dagster: http://{LOOPBACK}:{settings.dagster_port}   Trino: http://{settings.trino_address}:{settings.trino_port}"
        f"   took {time.monotonic() - began:.0f} s"
    )
    console.print("Next: ./lake audit --deep · ./lake dead-letters list · ./lake status · ./lake down", markup=False)
    console.print("In this folder ./lake is the command that hints call `lakehouse`.", markup=False)
    return is_good
