"""A REST catalog instead of the one in PostgreSQL: the games from bronze to gold on a Nessie, in a bucket."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from lakehouse.adapters.iceberg.catalog import connect, ensure_table, find_table
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.domains.rawg.server import running
from lakehouse.domains.rawg.site import Site
from lakehouse.domains.rawg.windows import month_window
from lakehouse.naming import FACT_GAMES
from lakehouse.settings import load
from lakehouse_tests import rawg
from lakehouse_tests.conftest import Stack
from lakehouse_tests.home import Home, open_home
from lakehouse_tests.integration.test_rawg_models import MODELS, expected, found_in, random_versions
from lakehouse_tests.warehouse import Warehouse, assert_equals, assert_untouched_rows_stay, open_warehouse

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # dbt's own imports warn
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with open_home(tmp_path_factory.mktemp("nessie") / "home") as made:
        made.environment |= {
            "LAKEHOUSE_WAREHOUSE": "s3://lake/warehouse",
            "LAKEHOUSE_S3_ENDPOINT": "local",
            "LAKEHOUSE_CATALOG_URL": "local",
        }
        assert "Nessie: started" in made.up("trino")
        with made.as_environment():
            yield made


@pytest.fixture
def catalog(home: Home) -> Catalog:
    return connect(load())


@pytest.fixture
def warehouse(home: Home, tmp_path: Path) -> Iterator[Warehouse]:
    yield from open_warehouse(Stack(home.settings), MODELS, tmp_path)


def test_the_star_is_built_and_kept_as_on_the_other_catalog(warehouse: Warehouse) -> None:
    """Nessie shows one snapshot of a table, so each run reads all of bronze; it writes what has changed, as ever."""
    versions = random_versions(random.Random(10), 60)
    warehouse.land(versions[:50])
    warehouse.run()
    before = found_in(warehouse)
    assert_equals(before, expected(versions[:50]))
    warehouse.land(versions[50:])
    warehouse.run()
    found = found_in(warehouse)
    assert_equals(found, expected(versions))
    assert_untouched_rows_stay(before, found)
    assert all(modes == ["all", "all"] for modes in warehouse.reads().values())
    held = warehouse.table("gold.fact_games").scan().to_arrow()
    assert set(held["game_id"].to_pylist()) == {row["game_id"] for row in found["gold.fact_games"].values()}


def test_of_two_writers_at_once_one_is_told_so_from_the_first_commit_on(catalog: Catalog) -> None:
    """On this the ledger rests: its commits are made on what their writer has seen, or not at all."""
    assert find_table(catalog, DEAD_LETTER.table) is None
    ensure_table(catalog, DEAD_LETTER)
    for number in range(2):
        one, other = (catalog.load_table(DEAD_LETTER.table.identifier) for _ in range(2))
        append(one, f"first {number}")
        with pytest.raises(CommitFailedException):
            append(other, f"second {number}")
    held = catalog.load_table(DEAD_LETTER.table.identifier)
    assert sorted(held.scan().to_arrow()["dead_letter_id"].to_pylist()) == ["first 0", "first 1"]
    assert held.properties["lakehouse.ledger.test"] == "first 1"


def append(table: Table, name: str) -> None:
    """As the ledgered writers commit: rows and ledger at once, and never again by PyIceberg itself."""
    row = {field.name: None for field in table.schema().fields} | {
        "dead_letter_id": name,
        "source": "test",
        "contract": "test",
        "error_type": "TEST",
        "error_message": "a test",
        "failed_at": datetime.now(UTC),
    }
    table.metadata.properties["commit.retry.num-retries"] = "0"
    with table.transaction() as transaction:
        transaction.append(pa.Table.from_pylist([row], schema=table.schema().as_arrow()))
        transaction.set_properties({"lakehouse.ledger.test": name})


def test_games_are_pulled_and_every_window_is_accounted_for(catalog: Catalog, tmp_path: Path) -> None:
    """Then one has changed, and one is gone."""
    august = [month_window(2024, 8)]
    with running(Site(rawg.game(number) for number in range(1, 60))) as server:
        assert rawg.pull_all(server, catalog, tmp_path, august).rows == 59
        assert rawg.pull_all(server, catalog, tmp_path, august).rows == 0
        server.site.put(rawg.game(1, name="changed", updated="2026-01-01T00:00:00"))
        server.site.remove(2)
        assert rawg.pull_all(server, catalog, tmp_path, august).gone == 1
        assert rawg.payloads(catalog) == rawg.on_server(server.site.games)
    assert rawg.gaps(catalog) == []


def test_the_job_of_every_night_makes_the_star_of_what_the_server_has(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Games of the tests before that this server does not have are found to be gone."""
    from lakehouse.definitions import defs

    site = Site(
        rawg.game(number, updated=f"{datetime.now(UTC) - timedelta(days=2):%Y-%m-%dT00:00:00}")
        for number in range(1, 90)
    )
    with running(site) as server:
        monkeypatch.setenv("LAKEHOUSE_RAWG_URL", server.url)
        monkeypatch.setenv("RAWG_API_KEY", rawg.KEY)
        monkeypatch.setenv("LAKEHOUSE_RAWG_REQUESTS_PER_SECOND", "1000")
        before = os.environ.copy()
        done = defs.resolve_job_def("rawg_daily").execute_in_process()
    assert done.success
    assert os.environ.copy() == before, "what dbt is told is told to nobody else"
    assert [check.check_name for check in done.get_asset_check_evaluations() if not check.passed] == []
    facts = catalog.load_table(FACT_GAMES.identifier).scan(selected_fields=("game_id",)).to_arrow()
    assert sorted(facts["game_id"].to_pylist()) == sorted(game.game_id for game in site.games)
    assert rawg.gaps(catalog) == []


def test_without_a_bucket_it_does_not_start_and_says_why(home: Home) -> None:
    done = home.run("up", "nessie", LAKEHOUSE_WAREHOUSE="")
    assert done.returncode == 1
    assert "Nessie keeps tables in a bucket only" in done.stderr


def test_the_settings_say_where_the_catalog_is(home: Home) -> None:
    done = json.loads(home.run("settings", "--json").stdout)
    assert f"http://127.0.0.1:{home.settings.nessie_port}/iceberg" in json.dumps(done)
