"""Real games from a server like RAWG's into the star, by Dagster's job; each table counted again in plain Python."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from lakehouse.naming import Domain
from lakehouse_tests import rawg_marts
from lakehouse_tests.cleared import clear
from lakehouse_tests.conftest import REAL_DATA, Stack, questions_of_the_readme
from lakehouse_tests.integration.test_rawg_models import MODELS, STAR, version_of
from lakehouse_tests.rawg_marts import Rows, Version, current, members, typed
from lakehouse_tests.real_data import games
from lakehouse_tests.warehouse import Warehouse, assert_equals, open_warehouse, without_audit

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # dbt's own imports warn
]

KEY = "a-key-of-the-tests"
CHANGED = 100
"""Of some 11,000 games: one in a hundred."""

Item = dict[str, Any]


def read(folder: Path) -> dict[int, bytes]:
    """Games of three files by id: a recorded page of lists, 150 as they are answered alone, and the flattened ones."""
    with gzip.open(folder / "rawg_150_details_2026.json.gz") as file:
        details = [game["raw"] for game in json.load(file)]
    found = {item["id"]: games.encode(item) for item in games.bulk(folder, {})}
    found |= {item["id"]: games.encode(item) for item in details}
    return found | {json.loads(item)["id"]: item for item in games.recorded(folder)}


@dataclass(frozen=True)
class Star:
    """The tables of the stack, as they are for everyone, and the server that they come from."""

    warehouse: Warehouse
    server: Any
    items: dict[int, bytes]

    def daily(self) -> dg.ExecuteInProcessResult:
        """The job, as the clock runs it."""
        from lakehouse.definitions import defs

        done = defs.resolve_job_def("rawg_daily").execute_in_process()
        failed = [check.check_name for check in done.get_asset_check_evaluations() if not check.passed]
        assert not [name for name in failed if name != "rawg_has_as_many_games"], failed
        return done

    def pull_months(self, first: str, last: str) -> None:
        """A backfill of months of release: one run over a range of partitions."""
        from lakehouse.domains.rawg.bronze import rawg_games

        done = dg.materialize(
            [rawg_games], tags={ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
        )
        made = [event.step_materialization_data.materialization for event in done.get_asset_materialization_events()]
        assert sorted(str(one.partition) for one in made) == [first, last]
        assert all(one.metadata["windows"].value == len(made) for one in made)

    def put(self, *items: Item) -> None:
        from lakehouse.domains.rawg.site import game_of

        self.server.site.put(*(game_of(games.encode(item), created=item["id"]) for item in items))

    def assert_right(self) -> dict[str, Rows]:
        """Every table says what bronze says, counted in Python; bronze itself is held against the files elsewhere."""
        versions = [version_of(row) for row in self.warehouse.rows("bronze.rawg_games")]
        found = self.warehouse.contents()
        assert_equals({f"gold.{table}": found[f"gold.{table}"] for table in STAR}, rawg_marts.gold(versions))
        assert without_audit(found["silver.rawg_members"]) == members(versions)
        wanted = {(version.game_id,): typed(version) for version in current(versions).values()}
        for key, row in found["silver.rawg_games"].items():
            have = row | {"unreadable_fields": sorted(row["unreadable_fields"])}
            assert {name: have[name] for name in wanted[key]} == wanted[key]
        assert found["silver.rawg_games"].keys() == wanted.keys()
        return found


@pytest.fixture(scope="module")
def star(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Star]:
    """All games by months of release, then the daily job."""
    from lakehouse.domains.rawg.ingest import pull_windows
    from lakehouse.domains.rawg.server import Trouble, running
    from lakehouse.domains.rawg.site import Site, game_of
    from lakehouse.domains.rawg.windows import ROOTS
    from lakehouse.settings import load

    clear(stack, Domain.RAWG)  # games of other tests would be missed, and asked for one by one
    items = read(Path(os.environ[REAL_DATA]) / "rawg")
    site = Site(game_of(item, created=number) for number, item in items.items())
    with running(site, Trouble(failing=0.01, seed=2)) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "LAKEHOUSE_RAWG_URL": server.url,
            "RAWG_API_KEY": KEY,
            "LAKEHOUSE_RAWG_REQUESTS_PER_SECOND": "100000",
            "LAKEHOUSE_RAWG_REQUESTS_PER_MONTH": "1000000",
            "LAKEHOUSE_RAWG_WORKERS": "8",
        }.items():
            patch.setenv(name, value)
        pull_windows(load(), list(ROOTS.values()), run_id="first load", again=True)
        for warehouse in open_warehouse(stack, MODELS, tmp_path_factory.mktemp("star"), prefix=""):
            yield Star(warehouse, server, items)


def test_the_job_makes_the_star_that_the_files_tell_of(star: Star) -> None:
    done = star.daily()
    found = star.assert_right()
    for number, item in star.items.items():
        said = json.loads(item)
        released = date.fromisoformat(said["released"]) if said["released"] else None
        version = Version(number, None, datetime.now(UTC), said, release_date=released)
        (fact,) = rawg_marts.gold([version])["gold.fact_games"].values()
        held = found["gold.fact_games"][(fact["game_key"],)]
        assert {name: held[name] for name in fact if name != "updated_at"} | {"updated_at": None} == fact
    (made,) = [
        event.step_materialization_data.materialization.metadata
        for event in done.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["gold", "fact_games"])
    ]
    assert made["dagster/row_count"].value == len(found["gold.fact_games"])
    assert "Grand Theft Auto V" in str(made["best_known"].value)
    assert " 2013 █" in str(made["releases_by_year"].value)


def test_where_nothing_has_changed_dbt_is_not_started(star: Star) -> None:
    """Then nothing is checked anew either, and every table is told of as ever."""
    before = star.warehouse.contents()
    done = star.daily()
    made = {event.asset_key: event.step_materialization_data for event in done.get_asset_materialization_events()}
    assert {("gold", table) for table in STAR} <= {tuple(key.path) for key in made if key}
    metadata = made[dg.AssetKey(["gold", "fact_games"])].materialization.metadata
    assert metadata["dagster/row_count"].value == len(before["gold.fact_games"])
    assert "releases_by_year" in metadata
    assert not [check for check in done.get_asset_check_evaluations() if check.asset_key.path[0] in ("silver", "gold")]
    assert star.warehouse.contents() == before


def test_sums_over_a_bridge_are_sums_over_the_games(star: Star) -> None:
    facts = star.warehouse.rows("gold.fact_games")
    total = sum(row["suggestions_count"] for row in facts)
    for table in (table for table in STAR if "bridge" in table):
        weighed = star.warehouse.sql(
            f"select sum(b.weight * f.suggestions_count), sum(b.weight), min(b.weight) from gold.{table} b"
            " join gold.fact_games f on b.game_key = f.game_key"
        )
        assert weighed[0][:2] == [Decimal(total), Decimal(len(facts))]
        assert weighed[0][2] > 0


def test_a_day_of_changes_writes_what_has_changed_and_a_build_from_nothing_has_the_same_keys(star: Star) -> None:
    """One in a hundred has other numbers and genres; one is deleted, which a month of release finds."""
    before = star.warehouse.contents()
    yesterday = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT12:00:00")
    known = {number: json.loads(item) for number, item in star.items.items()}
    changed = [item for item in known.values() if item["genres"]][:CHANGED]
    star.put(*(item | {"updated": yesterday, "metacritic": 99, "genres": item["genres"][:1]} for item in changed))
    gone = next(item for item in known.values() if item["released"] == "2012-10-16")
    star.server.site.remove(gone["id"])
    star.pull_months("2012-09", "2012-10")
    star.daily()
    found = star.assert_right()
    assert found["gold.fact_games"].keys() == before["gold.fact_games"].keys() - {(rawg_marts.key(gone["id"]),)}
    written = sum(before["gold.fact_games"][key] != row for key, row in found["gold.fact_games"].items())
    assert CHANGED - 1 <= written <= CHANGED
    for table in STAR:
        if "dim_" in table or "genre" in table or table == "fact_games":
            continue
        assert all(before[f"gold.{table}"].get(key) == row for key, row in found[f"gold.{table}"].items()), table

    star.warehouse.run("--full-refresh")
    rebuilt = star.warehouse.contents()
    assert {table: without_audit(rows) for table, rows in found.items()} == {
        table: without_audit(rows) for table, rows in rebuilt.items()
    }


def test_the_questions_of_the_readme_have_answers(star: Star) -> None:
    questions = questions_of_the_readme("rawg")
    assert len(questions) == 3
    for question in questions:
        assert star.warehouse.sql(question), question
