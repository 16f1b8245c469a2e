"""The code location: what it holds, and what importing it costs."""

import json
import subprocess
import sys

import dagster as dg
import pytest

from lakehouse.domains.feeds import FEEDS
from lakehouse.domains.pipelines import LANDINGS

TABLES = {
    "kafka/pgr_events",
    "bronze/dead_letters",
    "bronze/deliveries",
    "bronze/duplicates",
    "bronze/replays",
    "bronze/expired_snapshots",
    "bronze/pulls",
    "platform/maintenance",
    "staging/service_events_raw",
    "bronze/service_events_raw",
    "silver/pgr_events",
    "gold/pgr_case_lifecycle",
    "gold/pgr_funnel_daily",
    "gold/pgr_backlog_daily",
    "gold/dim_date",
}
PLATFORM = {
    "bronze/dead_letters",
    "bronze/deliveries",
    "bronze/duplicates",
    "bronze/replays",
    "bronze/expired_snapshots",
    "bronze/pulls",
    "platform/maintenance",
    "gold/dim_date",
}
LANDED_RAWG = {"api/rawg_games", "bronze/rawg_games"}
RAWG = LANDED_RAWG | {
    "silver/rawg_games",
    "silver/rawg_members",
    "gold/fact_games",
    "gold/dim_esrb_rating",
    *(
        f"gold/{table}{member}"
        for table in ("dim_", "bridge_game_")
        for member in ("platform", "store", "genre", "tag")
    ),
}
STREAMED = {"kafka/roman_numeral_events", "kafka/roman_numeral_events_dlq", "bronze/conversion_events"}
LANDED_PLAYERS = {
    "kafka/player_events_raw",
    "kafka/system_dlq",
    "bronze/player_events",
    "kafka/player_events_processed",
    "kafka/player_statistics",
    "kafka/game_leaderboards",
}
PLAYERS = LANDED_PLAYERS | {
    "silver/player_events",
    "gold/dim_player",
    "gold/fact_player_daily",
    "gold/leaderboard_history",
    "postgres/players_events",
    "postgres/players_player_statistics",
    "postgres/players_leaderboards",
    "postgres/players_dlq_events",
    "postgres/players_corrections",
    "redis/player_stats",
    "redis/leaderboards",
}
CONVERSIONS = STREAMED | {
    "silver/conversions",
    "silver/dim_users",
    "gold/dim_user",
    "gold/dim_hour",
    "gold/fact_conversions",
    "gold/conversions_daily",
    "gold/conversions_hourly",
    "gold/number_popularity",
    "gold/backfill_log",
}
SERVED_CARDS = (
    *("sets", "cards", "card_types", "card_subtypes", "card_supertypes", "card_keywords", "card_legalities"),
    "card_prices",
)
MTG = {
    "kafka/mtg_sets",
    "kafka/mtg_cards",
    "kafka/mtg_prices",
    "bronze/mtg_builds",
    "bronze/mtg_sets",
    "bronze/mtg_cards",
    "bronze/mtg_prices",
    "silver/mtg_sets",
    "silver/mtg_cards",
    "silver/mtg_prices",
    "gold/dim_mtg_set",
    "gold/dim_mtg_card",
    "gold/fact_mtg_card_price",
    "kafka/mtg_statistics",
    "gold/mtg_statistics",
    "postgres/mtg_card_statistics",
    *(f"postgres/mtg_{table}" for table in SERVED_CARDS),
}
TABLES |= CONVERSIONS | PLAYERS | RAWG | MTG


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    from lakehouse.definitions import defs

    return defs.get_repository_def()


def test_the_code_location_can_be_loaded_as_a_whole() -> None:
    from lakehouse.definitions import defs

    dg.Definitions.validate_loadable(defs)


def test_lineage_runs_unbroken_from_topic_to_mart(repository: dg.RepositoryDefinition) -> None:
    graph = repository.asset_graph
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == TABLES

    def upstream_of(*marts: str) -> set[str]:
        upstream, waiting = set(), {dg.AssetKey(["gold", mart]) for mart in marts}
        while waiting:
            key = waiting.pop()
            upstream.add(key.to_user_string())
            waiting |= graph.get(key).parent_keys
        return upstream

    assert (
        upstream_of("pgr_funnel_daily", "pgr_backlog_daily") == TABLES - PLATFORM - CONVERSIONS - PLAYERS - RAWG - MTG
    )
    assert {"kafka/roman_numeral_events", "silver/dim_users", "gold/fact_conversions"} <= upstream_of(
        "conversions_daily"
    )
    of_boards = {"kafka/player_events_raw", "bronze/player_events", "silver/player_events", "gold/fact_player_daily"}
    assert of_boards <= upstream_of("leaderboard_history")
    assert {"silver/rawg_members", *LANDED_RAWG} <= upstream_of("dim_tag", "bridge_game_tag", "fact_games")
    files = dg.AssetKey(["staging", "service_events_raw"])
    assert graph.get(dg.AssetKey(["bronze", "deliveries"])).parent_keys == {files}
    for topic, others in (("kafka/roman_numeral_events", STREAMED), ("kafka/player_events_raw", LANDED_PLAYERS)):
        for name in others - {topic}:
            assert graph.get(dg.AssetKey(name.split("/"))).parent_keys == {dg.AssetKey(topic.split("/"))}
    for name in ("kafka/mtg_statistics", "gold/mtg_statistics"):
        read = {dg.AssetKey(["kafka", "mtg_cards"]), dg.AssetKey(["kafka", "mtg_prices"])}
        assert graph.get(dg.AssetKey(name.split("/"))).parent_keys == read
    assert (
        dg.AssetKey(["gold", "mtg_statistics"])
        in graph.get(dg.AssetKey(["postgres", "mtg_card_statistics"])).parent_keys
    )
    streamed = {dg.AssetKey(["kafka", "roman_numeral_events"]), dg.AssetKey(["kafka", "player_events_raw"])}
    assert graph.get(dg.AssetKey(["bronze", "duplicates"])).parent_keys == streamed
    api = dg.AssetKey(["api", "rawg_games"])
    for pulled in ("rawg_games", "pulls"):
        assert graph.get(dg.AssetKey(["bronze", pulled])).parent_keys == {api}
    assert graph.get(dg.AssetKey(["bronze", "dead_letters"])).parent_keys == {
        api,
        files,
        dg.AssetKey(["kafka", "pgr_events"]),
        dg.AssetKey(["kafka", "roman_numeral_events_dlq"]),
        dg.AssetKey(["kafka", "system_dlq"]),
        *(dg.AssetKey(["kafka", f"mtg_{what}"]) for what in ("sets", "cards", "prices")),
    }


def test_every_table_has_group_owner_layer_kinds_and_description(repository: dg.RepositoryDefinition) -> None:
    for key in repository.asset_graph.get_all_asset_keys():
        node = repository.asset_graph.get(key)
        name = key.to_user_string()
        groups = {"platform": PLATFORM, "conversions": CONVERSIONS, "players": PLAYERS, "mtg": MTG, "rawg": RAWG}
        assert node.group_name == next((group for group, names in groups.items() if name in names), "pgr")
        assert node.owners
        assert {"layer", "domain"} <= set(node.tags)
        assert node.kinds
        assert node.description


def test_the_invariant_is_a_check_on_every_feed_and_stream(repository: dg.RepositoryDefinition) -> None:
    checked = {
        key.asset_key for key in repository.asset_graph.asset_check_keys if key.name == "every_offset_is_accounted_for"
    }
    assert checked == {dg.AssetKey(landed.contract.table.key) for landed in (*FEEDS, *LANDINGS)}


def test_the_invariant_is_a_check_on_what_is_pulled_and_many_months_are_one_run(
    repository: dg.RepositoryDefinition,
) -> None:
    games = dg.AssetKey(["bronze", "rawg_games"])
    checked = {key.name for key in repository.asset_graph.asset_check_keys if key.asset_key == games}
    assert {"every_window_is_accounted_for", "rawg_has_as_many_games"} <= checked
    assert repository.asset_graph.get(games).backfill_policy == dg.BackfillPolicy.single_run()
    assert repository.get_job("rawg_daily").tags["lakehouse/kind"] == "batch"


def test_many_days_of_marts_are_processed_in_one_run(repository: dg.RepositoryDefinition) -> None:
    pgr = {"silver/pgr_events", "gold/pgr_case_lifecycle", "gold/pgr_funnel_daily", "gold/pgr_backlog_daily"}
    players = {name for name in PLAYERS if name.startswith(("silver/", "gold/"))}
    for name in {*pgr, *players, "gold/backfill_log"}:
        node = repository.asset_graph.get(dg.AssetKey(name.split("/")))
        assert node.backfill_policy == dg.BackfillPolicy.single_run()


def test_the_calendar_is_made_with_the_gold_whose_facts_point_at_it_and_by_no_other_job(
    repository: dg.RepositoryDefinition,
) -> None:
    calendar = dg.AssetKey(["gold", "dim_date"])
    assert repository.asset_graph.get(calendar).parent_keys == set()
    jobs = {job.name for job in repository.get_all_jobs() if calendar in job.asset_layer.selected_asset_keys}
    by_calendar = {"conversions_gold", "mtg_daily", "players_daily", "rawg_daily"}
    assert jobs - {"__ASSET_JOB"} == by_calendar
    for job in by_calendar:
        checked = {key.name for key in repository.get_job(job).asset_layer.asset_graph.asset_check_keys}
        assert "unique_gold_dim_date_date_key" in checked


def test_each_hour_silver_of_the_players_alone_is_made_and_each_day_all_of_it(
    repository: dg.RepositoryDefinition,
) -> None:
    made = {
        name: {key.to_user_string() for key in repository.get_job(name).asset_layer.selected_asset_keys}
        for name in ("players_hourly", "players_daily")
    }
    assert made["players_hourly"] == {"silver/player_events"}
    assert made["players_daily"] == {"gold/dim_date", "postgres/players_corrections"} | {
        n for n in PLAYERS if n.startswith(("silver/", "gold/"))
    }


def test_drains_and_scheduled_jobs_are_told_apart(repository: dg.RepositoryDefinition) -> None:
    assert repository.get_job("pgr_micro_batch").tags["lakehouse/kind"] == "drain"
    assert repository.get_job("conversions_micro_batch").tags["lakehouse/kind"] == "drain"
    assert repository.get_job("pgr_files").tags["lakehouse/kind"] == "drain"
    assert repository.get_job("pgr_daily").tags["lakehouse/kind"] == "batch"
    assert repository.get_job("mtg_micro_batch").tags["lakehouse/kind"] == "drain"
    assert repository.get_job("mtg_daily").tags["lakehouse/kind"] == "batch"


def test_silver_reads_bronze_as_often_as_maintenance_shortens_its_history(repository: dg.RepositoryDefinition) -> None:
    for name in ("pgr_daily", "conversions_silver", "players_hourly", "maintenance"):
        assert str(repository.get_schedule_def(name).cron_schedule).split()[1:] == ["*"] * 4


def test_importing_the_code_location_loads_no_heavy_engine() -> None:
    heavy = ("pandas", "pyspark", "pyiceberg", "duckdb", "pyarrow", "dbt.cli", "trino", "confluent_kafka")
    script = f"import lakehouse.definitions, sys, json; print(json.dumps([m for m in {heavy!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
