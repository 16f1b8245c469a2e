"""RAWG's models against a real Trino: built batch by batch they equal a full rebuild and a count in Python."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyspark.sql import SparkSession

from lakehouse.adapters.spark.resource import SparkResource
from lakehouse.stack import down, up
from lakehouse_tests import rawg_marts
from lakehouse_tests.conftest import Stack
from lakehouse_tests.rawg_marts import Version, current, members, typed
from lakehouse_tests.warehouse import (
    Contents,
    Models,
    Row,
    Warehouse,
    assert_equals,
    assert_untouched_rows_stay,
    open_warehouse,
    without_audit,
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # dbt's own imports warn
]

TIED = datetime(2019, 1, 9, 12, 41, 6, tzinfo=UTC)
"""A quarter of RAWG's games share this moment."""
READ = datetime(2026, 3, 1, tzinfo=UTC)
KINDS = ("platform", "store", "genre", "tag")
STAR = ("fact_games", "dim_esrb_rating", *(f"{what}{kind}" for kind in KINDS for what in ("dim_", "bridge_game_")))

MODELS = Models(
    domain="rawg",
    bronze="rawg_games",
    columns={
        "game_id": "bigint not null",
        "updated_at": "timestamp(6) with time zone",
        "release_date": "date",
        "change": "varchar not null",
        "merged_into": "bigint",
        "content_hash": "varchar",
        "raw_payload": "varchar",
        "pull_window": "varchar not null",
        "pull_id": "varchar not null",
        "page": "integer",
        "source_url": "varchar",
        "fetched_at": "timestamp(6) with time zone",
        "ingested_at": "timestamp(6) with time zone",
    },
    partitioning=(),
    keys={"silver.rawg_games": ("game_id",), "silver.rawg_members": ("kind", "member_id")}
    | {f"gold.{table}": tuple(f"{part}_key" for part in table.split("_")[1:]) for table in STAR if "bridge" in table}
    | {f"gold.{table}": (f"{table.removeprefix('dim_')}_key",) for table in STAR if table.startswith("dim_")}
    | {"gold.fact_games": ("game_key",)},
)
QUESTION = """
    select d.name as genre, count(*) as links, sum(b.weight) as games, sum(b.weight * f.added) as added,
        min(f.date_key) as oldest
    from {bridge_game_genre} b
    join {dim_genre} d on b.genre_key = d.genre_key
    join {fact_games} f on b.game_key = f.game_key
    group by d.name order by d.name
"""
"""Of each genre its games, and how many users have one of them in a list; a game of three genres counts a third."""
LINEAGE = ("content_hash", "pull_window", "source_url", "ingested_at")


@pytest.fixture(scope="module")
def spark(stack: Stack) -> Iterator[SparkSession]:
    """Spark beside the other servers."""
    up(stack.settings, servers=["spark"])
    try:
        with SparkResource().session() as session:
            yield session
    finally:
        down(stack.settings, ["spark"])


@pytest.fixture
def warehouse(stack: Stack, tmp_path: Path) -> Iterator[Warehouse]:
    yield from open_warehouse(stack, MODELS, tmp_path)


def expected(bronze: list[Row]) -> Contents:
    versions = [version_of(row) for row in bronze]
    lineage = {(row["game_id"], row["fetched_at"], row["pull_id"]): row for row in bronze}
    games = {}
    for version in current(versions).values():
        row = lineage[version.game_id, version.fetched_at, version.pull_id]
        games[(version.game_id,)] = typed(version) | {name: row[name] for name in LINEAGE}
    return {"silver.rawg_games": games, "silver.rawg_members": members(versions)} | rawg_marts.gold(versions)


def found_in(warehouse: Warehouse) -> Contents:
    """The tables, with the names of unreadable fields in order."""
    found = warehouse.contents()
    for row in found["silver.rawg_games"].values():
        row["unreadable_fields"] = sorted(row["unreadable_fields"])
    return found


def version_of(row: Row) -> Version:
    names = ("game_id", "updated_at", "fetched_at", "change", "merged_into", "release_date", "pull_id")
    item = None if row["raw_payload"] is None else json.loads(row["raw_payload"])
    return Version(item=item, **{name: row[name] for name in names})


def random_versions(rng: random.Random, count: int) -> list[Row]:
    """Versions of a few games, read in an order that is not RAWG's, some gone, some back, some of odd shapes."""
    rows = []
    for number in range(count):
        change = rng.choices(["seen", "deleted", "merged"], [12, 1, 1])[0]
        item = random_item(rng) if change == "seen" else None
        rows.append(
            dict.fromkeys(MODELS.columns)
            | {
                "game_id": rng.randrange(1, 25),
                "updated_at": rng.choice([None, TIED, TIED, TIED + timedelta(days=rng.randrange(9))]),
                "release_date": rng.choice([None, date(1958, 10, 18), date(2027, 2, 3)]) if item else None,
                "change": change,
                "merged_into": 7 if change == "merged" else None,
                "content_hash": hashlib.sha256(json.dumps(item).encode()).hexdigest() if item else None,
                "raw_payload": json.dumps(item, ensure_ascii=False) if item else None,
                "pull_window": "released:2024-08",
                "pull_id": f"pull-{number:04}",
                "page": 1,
                "source_url": "http://127.0.0.1/api/games?page=1#1",
                "fetched_at": READ + timedelta(seconds=rng.randrange(count // 2)),
                "ingested_at": READ,
            }
        )
    return rows


def random_item(rng: random.Random) -> Row:
    """An item as RAWG has them, with fields that are null, absent, empty, or of another shape."""
    item: Row = {
        "slug": f"game-{rng.randrange(9)}",
        "name": rng.choice(["Tetris", "O'Neil", "ゼルダ", "É"]),
        "tba": rng.choice([True, False, None]),
        "rating": rng.choice([0, 0.0, 4.47, 3.5, "4.5", None]),
        "rating_top": rng.choice([0, 5, None]),
        "ratings": rng.choice([[], [{"id": 5, "title": "exceptional", "count": 41, "percent": 59.11}], None]),
        "ratings_count": rng.choice([0, 7, None]),
        "reviews_count": rng.randrange(9),
        "reviews_text_count": rng.randrange(9),
        "added": rng.randrange(99),
        "added_by_status": rng.choice([None, {}, {"yet": 1, "owned": 2}, {"playing": None, "new": 3}, []]),
        "metacritic": rng.choice([None, 0, 92, "good"]),
        "playtime": rng.choice([0, 3]),
        "suggestions_count": rng.randrange(9),
        "background_image": rng.choice([None, "https://example.org/a.jpg"]),
        "platforms": random_list(rng, "platform", random_platform),
        "parent_platforms": rng.choice([None, [{"platform": {"id": 1, "name": "PC", "slug": "pc"}}]]),
        "stores": random_list(rng, "store", lambda one: {"id": 5, "store": one | {"domain": "example.org"}}),
        "genres": random_list(rng, "genre", lambda one: one),
        "tags": random_list(rng, "tag", lambda one: one | {"language": rng.choice(["eng", "rus"])}),
        "esrb_rating": rng.choice([None, {"id": 4, "name": "Mature", "slug": "mature"}, {"id": 0, "name": "none"}]),
    }
    for name in rng.sample(sorted(item), rng.choice([0, 0, 1, 3])):
        del item[name]
    return item


def random_list(rng: random.Random, kind: str, entry: Any) -> Any:
    """Members by a few ids, which are called otherwise each time, come twice, in any order, or have no id."""
    if rng.random() < 0.2:
        return rng.choice([None, [], {}])
    if rng.random() < 0.05:
        return [entry({"name": "without an id"}), entry({"id": -1, "name": "not an id"})]
    ids = rng.choices(range(1, 12), k=rng.choice([1, 2, 3, 7, 11]))
    names = [rng.choice([None, f"{kind} {i}", f"{kind} {i} again", "É"]) for i in ids]
    return [entry({"id": i, "name": name, "slug": f"{kind}-{i}"}) for i, name in zip(ids, names, strict=True)]


def random_platform(one: Row) -> Row:
    needs = [None, {}, {"minimum": ""}, {"minimum": "RAM: 8 GB", "recommended": "RAM: 16 GB"}]
    number = one.get("id", 0)
    return {
        "platform": one | {"year_start": None if number % 2 else 1980 + number, "year_end": None},
        "released_at": [None, "2013-09-17", "", "soon"][number % 4],
        "requirements_en": needs[number % 4],
        "requirements_ru": needs[(number + 1) % 4],
    }


def test_batches_in_any_order_leave_what_a_full_rebuild_would_and_every_engine_reads_the_same(
    warehouse: Warehouse, spark: SparkSession
) -> None:
    """Slices of random versions; then some of bronze is deleted."""
    rng = random.Random(8)
    versions = random_versions(rng, 120)
    before: Contents | None = None
    for first, last in ((0, 70), (70, 120)):
        warehouse.land(versions[first:last])
        warehouse.run()
        found = found_in(warehouse)
        assert_equals(found, expected(versions[:last]))
        if before:
            assert_untouched_rows_stay(before, found)
        before = found
    unchanged = warehouse.snapshots()
    warehouse.run()
    assert warehouse.snapshots() == unchanged, "a run without news writes nothing"
    assert_one_answer(warehouse, spark, versions)

    warehouse.sql(
        f"delete from {warehouse.bronze} where game_id % 3 = 0 or cast(substr(pull_id, 6) as integer) % 4 = 0"
    )
    warehouse.run()
    found, remaining = found_in(warehouse), warehouse.landed()
    assert 0 < len(remaining) < len(versions)
    assert_equals(found, expected(remaining))
    warehouse.run("--full-refresh")
    assert_equals(found, {table: without_audit(rows) for table, rows in found_in(warehouse).items()})


def test_a_day_of_changes_writes_in_proportion_and_every_rule_holds(warehouse: Warehouse) -> None:
    """Of 200 games two have changed. dbt takes the types of given rows from tables: these are built first."""
    games = [plain_game(number) for number in range(200)]
    build = ("build", "--exclude-resource-type", "unit_test", "--select", "group:rawg", "group:platform")
    warehouse.land(games)
    warehouse.dbt(*build)
    first = found_in(warehouse)
    renamed = plain_game(0, name="renamed", genres=[4, 5])
    gone = plain_game(1) | {"change": "deleted", "raw_payload": None, "release_date": None, "content_hash": None}
    changes = [row | {"fetched_at": READ + timedelta(days=1), "pull_id": "second"} for row in (renamed, gone)]
    warehouse.land(changes)
    warehouse.dbt(*build)
    found = found_in(warehouse)
    assert_equals(found, expected(games + changes))
    assert_untouched_rows_stay(first, found)
    written = {table: sum(first[table].get(key) != row for key, row in rows.items()) for table, rows in found.items()}
    # Of the fact the renamed game; of its genres the new one, and the other's smaller weight.
    gold = {"gold.fact_games": 1, "gold.bridge_game_genre": 2, "gold.dim_genre": 1}
    assert {table: count for table, count in written.items() if table.startswith("gold.") and count} == gold
    assert written["silver.rawg_games"] == 2
    reads = warehouse.reads()
    assert set(reads) == {table for table in MODELS.keys if "dim_" not in table}
    assert all(modes == ["all", "changes"] for modes in reads.values())
    warehouse.dbt("test", "--select", "group:rawg,test_type:unit")


def plain_game(number: int, *, name: str = "a game", genres: tuple[int, ...] | list[int] = (4,)) -> Row:
    item = {
        "name": name,
        "slug": f"game-{number}",
        "rating": 4.47,
        "tba": False,
        "platforms": [{"platform": {"id": i, "name": f"platform {i}", "slug": f"p-{i}"}} for i in (4, 7, 18)],
        "genres": [{"id": i, "name": f"genre {i}", "slug": f"g-{i}"} for i in genres],
        "tags": [],
        "stores": None,
    }
    return dict.fromkeys(MODELS.columns) | {
        "game_id": number + 1,
        "updated_at": TIED,
        "release_date": date(2024, 8, 1),
        "change": "seen",
        "content_hash": name,
        "raw_payload": json.dumps(item),
        "pull_window": "released:2024-08",
        "pull_id": "first",
        "fetched_at": READ,
        "ingested_at": READ,
    }


def assert_one_answer(warehouse: Warehouse, spark: SparkSession, versions: list[Row]) -> None:
    """Trino, Spark, DuckDB and pandas say the same, of tables that hold files of deleted places, too."""
    names = ("fact_games", "dim_genre", "bridge_game_genre")
    held = {name: warehouse.table(f"gold.{name}") for name in names}
    assert any(table.inspect.delete_files().num_rows for table in held.values())
    facts, genres, bridge = (held[name].scan().to_pandas() for name in names)
    links = bridge.merge(genres, on="genre_key").merge(facts, on="game_key", suffixes=("_of_genre", ""))
    links["added"] *= links["weight"]
    of_genre = links.groupby("name_of_genre", sort=True)
    by_pandas = of_genre.agg(n=("game_key", "size"), w=("weight", "sum"), a=("added", "sum"), o=("date_key", "min"))
    with duckdb.connect() as engine:
        for name, table in held.items():
            engine.register(name, table.scan().to_arrow())
        by_duckdb = engine.sql(QUESTION.format_map({name: name for name in names})).fetchall()
    in_spark = {name: f"{warehouse.prefix}gold.{name}" for name in names}
    in_trino = {name: f"{{p}}gold.{name}" for name in names}
    wanted = answer(versions)
    assert len(wanted) > 5
    assert [tuple(row) for row in warehouse.sql(QUESTION.format_map(in_trino))] == wanted
    assert [tuple(row) for row in spark.sql(QUESTION.format_map(in_spark)).collect()] == wanted
    assert by_duckdb == wanted
    assert [(genre, *row) for genre, row in zip(by_pandas.index, by_pandas.to_numpy(), strict=True)] == wanted


def answer(versions: list[Row]) -> list[tuple[Any, ...]]:
    """Counted in plain Python."""
    star = rawg_marts.gold(version_of(row) for row in versions)
    found: dict[str, list[Row]] = defaultdict(list)
    for (game, genre), link in star["gold.bridge_game_genre"].items():
        found[star["gold.dim_genre"][(genre,)]["name"]].append(link | star["gold.fact_games"][(game,)])
    return [
        (
            genre,
            len(links),
            sum(link["weight"] for link in links),
            sum(link["weight"] * link["added"] for link in links),
            min((link["date_key"] for link in links if link["date_key"]), default=None),
        )
        for genre, links in sorted(found.items())
    ]
