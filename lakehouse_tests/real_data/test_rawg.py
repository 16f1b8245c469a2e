"""Real games, served by a server like RAWG's: bronze says what the files say, each version once, with all ties."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from lakehouse.domains.rawg.server import RawgServer, Trouble, running
from lakehouse.domains.rawg.site import Site, game_of
from lakehouse.domains.rawg.windows import ROOTS, updated_between
from lakehouse_tests.conftest import REAL_DATA, Stack
from lakehouse_tests.real_data import games
from lakehouse_tests.real_data.games import Version

pytestmark = [pytest.mark.real_data, pytest.mark.timeout(600)]

KEY = "a-key-of-the-tests"
TIE = "2019-01-09T12:41:06"
TIED = date(2019, 1, 9)
PULLED = """
    select game_id, updated_at, release_date, raw_payload from iceberg.bronze.rawg_games
    where change = 'seen' and game_id < 1000000000000 -- others are those of other tests
"""


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(os.environ[REAL_DATA]) / "rawg"


@pytest.fixture(scope="module")
def items(folder: Path) -> dict[int, bytes]:
    """All games as they were before 2026, by id."""
    updated = games.states(folder)
    found = {item["id"]: games.encode(item) for item in games.bulk(folder, updated)}
    found |= {item["id"]: games.encode(item) for item in games.bare(updated, set(found))}
    return found | {json.loads(item)["id"]: item for item in games.recorded(folder)}


@pytest.fixture(scope="module")
def server(items: dict[int, bytes], folder: Path) -> Iterator[RawgServer]:
    details = games.recorded_details(folder)
    site = Site(game_of(item, created=number) for number, item in items.items())
    known = json.loads(details)["id"]
    site.put(game_of(items[known], created=known, details=details) if known in items else game_of(details))
    with running(site, Trouble(failing=0.01, half=0.005, seed=1)) as running_server:
        yield running_server


@pytest.fixture(scope="module")
def pulled(stack: Stack, server: RawgServer) -> Iterator[pytest.MonkeyPatch]:
    """All games, by months of release, and once more by the days of update with the most of them."""
    from lakehouse.domains.rawg.ingest import pull_windows
    from lakehouse.settings import load

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "LAKEHOUSE_RAWG_URL": server.url,
            "RAWG_API_KEY": KEY,
            "LAKEHOUSE_RAWG_REQUESTS_PER_SECOND": "100000",
            "LAKEHOUSE_RAWG_WORKERS": "8",
        }.items():
            patch.setenv(name, value)
        done = pull_windows(load(), list(ROOTS.values()), run_id="first load")
        assert (done.refused, done.disturbed) == (0, [])
        again = pull_windows(load(), updated_between(TIED, TIED), run_id="ties")
        assert again.rows == 0, "all of them are held"
        assert again.items > 17_000
        yield patch


def landed(stack: Stack) -> list[Version]:
    return [
        (game, updated, released, json.dumps(json.loads(payload), sort_keys=True))
        for game, updated, released, payload in stack.sql(PULLED)
    ]


def test_bronze_says_what_the_files_say(stack: Stack, pulled: pytest.MonkeyPatch, items: dict[int, bytes]) -> None:
    wanted = Counter(map(games.version, items.values()))
    found = Counter(landed(stack))
    assert len(wanted) == len(items) > 60_000
    assert found - wanted == Counter()
    assert wanted - found == Counter()
    tied = stack.sql(
        f"select count(distinct game_id) from ({PULLED}) where updated_at = from_iso8601_timestamp('{TIE}Z')"
    )
    assert tied[0][0] == sum(json.loads(item)["updated"] == TIE for item in items.values()) > 17_000


def test_what_was_recorded_later_is_a_version_and_the_account_closes(
    stack: Stack, pulled: pytest.MonkeyPatch, items: dict[int, bytes], server: RawgServer, folder: Path
) -> None:
    from lakehouse.audit import run_audit
    from lakehouse.domains.rawg.ingest import pull_windows, status
    from lakehouse.settings import load

    later = {item["id"]: games.encode(item) for item in games.later(folder)}
    changed = {game: item for game, item in later.items() if game in items}
    assert len(changed) > 20, "games of which there are two recordings"
    server.site.put(*(game_of(item, created=game) for game, item in later.items()))
    before = server.requests
    done = pull_windows(load(), updated_between(date(2026, 1, 30), date(2026, 2, 1)), run_id="daily")
    assert done.rows == len(later)
    assert server.requests - before < 20
    assert Counter(landed(stack)) == Counter(map(games.version, [*items.values(), *later.values()]))
    report = run_audit(load(), deep=True)
    own = [account for account in report.accounts if account.source == "rawg"]
    assert [gap for account in own for gap in account.gaps] == []
    assert len(own) > 720
    assert status(load()).used >= server.requests
    assert KEY not in json.dumps(
        stack.sql("select * from iceberg.bronze.pulls where requests < 3 limit 50"), default=str
    )
    assert stack.sql(f"select count(*) from iceberg.bronze.rawg_games where source_url like '%{KEY}%'") == [[0]]
