"""The client against a real server that misbehaves."""

from __future__ import annotations

import logging
import socket
import threading
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.domains.rawg.made import made_games
from lakehouse.domains.rawg.server import Trouble, games_of_files, running
from lakehouse.domains.rawg.site import Game, Site, game_of
from lakehouse.domains.rawg.source import Client, KeyRefusedError, Pace
from lakehouse.domains.rawg.windows import ROOTS, month_window
from lakehouse.errors import LakehouseError
from lakehouse.ledger.budget import Budget, BudgetError
from lakehouse_tests.rawg import KEY, client, game, item

AUGUST = month_window(2024, 8)


def test_a_page_is_what_the_server_has_with_the_number_of_all(tmp_path: Path) -> None:
    with running(Site(game(number) for number in range(1, 51))) as server:
        asks = client(server, tmp_path)
        first, second, third = (asks.page(AUGUST, number) for number in (1, 2, 3))
    assert first is not None
    assert second is not None
    assert first.page is not None
    assert second.page is not None
    assert third is None, "past the end"
    assert first.page.items == [item(number) for number in range(1, 41)]
    assert (first.page.count, first.page.has_next, second.page.has_next) == (50, True, False)
    assert KEY not in first.url
    assert first.url.endswith("/api/games?ordering=created&dates=2024-08-01%2C2024-08-31&page=1&page_size=40")


@pytest.mark.parametrize("trouble", ["too_many", "failing", "half", "garbled", "empty"])
def test_trouble_is_tried_again(tmp_path: Path, trouble: str) -> None:
    site = Site(game(number) for number in range(1, 81))
    troubles = Trouble(seed=4, retry_after=0)
    setattr(troubles, trouble, 0.5)
    with running(site, troubles) as server:
        asks = client(server, tmp_path)
        for _ in range(10):
            answer = asks.page(AUGUST, 1)
            assert answer is not None
            assert answer.page is not None
            assert len(answer.page.items) == 40
        assert server.requests > 10


def test_what_never_works_is_said_once_in_words_without_the_key(tmp_path: Path) -> None:
    with running(Site([game(1)]), Trouble(failing=1.0)) as server:
        asks = client(server, tmp_path)
        with pytest.raises(LakehouseError, match="after 8 attempts; the last time status 502") as failed:
            asks.page(AUGUST, 1)
    assert KEY not in str(failed.value)
    assert failed.value.__cause__ is None
    with pytest.raises(LakehouseError, match="connection failed") as failed:
        asks.page(AUGUST, 1)
    assert KEY not in str(failed.value)


def test_a_server_that_asks_to_wait_is_waited_for_by_all(tmp_path: Path) -> None:
    trouble = Trouble(too_many=1.0, retry_after=1)
    with running(Site([game(1)]), trouble) as server:
        asks, refused = client(server, tmp_path), threading.Event()
        trouble.before = lambda number: refused.set()
        threads = [threading.Thread(target=asks.page, args=(AUGUST, 1)) for _ in range(2)]
        threads[0].start()
        refused.wait(5)
        trouble.too_many = 0.0
        while len(server.statuses) < 1:
            time.sleep(0.001)
        time.sleep(0.05)
        threads[1].start()
        for thread in threads:
            thread.join()
        assert all(at - server.arrivals[0] >= 0.9 for at in list(server.arrivals)[1:])


def test_the_pace_is_kept_by_all_who_ask_with_the_same_file(tmp_path: Path) -> None:
    with running(Site([game(1)]), Trouble(rate_limit=60)) as server:
        several = [Client(server.url, KEY, Pace(50, tmp_path / "pace")) for _ in range(3)]
        threads = [threading.Thread(target=lambda c=c: [c.page(AUGUST, 1) for _ in range(20)]) for c in several]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.statuses == {200: 60}
        arrivals = list(server.arrivals)
    assert all(later - earlier >= 0.9 for earlier, later in zip(arrivals, arrivals[50:], strict=False))


def test_a_moment_from_before_the_machine_was_started_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "pace").write_text("99999999999.0")
    Pace(10, tmp_path / "pace").wait(lambda seconds: pytest.fail(f"it waits for {seconds} s"))


def test_who_comes_late_does_not_make_two_requests_come_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    sent: list[float] = []
    monkeypatch.setattr("lakehouse.domains.rawg.source.time", SimpleNamespace(monotonic=lambda: now[0]))

    def oversleep(seconds: float) -> None:
        now[0] += seconds + (0.55 if len(sent) == 1 else 0)

    pace = Pace(10, tmp_path / "pace")
    for _ in range(5):
        pace.wait(oversleep)
        sent.append(now[0])
    assert [later - earlier for earlier, later in pairwise(sent)] == pytest.approx([0.65, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("key", ["", "another"])
def test_a_key_that_is_missing_or_wrong_is_said_so(tmp_path: Path, key: str) -> None:
    with running(Site([game(1)], keys=[KEY])) as server:
        with pytest.raises(KeyRefusedError, match="RAWG_API_KEY") as refused:
            client(server, tmp_path, key=key).page(AUGUST, 1)
        assert "another" not in str(refused.value)
        assert server.requests == (1 if key else 0), "no second attempt"


def test_a_server_that_is_none_is_said_so(tmp_path: Path) -> None:
    with running(Site()) as server:
        asks = Client(f"{server.url}/v9", KEY, Pace(1000, tmp_path / "pace"))
        with pytest.raises(LakehouseError, match="rawg_url"):
            asks.page(AUGUST, 1)


def test_the_key_is_in_no_log_of_any_level(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), running(Site([game(1)])) as server:
        client(server, tmp_path).page(AUGUST, 1)
    assert "GET /api/games" in caplog.text
    assert KEY not in caplog.text


def test_a_game_that_was_merged_leads_to_the_other_one_and_a_deleted_one_to_nothing(tmp_path: Path) -> None:
    site = Site(game(number) for number in (1, 2, 3))
    with running(site) as server:
        site.merge(1, 2)
        site.remove(3)
        asks = client(server, tmp_path)
        merged, gone, there = asks.game(1), asks.game(3), asks.game(2)
    assert gone is None
    assert merged is not None
    assert there is not None
    assert merged.body == there.body == item(2)


def test_a_game_that_leads_in_a_circle_is_no_endless_search(tmp_path: Path) -> None:
    circle = game_of(item(1), details=b'{"redirect":true,"slug":"game-1"}')
    with running(Site([circle])) as server, pytest.raises(LakehouseError, match="to no end"):
        client(server, tmp_path).game(1)


def test_an_endless_answer_is_cut_off_and_a_redirect_elsewhere_gets_no_key(tmp_path: Path) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            for _ in range(2):
                connection, _address = listening.accept()
                with connection:
                    heard.append(connection.recv(10_000))
                    connection.sendall(
                        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/steal\r\nContent-Length: 0\r\n"
                        b"Connection: close\r\n\r\n"
                    )

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        asks = Client(f"http://127.0.0.1:{listening.getsockname()[1]}/api", KEY, Pace(1000, tmp_path / "pace"))
        with pytest.raises(LakehouseError, match="status 302"):
            asks.page(AUGUST, 1)
    assert len(heard) == 1


def test_requests_of_a_month_are_counted_across_runs_and_never_more_than_the_budget(catalog: SqlCatalog) -> None:
    first = Budget(catalog, "rawg", 250)
    for _ in range(30):
        first.take()
    first.close()
    second = Budget(catalog, "rawg", 250)
    assert second.used() == 30
    for _ in range(220):
        second.take()
    with pytest.raises(BudgetError, match="250 requests to rawg"):
        second.take()
    assert second.used() == 250


def test_a_run_that_was_killed_leaves_its_requests_counted(catalog: SqlCatalog) -> None:
    Budget(catalog, "rawg", 1000).take()
    assert Budget(catalog, "rawg", 1000).used() == 200


def test_the_server_has_the_api_s_shapes(tmp_path: Path) -> None:
    with running(Site(made_games(100, seed=1), keys=[KEY])) as server:

        def get(path: str, **asked: Any) -> requests.Response:
            return requests.get(f"{server.url}/{path}", params={"key": KEY, **asked}, timeout=5)

        page = get("games")
        said = page.json()
        assert [len(said["results"]), said["count"], said["previous"]] == [20, 100, None]
        assert f"key={KEY}" in said["next"], "links repeat the key, as the API's do"
        assert requests.get(said["next"], timeout=5).json()["previous"]
        assert len(get("games", page_size=50).json()["results"]) == 40
        assert (get("games", page=9).status_code, get("games", page=9).json()) == (404, {"detail": "Invalid page."})
        assert get("games/7").json()["id"] == 7
        assert get("games/1-game-7").json()["id"] == 7
        assert get("games/nothing").status_code == 404
        no_key = requests.get(f"{server.url}/games", timeout=5)
        assert (no_key.status_code, no_key.json()) == (401, {"error": "The key parameter is not provided"})
        dated = get("games", dates="2020-01-01,2020-12-31", ordering="-released", page_size=40).json()["results"]
        days = [found["released"] for found in dated]
        assert days == sorted(days, reverse=True)
        assert all(day.startswith("2020") for day in days)
        undated = get("games", ordering="-released").json()["results"]
        assert undated[0]["released"] is None
        assert get("games", page=1, page_size=40, updated="2019-01-09,2019-01-09").json()["count"] > 10


def test_of_a_long_list_ten_thousand_games_can_be_paged_through() -> None:
    site = Site(Game(number, "", "2024-08-01", None, number, b'{"id":%d}' % number) for number in range(1, 10_101))
    with running(site) as server:
        asked: dict[str, Any] = {"key": KEY, "page_size": 40}
        last = requests.get(f"{server.url}/games", params={**asked, "page": 250}, timeout=5)
        beyond = requests.get(f"{server.url}/games", params={**asked, "page": 251}, timeout=5)
    assert last.json()["count"] == 10_100
    assert last.json()["next"] is None
    assert beyond.status_code == 404


def test_the_server_serves_recorded_pages_arrays_and_lines(tmp_path: Path) -> None:
    (tmp_path / "page.json").write_bytes(b'{"count":1,"next":null,"results":[' + item(1) + b"]}")
    (tmp_path / "array.json").write_bytes(b"[" + item(2) + b"," + item(3) + b"]")
    (tmp_path / "lines.jsonl").write_bytes(item(4) + b"\n" + item(5) + b"\n")
    found = games_of_files(sorted(tmp_path.iterdir()))
    assert sorted((one.game_id, one.item) for one in found) == [(number, item(number)) for number in range(1, 6)]


def test_the_same_seed_makes_the_same_games() -> None:
    first, again, other = ([one.item for one in made_games(50, seed=seed)] for seed in (1, 1, 2))
    assert [game.split(b'"updated"')[0] for game in first] == [game.split(b'"updated"')[0] for game in again]
    assert first != other
    assert set(ROOTS)
