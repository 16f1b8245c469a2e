"""Pulls: everything the API lists is landed once, whatever moves, changes or fails meanwhile, and accounted for."""

from __future__ import annotations

import random
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.domains.rawg import pull as pulling
from lakehouse.domains.rawg.lake import Landing, PageRead
from lakehouse.domains.rawg.made import TIE, changed, made_games
from lakehouse.domains.rawg.pull import read_window
from lakehouse.domains.rawg.server import Trouble, running
from lakehouse.domains.rawg.site import Game, Site, now
from lakehouse.domains.rawg.source import KeyRefusedError
from lakehouse.domains.rawg.windows import ROOTS, Window, month_window, updated_between
from lakehouse.errors import LakehouseError
from lakehouse.ledger.budget import Budget, BudgetError
from lakehouse.ledger.pulls import Progress, Pulls
from lakehouse.naming import PULLS, RAWG_GAMES
from lakehouse_tests.catalogs import sqlite_catalog
from lakehouse_tests.rawg import (
    KEY,
    OLD,
    accounts,
    client,
    current,
    game,
    gaps,
    item,
    letters,
    on_server,
    payloads,
    pull_all,
    pulls,
    rows,
)

AUGUST, SEPTEMBER = month_window(2024, 8), month_window(2024, 9)
ALL = list(ROOTS.values())
TIED_DAY = updated_between(date(2019, 1, 9), date(2019, 1, 9))


class Killed(BaseException):
    """Ends a run as nothing in it expects."""


def end_the_run(*_: object) -> None:
    raise Killed


def test_everything_is_landed_as_received_and_a_second_time_nothing(catalog: SqlCatalog, tmp_path: Path) -> None:
    site = Site(made_games(400, seed=3))
    with running(site) as server:
        first = pull_all(server, catalog, tmp_path, ALL, workers=8)
        recent = [window for window in ALL if window.released is None or window.released[1] > date(2024, 1, 1)]
        again = pull_all(server, catalog, tmp_path, recent, workers=8)
    assert (first.rows, again.rows) == (400, 0)
    assert again.items > 50
    assert payloads(catalog) == on_server(site.games)
    assert {row["raw_payload"] for row in rows(catalog)} == {one.item.decode() for one in site.games}
    assert sum(account.bronze for account in accounts(catalog).values()) == 400
    assert gaps(catalog) == []
    assert not [name for name in catalog.load_table(RAWG_GAMES.identifier).properties if "lakehouse.pull." in name]


def test_what_changed_makes_a_version_and_decorations_do_not(catalog: SqlCatalog, tmp_path: Path) -> None:
    tags = [{"id": 1, "name": "x", "slug": "x", "games_count": 1}]
    site = Site([game(1), game(2), game(3, tags=tags)])
    with running(site) as server:
        pull_all(server, catalog, tmp_path, [AUGUST])
        site.put(game(1, rating=4.0), game(2, updated="2021-01-01T00:00:00"))
        site.put(game(3, tags=[{**tags[0], "games_count": 2}]))
        done = pull_all(server, catalog, tmp_path, [AUGUST])
        site.put(game(1))
        back = pull_all(server, catalog, tmp_path, [AUGUST])
    assert (done.rows, back.rows) == (2, 1), "a value that comes back is the current one again"
    assert current(catalog)[1]["raw_payload"] == item(1).decode()
    assert {row["pull_window"] for row in rows(catalog)} == {"released:2024-08"}
    assert gaps(catalog) == []


@pytest.mark.parametrize("by", ["months", "days"])
def test_games_that_share_one_update_are_all_taken(catalog: SqlCatalog, tmp_path: Path, by: str) -> None:
    site = Site(game(number, updated=TIE if number % 2 else OLD) for number in range(1, 201))
    with running(site) as server:
        pull_all(server, catalog, tmp_path, [AUGUST] if by == "months" else TIED_DAY)
        site.put(*(game(number, updated=TIE) for number in range(201, 240)))
        pull_all(server, catalog, tmp_path, TIED_DAY)
    tied = on_server(site.games, lambda one: one.updated == TIE)
    assert {number: said for number, said in payloads(catalog).items() if said["updated"] == TIE} == tied


@given(st.integers(0, 10_000))
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_games_that_move_between_pages_are_neither_lost_nor_doubled(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Nor are those that are refused, and what is kept as received has all of them."""
    folder = tmp_path_factory.mktemp("moving")
    site = Site(game(number) for number in range(1, 200))
    bad = [b'{"id":%d,"name":5}' % number for number in range(1_000, 1_060)]
    site.put(*(Game(-n, "", "2024-08-01", OLD, 3 * n, text) for n, text in enumerate([*bad, b"{}"], 1)))
    trouble = Trouble(moving=0.7, doubled=0.1, empty=0.1, half=0.05, seed=seed)
    with sqlite_catalog(folder) as catalog, running(site, trouble) as server:
        done = pull_all(server, catalog, folder, [AUGUST], raw=(folder / "raw").as_uri())
        assert (done.rows, done.closed) == (199, ["released:2024-08"])
        assert payloads(catalog) == on_server(game for game in site.games if game.game_id > 0)
        assert sorted(letter["original_payload"] for letter in letters(catalog)) == sorted([*bad, b"{}"])
        assert gaps(catalog) == []
    kept = {item for path in (folder / "raw").rglob("*.parquet") for item in pq.read_table(path)["item"].to_pylist()}
    assert kept == {game.item for game in site.games}


@pytest.mark.parametrize("seed", [1, 2])
def test_games_that_come_change_and_go_while_they_are_read_are_seen_as_they_are_then(
    catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(pulling, "PULLS_OF_A_WINDOW", 8)
    site = Site(game(number) for number in range(1, 200))
    chance = random.Random(seed)

    def change(number: int) -> None:
        """In each of the first requests a game leaves the window as another one comes in: the count stays."""
        if number > 8 or number == 1:
            return
        inside = [one.game_id for one in site.games if (one.released or "").startswith("2024-08")]
        leaves = chance.choice(inside)
        site.put(game(leaves, released="2023-01-01", updated=now()), game(1000 + number, updated=now()))

    with running(site, Trouble(before=change)) as server:
        pull_all(server, catalog, tmp_path, [AUGUST])
        wanted = on_server(site.games, lambda one: (one.released or "").startswith("2024-08"))
        found = {number: said for number, said in payloads(catalog).items() if said["released"] == "2024-08-15"}
        assert found == wanted
        assert gaps(catalog) == []


def test_a_window_that_does_not_come_to_rest_is_no_secret(
    catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "SETTLE_SECONDS", 0.0)
    site = Site(game(number) for number in range(1, 100))
    trouble = Trouble(before=lambda number: site.put(game(1000 + number, updated=now())))
    with running(site, trouble) as server:
        assert pull_all(server, catalog, tmp_path, [AUGUST]).disturbed == ["released:2024-08"]
        assert "it changed while it was read" in gaps(catalog)[0]
        assert len(current(catalog)) >= 99, "what was seen is landed"
        trouble.before = lambda number: None
        monkeypatch.setattr(pulling, "SETTLE_SECONDS", 2.5)
        pull_all(server, catalog, tmp_path, [AUGUST])
    assert payloads(catalog) == on_server(site.games)
    assert gaps(catalog) == []


def test_a_window_with_too_many_games_is_split_until_it_fits(catalog: SqlCatalog, tmp_path: Path) -> None:
    def tied(number: int) -> Game:
        released = None if number % 9 == 0 else (date(2020, 1, 1) + timedelta(days=number % 800)).isoformat()
        body = msgspec.json.encode({"id": number, "released": released, "updated": TIE})
        return Game(number, str(number), released, TIE, number, body)

    site = Site(map(tied, range(1, 23_001)))
    with running(site) as server:
        done = pull_all(server, catalog, tmp_path, TIED_DAY, workers=8)
        assert done.rows == 23_000
        windows = {row["pull_window"] for row in rows(catalog)}
        assert len(windows) >= 4
        assert "updated:2019-01-09+released:none" in windows
        assert gaps(catalog) == []
        again = pull_all(server, catalog, tmp_path, [ROOTS["undated"]])
        assert (again.rows, again.items) == (0, 23_000 // 9)


def test_the_account_of_a_window_that_was_split_is_that_of_all_its_games(catalog: SqlCatalog, tmp_path: Path) -> None:
    """Games without `updated` are in no day of update: they cannot be had, which is no secret."""

    def undated(number: int, updated: str | None) -> Game:
        return Game(number, str(number), None, updated, number, msgspec.json.encode({"id": number, "updated": updated}))

    site = Site(undated(number, OLD if number % 2 else "2021-01-01T00:00:00") for number in range(1, 10_101))
    with running(site) as server:
        assert pull_all(server, catalog, tmp_path, [ROOTS["undated"]], workers=8).disturbed == []
        assert accounts(catalog)["released:none"].bronze == 10_100
        assert gaps(catalog) == []
        requests = server.requests
        pull_all(server, catalog, tmp_path, [ROOTS["undated"]], again=False)
        assert server.requests == requests, "it was just read"
        site.put(undated(20_000, None))
        assert pull_all(server, catalog, tmp_path, [ROOTS["undated"]], workers=8).disturbed == ["released:none"]
    assert [gap for gap in gaps(catalog) if "the API said 10101, 10100 were seen" in gap]


def test_a_window_that_cannot_be_split_is_landed_as_far_as_the_api_goes(catalog: SqlCatalog, tmp_path: Path) -> None:
    def tied(number: int) -> Game:
        body = msgspec.json.encode({"id": number, "released": "2024-08-15", "updated": TIE})
        return Game(number, str(number), "2024-08-15", TIE, number, body)

    day = Window(released=(date(2024, 8, 15), date(2024, 8, 15)), updated=TIED_DAY[0].updated)
    with running(Site(map(tied, range(1, 10_031)))) as server:
        done = pull_all(server, catalog, tmp_path, [day])
        assert (done.rows, done.disturbed) == (10_000, [day.name])
        assert server.requests == 250
    assert "the API said 10030, 10000 were seen" in gaps(catalog)[0]


def test_pages_smaller_than_asked_for_are_read_to_the_last_one(
    catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakehouse.domains.rawg.site.LARGEST_PAGE", 10)
    site = Site(Game(n, str(n), "2024-08-15", OLD, n, b'{"id":%d}' % n) for n in range(1, 2_701))
    with running(site) as server:
        assert pull_all(server, catalog, tmp_path, [AUGUST]).closed == ["released:2024-08"]
        assert server.requests == 270
    assert len(rows(catalog)) == 2_700


def test_what_was_read_since_the_window_was_begun_is_not_missing_from_it(catalog: SqlCatalog, tmp_path: Path) -> None:
    """Another run landed it behind the page that was read: asked for alone it would be a version of another shape."""
    with running(Site([game(1), game(2)])) as server:
        pull_all(server, catalog, tmp_path, [AUGUST])
    landing, seen = Landing(catalog, run_id="x"), pa.array([1], pa.int64())
    (read,) = {row["fetched_at"] for row in rows(catalog)}
    assert landing.missing({AUGUST: read - timedelta(seconds=5)}, seen) == []
    ((window, missing),) = landing.missing({AUGUST: read + timedelta(seconds=5)}, seen)
    assert (window, missing["game_id"]) == (AUGUST, 2)


def test_a_run_that_begins_a_window_anew_writes_down_how_the_last_pull_of_it_ended(
    catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was at work already when the other one was ended between its last commit and that."""
    with running(Site(game(number) for number in range(1, 100))) as server:
        other = Landing(catalog, run_id="other")
        assert other.under_way() == {}
        pages = [read for read in read_window(client(server, tmp_path), AUGUST) if isinstance(read, PageRead)]
        with monkeypatch.context() as patch:
            patch.setattr(Pulls, "write_down", end_the_run)
            with pytest.raises(Killed):
                pull_all(server, catalog, tmp_path, [AUGUST])
        other._table.refresh()
        other.land(pages)
        other.close()
    assert len(pulls(catalog)) == 2
    assert gaps(catalog) == []


def test_a_pull_that_is_given_up_while_another_run_is_still_at_it_is_written_down_as_it_ended(
    catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(Site(game(number) for number in range(1, 200))) as server:
        slow = Landing(catalog, run_id="slow")
        reads = read_window(client(server, tmp_path), AUGUST)
        pages = [read for read in reads if isinstance(read, PageRead)]
        slow.land(pages[:1])
        monkeypatch.setattr(pulling, "CONTINUED_FOR", timedelta(0))
        abandon = Landing.abandon

        def move_then_abandon(landing: Landing, progress: Progress) -> None:
            slow.land(pages[1:3])
            abandon(landing, progress)
            assert slow.land(pages[3:4]).elsewhere == {AUGUST.name}

        monkeypatch.setattr(Landing, "abandon", move_then_abandon)
        done = pull_all(server, catalog, tmp_path, [AUGUST])
    assert (done.rows, done.closed) == (199 - 120, [AUGUST.name])
    ended = {pull["outcome"]: pull["landed_rows"] for pull in pulls(catalog)}
    assert ended == {"abandoned": 120, "closed": 79}
    assert gaps(catalog) == []
    assert not [name for name in catalog.load_table(RAWG_GAMES.identifier).properties if "lakehouse.pull." in name]


def test_a_game_that_is_gone_was_merged_or_moved_is_found_by_asking_for_it(catalog: SqlCatalog, tmp_path: Path) -> None:
    site = Site([*(game(number) for number in range(1, 90)), game(100, released=None)])
    with running(site) as server:
        pull_all(server, catalog, tmp_path, [AUGUST, ROOTS["undated"]])
        site.remove(5)
        site.merge(6, 7)
        site.remove(100)
        site.put(game(8, released="2024-09-01", updated="2022-01-01T00:00:00"))
        done = pull_all(server, catalog, tmp_path, [AUGUST, ROOTS["undated"]])
        assert done.gone == 3
        changes = {row["game_id"]: row for row in rows(catalog) if row["change"] != "seen"}
        assert {number: row["change"] for number, row in changes.items()} == {5: "deleted", 6: "merged", 100: "deleted"}
        assert changes[6]["merged_into"] == 7
        assert changes[5]["updated_at"] == datetime.fromisoformat(OLD).replace(tzinfo=UTC)
        assert payloads(catalog) == on_server(site.games)
        requests = server.requests
        again = pull_all(server, catalog, tmp_path, [AUGUST])
        assert (again.rows, again.gone) == (0, 0)
        assert server.requests - requests == 3, "what is known to be gone is not asked for again"
        site.put(game(5))
        assert pull_all(server, catalog, tmp_path, [AUGUST]).rows == 1, "it is back"
    assert payloads(catalog) == on_server(site.games)
    assert gaps(catalog) == []


def test_bad_items_are_dead_letters_once_and_the_rest_is_landed(catalog: SqlCatalog, tmp_path: Path) -> None:
    bad = [b'{"id":"no"}', b"{}", b'{"id":903,"name":"\\ud800"}', b'{"id":904,"released":"2024-02-31"}', b'{"id":0}']
    site = Site(game(number) for number in range(1, 60))
    site.put(*(Game(-n, "", "2024-08-01", OLD, 0, text) for n, text in enumerate(bad, 1)))
    with running(site) as server:
        first, again = (pull_all(server, catalog, tmp_path, [AUGUST]) for _ in range(2))
    assert (first.rows, first.refused, again.rows) == (59, 5, 0)
    found = letters(catalog)
    assert sorted(letter["original_payload"] for letter in found) == sorted(bad)
    for letter in found:
        assert letter["error_message"]
        assert letter["source_url"].startswith(server.url)
        assert letter["source_url"].rpartition("#")[2].isdecimal()
        assert KEY not in str(letter)
    account = accounts(catalog)["released:2024-08"]
    assert (account.position, account.bronze, account.dead_letters) == (64, 59, 5)
    assert gaps(catalog) == []


def test_a_refused_item_that_comes_twice_does_not_stand_for_another_game(catalog: SqlCatalog, tmp_path: Path) -> None:
    """Word for word the same could be two items or one on two pages: the account stays open, it is not guessed."""
    site = Site([game(1), *(Game(-n, "", "2024-08-01", OLD, 0, b"{}") for n in (1, 2))])
    with running(site) as server:
        assert pull_all(server, catalog, tmp_path, [AUGUST]).disturbed == ["released:2024-08"]
    assert len(letters(catalog)) == 1
    assert "the API said 3, 2 were seen" in gaps(catalog)[0]


def test_a_game_that_gets_bad_while_it_is_read_counts_once(catalog: SqlCatalog, tmp_path: Path) -> None:
    site = Site(game(number) for number in range(1, 100))

    def spoil(number: int) -> None:
        if number == 2:
            site.put(Game(5, "", "2024-08-15", OLD, 1_000, b'{"id":5,"name":7}'))

    with running(site, Trouble(before=spoil)) as server:
        pull_all(server, catalog, tmp_path, [AUGUST])
    account = accounts(catalog)["released:2024-08"]
    assert (account.position, account.bronze, account.dead_letters, account.gaps) == (99, 98, 1, [])


def test_a_run_that_is_ended_anywhere_is_gone_on_with_at_the_page_where_it_broke(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(
        [*(game(number) for number in range(1, 320)), *(game(n, released="2024-09-02") for n in range(400, 500))]
    )
    monkeypatch.setattr(pulling, "BATCH_ITEMS", 40)
    for kill_at in (1, 4, 8, 10):
        folder = tmp_path_factory.mktemp("killed")
        with sqlite_catalog(folder) as catalog, running(site) as server:
            landed = 0

            def die_after(*_: object, kill_at: int = kill_at) -> None:
                nonlocal landed
                landed += 1
                if landed == kill_at:
                    raise Killed

            with pytest.raises(Killed):
                pull_all(server, catalog, folder, [AUGUST, SEPTEMBER], workers=1, on_landed=die_after)
            assert gaps(catalog) == [], "the account closes, as far as it goes"
            before = server.requests
            done = pull_all(server, catalog, folder, [AUGUST, SEPTEMBER], workers=1, again=False)
            assert len(rows(catalog)) == 419
            assert payloads(catalog) == on_server(site.games)
            assert gaps(catalog) == []
            assert done.items <= 419 - 40 * (kill_at - 1), "what was landed is not read again"
            assert server.requests - before <= 12 - kill_at + 1


@pytest.mark.parametrize("step", ["write_down", "close", "_refuse"])
def test_a_run_that_is_ended_between_two_commits_leaves_nothing_wrong(
    catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    site = Site([*(game(number) for number in range(1, 100)), Game(-1, "", "2024-08-01", OLD, 0, b"{}")])
    owner = Pulls if step == "write_down" else Landing
    with running(site) as server, monkeypatch.context() as patch:
        original = getattr(owner, step)

        def die(*given: object, **named: object) -> None:
            if step == "_refuse":
                original(*given, **named)
            raise Killed

        patch.setattr(owner, step, die)
        with pytest.raises(Killed):
            pull_all(server, catalog, tmp_path, [AUGUST])
        patch.undo()
        assert gaps(catalog) == []
        pull_all(server, catalog, tmp_path, [AUGUST], again=False)
        assert gaps(catalog) == []
    assert (len(rows(catalog)), len(letters(catalog))) == (99, 1)
    assert len({row["pull_id"] for row in pulls(catalog)}) == len(pulls(catalog))


def test_two_runs_over_the_same_windows_land_everything_once(catalog: SqlCatalog, tmp_path: Path) -> None:
    site = Site(made_games(800, seed=5))
    failed: list[BaseException] = []

    def run(windows: list[Window]) -> None:
        try:
            pull_all(server, catalog, tmp_path, windows)
        except BaseException as error:
            failed.append(error)

    years = [f"{year}-{month:02}" for year in range(2018, 2026) for month in range(1, 13)]
    months = [ROOTS[name] for name in years]
    with running(site, Trouble(latency=0.002)) as server:
        daily = threading.Thread(target=run, args=(TIED_DAY,))
        backfills = [threading.Thread(target=run, args=(months,)) for _ in range(2)]
        for thread in (*backfills, daily):
            thread.start()
        for thread in (*backfills, daily):
            thread.join()
        assert failed == []
        pull_all(server, catalog, tmp_path, [*months, *TIED_DAY], again=False)
    wanted = on_server(site.games, lambda one: one.updated == TIE or "2018" <= (one.released or "") < "2026")
    assert payloads(catalog) == wanted
    assert gaps(catalog) == []


def test_a_key_that_is_revoked_midway_ends_the_run_and_a_good_one_goes_on(
    catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "BATCH_ITEMS", 40)
    site = Site((game(number) for number in range(1, 400)), keys=[KEY])

    def revoke(number: int) -> None:
        site.keys = {KEY} if number < 5 else {"new"}

    with running(site, Trouble(before=revoke)) as server:
        with pytest.raises(KeyRefusedError, match="RAWG_API_KEY"):
            pull_all(server, catalog, tmp_path, [AUGUST])
        assert len(rows(catalog)) == 160, "what was read is landed"
        site.keys, server.trouble.before = {KEY}, lambda number: None
        done = pull_all(server, catalog, tmp_path, [AUGUST], again=False)
    assert done.items == 239
    assert gaps(catalog) == []


def test_a_network_that_is_cut_ends_the_run_and_the_next_one_goes_on(
    catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "BATCH_ITEMS", 40)
    site = Site(game(number) for number in range(1, 400))
    with running(site) as server:

        def cut(number: int) -> None:
            server.trouble.cut = number >= 6

        server.trouble.before = cut
        with pytest.raises(LakehouseError, match="connection failed"):
            pull_all(server, catalog, tmp_path, [AUGUST])
        server.trouble.before, server.trouble.cut = lambda number: None, False
        assert gaps(catalog) == []
        done = pull_all(server, catalog, tmp_path, [AUGUST], again=False)
    assert done.items <= 399 - 160
    assert payloads(catalog) == on_server(site.games)


def test_a_spent_budget_ends_the_run(catalog: SqlCatalog, tmp_path: Path) -> None:
    site = Site(game(number) for number in range(1, 400))
    with running(site) as server:
        budget = Budget(catalog, "rawg", 5)
        asks = client(server, tmp_path, spend=budget.take)
        with pytest.raises(BudgetError, match="5 requests"):
            pulling.pull(asks, catalog, [AUGUST], run_id="x")
        assert server.requests == 5
    assert len(rows(catalog)) == 200


def test_items_are_kept_as_received_as_objects_where_that_is_asked_for(catalog: SqlCatalog, tmp_path: Path) -> None:
    site = Site([game(1), game(2), Game(-1, "", "2024-08-01", OLD, 0, b"{}")])
    with running(site) as server:
        for _ in range(2):
            pull_all(server, catalog, tmp_path, [AUGUST], raw=(tmp_path / "raw").as_uri())
    found = [pq.read_table(path) for path in (tmp_path / "raw" / "rawg").rglob("*.parquet")]
    assert [sorted(table["item"].to_pylist()) for table in found] == [sorted([b"{}", item(1), item(2)])] * 2


def test_an_update_of_a_made_game_is_another_version(catalog: SqlCatalog, tmp_path: Path) -> None:
    site = Site(made_games(50, seed=9))
    yesterday = datetime.now(UTC) - timedelta(days=1)
    with running(site) as server:
        pull_all(server, catalog, tmp_path, [Window(released=(date.min, date.max)), ROOTS["undated"]])
        site.put(*(changed(one, yesterday) for one in site.games[:5]))
        day = yesterday.date()
        done = pull_all(server, catalog, tmp_path, updated_between(day, day))
    assert done.rows == 5
    assert payloads(catalog) == on_server(site.games)


@pytest.fixture
def landed(catalog: SqlCatalog, tmp_path: Path) -> SqlCatalog:
    """Two windows, one with a refused item, audited quickly once."""
    site = Site([*(game(number) for number in range(1, 90)), game(200, released="2024-09-01")])
    site.put(Game(-1, "", "2024-08-01", OLD, 0, b"{}"))
    with running(site) as server:
        pull_all(server, catalog, tmp_path, [AUGUST, SEPTEMBER])
    assert gaps(catalog, deep=False) == []
    assert gaps(catalog, deep=False) == []
    return catalog


def _rewrite(catalog: SqlCatalog, name: tuple[str, str], rows: pa.Table) -> None:
    catalog.load_table(name).overwrite(rows)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("a row is lost", "nowhere as they were"),
        ("a file is doubled", "the table holds"),
        ("a version is another one", "nowhere as they were"),
        ("a letter is lost", "no dead letters"),
        ("a pull is lost", "nothing is known"),
        ("a counter is wrong", "are not the"),
        ("the API's number is wrong", "the API said"),
    ],
)
def test_a_planted_fault_turns_the_account_red(landed: SqlCatalog, fault: str, said: str, *, deep: bool) -> None:
    games, taken = (landed.load_table(name.identifier).scan().to_arrow() for name in (RAWG_GAMES, PULLS))

    def with_column(table: pa.Table, name: str, change: object) -> pa.Table:
        place = table.column_names.index(name)
        return table.set_column(place, table.schema.field(name), change)

    match fault:
        case "a row is lost":
            _rewrite(landed, RAWG_GAMES.identifier, games.slice(1))
        case "a file is doubled":
            landed.load_table(RAWG_GAMES.identifier).append(games.slice(0, 5))
        case "a version is another one":
            hashes = pc.replace_substring_regex(games["content_hash"], "^.", "x")
            _rewrite(landed, RAWG_GAMES.identifier, with_column(games, "content_hash", hashes))
        case "a letter is lost":
            landed.load_table(("bronze", "dead_letters")).delete("source = 'rawg'")
            landed.load_table(RAWG_GAMES.identifier).append(games.slice(0, 0))
        case "a pull is lost":
            _rewrite(landed, PULLS.identifier, taken.slice(1))
        case "a counter is wrong":
            _rewrite(landed, PULLS.identifier, with_column(taken, "unchanged", pc.add(taken["unchanged"], 1)))
        case "the API's number is wrong":
            _rewrite(landed, PULLS.identifier, with_column(taken, "said", pc.add(taken["said"], 1)))
    assert any(said in gap for gap in gaps(landed, deep=deep)), gaps(landed, deep=deep)


def test_pages_are_read_lazily_one_after_the_other(tmp_path: Path) -> None:
    with running(Site(game(number) for number in range(1, 200))) as server:
        reading = read_window(client(server, tmp_path), AUGUST)
        next(reading)
        assert server.requests == 1
