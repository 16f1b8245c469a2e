"""Which days of update are due, whatever became of each; and what is shown of games when there are none."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.domains.rawg import ingest, overview
from lakehouse.domains.rawg.contract import RAWG_GAME
from lakehouse.domains.rawg.server import running
from lakehouse.domains.rawg.site import Game, Site
from lakehouse.domains.rawg.windows import month_window
from lakehouse.ledger.pulls import Progress, Pulls, State
from lakehouse.settings import load
from lakehouse_tests.rawg import KEY, OLD, client, game, pull_all

UNTIL = date(2026, 11, 25)
WEEK = [UNTIL - timedelta(days=back) for back in range(6, -1, -1)]


@pytest.fixture(autouse=True)
def settled(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ingest, overview):
        monkeypatch.setattr(module, "connect", lambda settings: catalog)


def ended(catalog: SqlCatalog, windows: Iterable[str], state: State = State.CLOSED) -> None:
    pulls = [Progress(uuid.uuid4().hex, window, 0, datetime.now(UTC), state=state) for window in windows]
    Pulls(catalog, "rawg").write_down(pulls, "bronze.rawg_games", "tests")


def due() -> list[date]:
    return [one.updated[0] for one in ingest.days_to_update(load(), until=UNTIL) if one.updated]


def of(*days: date) -> list[str]:
    return [f"updated:{day}" for day in days]


def test_the_first_run_looks_back_a_week_and_the_next_reads_the_newest_days_again(catalog: SqlCatalog) -> None:
    assert due() == WEEK
    ended(catalog, of(*WEEK[:-1]))
    assert due() == WEEK[-3:]


def test_a_day_that_was_not_read_to_its_end_is_due_though_later_ones_were(catalog: SqlCatalog) -> None:
    """It failed, it changed too much, it was given up, or another run had it."""
    ended(catalog, of(*WEEK[:2], *WEEK[5:]))
    ended(catalog, of(WEEK[3]), State.DISTURBED)
    ended(catalog, of(WEEK[4]), State.ABANDONED)
    assert due() == WEEK[2:]


def test_days_without_a_run_are_made_up_for_as_far_as_months_do_not(catalog: SqlCatalog) -> None:
    ended(catalog, of(UNTIL - timedelta(days=30)))
    assert due() == [UNTIL - timedelta(days=back) for back in range(31 - 1, -1, -1)]
    ended(catalog, of(UNTIL - timedelta(days=300)))
    assert len(due()) == ingest.MOST_DAYS


def test_parts_of_a_day_that_was_split_do_not_stand_for_it(catalog: SqlCatalog) -> None:
    day = WEEK[2]
    ended(catalog, of(*WEEK[:2], *WEEK[3:]))
    ended(catalog, [f"updated:{day}+released:none", f"updated:{day}+released:{day}"])
    assert due() == [day, *WEEK[5:]]
    ended(catalog, of(day))
    assert due() == WEEK[5:]


def test_of_no_games_there_is_nothing_to_show(catalog: SqlCatalog) -> None:
    ensure_table(catalog, RAWG_GAME)
    assert overview.describe_games(load())["dagster/row_count"] == 0


def test_counts_agree_with_the_api_also_where_items_were_refused(
    catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site([game(1), game(2), Game(-1, "", "2024-08-01", OLD, 0, b"{}")])
    with running(site) as server:
        monkeypatch.setenv("LAKEHOUSE_RAWG_URL", server.url)
        monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
        monkeypatch.setenv("RAWG_API_KEY", KEY)
        pull_all(server, catalog, tmp_path, [month_window(2024, 8)])
        assert [(one.said, one.held) for one in overview.compare_counts(load())] == [(3, 3)]
        site.remove(2)
        assert [(one.said, one.held) for one in overview.compare_counts(load())] == [(2, 3)]
        assert client(server, tmp_path).size(month_window(2024, 8)) == 2
