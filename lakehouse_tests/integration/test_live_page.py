"""The live page on a real Redis: what the stream tells over HTTP, and what a real browser makes of it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import psutil
import pytest
import requests
from playwright.sync_api import Browser, Page, expect
from redis import Redis

from lakehouse.adapters.redis.client import open_redis
from lakehouse.api.keys import AGE_SECONDS, create, revoke
from lakehouse.api.scope import Scope
from lakehouse.domains.players.boards import Period, begin_of, turned_key
from lakehouse.domains.players.cache import Cache, Score, Totals
from lakehouse.settings import load
from lakehouse.stack import down, up
from lakehouse.stack.api import Api
from lakehouse_tests.chromium import open_browser
from lakehouse_tests.conftest import Stack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

NASTY = """<img src=x onerror="document.title='broken'">"""
LONG = "W" * 100
PHONE = {"width": 360, "height": 640}
DESK = {"width": 1280, "height": 800}


@dataclass
class Service:
    """The service, and the store that it reads, written as the sink writes it."""

    stack: Stack
    address: str
    redis: Redis
    batch: int = 0
    listeners: list[requests.Response] = field(default_factory=list)

    def score(self, game: str, scores: dict[str, int]) -> None:
        """Put scores on all boards of a game that count now."""
        now = datetime.now(UTC)
        begins = {period: begin_of(period, now.date()) for period in Period}
        for period, begin in begins.items():
            self.redis.set(turned_key(period), begin.isoformat())
        rows = [Score(game, period, begin, *one, 1) for period, begin in begins.items() for one in scores.items()]
        self._write([], rows, now)

    def count(self, player: str, kinds: dict[str, int]) -> None:
        """Say how many events of each kind there are of a player."""
        now = datetime.now(UTC)
        self._write([Totals(player, sum(kinds.values()), kinds, now, now, 1)], [], now)

    def _write(self, totals: list[Totals], scores: list[Score], now: datetime) -> None:
        self.batch += 1
        Cache(self.redis).write(totals, scores, self.batch, now)

    def follow(self, game: str, period: str = "daily", token: str = "", **question: Any) -> requests.Response:
        """Open a stream."""
        url = f"{self.address}/api/v1/games/{quote(game, safe='')}/leaderboards/{period}/live"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.listeners.append(requests.get(url, params=question, headers=headers, stream=True, timeout=30))
        return self.listeners[-1]

    def hang_up(self) -> None:
        """Close all streams."""
        while self.listeners:
            self.listeners.pop().close()

    def listening(self) -> float:
        """How many streams the service says there are."""
        lines = requests.get(f"{self.address}/metrics", timeout=30).text.splitlines()
        return float(next(line for line in lines if line.startswith("lakehouse_live_listeners ")).split()[1])


@pytest.fixture(scope="module")
def running(stack: Stack) -> Iterator[Service]:
    up(stack.settings, servers=["api"])
    try:
        with open_redis(load()) as redis:
            yield Service(stack, Api().address(stack.settings), redis)
    finally:
        down(stack.settings, ["api"])


@pytest.fixture
def service(running: Service) -> Iterator[Service]:
    yield running
    running.hang_up()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    expect.set_options(timeout=60_000)
    with open_browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on a phone, on which nothing may go wrong."""
    said: list[str] = []
    with closing(browser.new_context(viewport=PHONE)) as context:  # type: ignore[arg-type]
        opened = context.new_page()
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.on("dialog", lambda dialog: said.append(dialog.message))
        yield opened
        assert said == []
        assert not context.storage_state()["origins"]


def events(stream: requests.Response) -> Iterator[tuple[str, Any]]:
    """Events of a stream as they come; a client of its own, which knows nothing of the service's."""
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    kind = ""
    for line in stream.iter_lines(chunk_size=1, decode_unicode=True):
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


# The stream ----------------------------------------------------------------------------------------------------------


def test_who_follows_hears_at_once_and_of_each_change(service: Service) -> None:
    game = "a/b ?#<i>"
    service.score(game, {"p1": 5, NASTY: 7})
    stream = events(service.follow(game, limit=2, player="p1"))
    first = dict([next(stream), next(stream)])
    best = [{"rank": 1, "player_id": NASTY, "score": 7}, {"rank": 2, "player_id": "p1", "score": 5}]
    assert (first["board"]["game_id"], first["board"]["players"]) == (game, best)
    assert (first["player"]["statistics"], first["player"]["around"]["players"]) == (None, best)

    service.count("p1", {"player_join": 1})
    kind, told = next(stream)
    assert (kind, told["statistics"]["event_breakdown"]) == ("player", {"player_join": 1})

    service.score(game, {"p2": 6})
    changed = dict([next(stream), next(stream)])
    assert [one["player_id"] for one in changed["board"]["players"]] == [NASTY, "p2"]
    assert [one["player_id"] for one in changed["player"]["around"]["players"]] == [NASTY, "p2", "p1"]


def test_of_a_player_or_a_board_that_is_none_it_says_so(service: Service) -> None:
    stream = events(service.follow("nowhere", "weekly", player="nobody"))
    told = dict([next(stream), next(stream)])
    assert told["board"]["players"] == []
    assert told["player"] == {"player_id": "nobody", "statistics": None, "around": None}


@pytest.mark.parametrize(
    ("period", "limit", "status"), [("hourly", "10", 404), ("daily", "0", 400), ("daily", "x", 400)]
)
def test_a_question_that_makes_no_sense_is_refused(service: Service, period: str, limit: str, status: int) -> None:
    answer = service.follow("g", period, limit=limit)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")


def test_who_goes_is_forgotten(service: Service) -> None:
    streams = [events(service.follow("g")) for _ in range(3)]
    for stream in streams:
        next(stream)
    until(lambda: service.listening() == 3)
    service.hang_up()
    until(lambda: service.listening() == 0)


def test_redis_may_go_and_come_back(service: Service, page: Page) -> None:
    service.score("away", {"p": 1})
    page.goto(f"{service.address}/?game=away")
    state = page.locator("#state")
    expect(state).to_have_text("Live")
    stream = events(service.follow("away"))
    before = next(stream)
    server = psutil.Process(service.stack.pids("redis")[0])
    server.suspend()
    try:
        kind, told = next(stream)
        assert (kind, list(told)) == ("away", ["detail"])
        expect(state).to_have_text(told["detail"])
    finally:
        server.resume()
    assert next(stream) == before
    expect(state).to_have_text("Live")


def test_told_to_end_the_service_ends_streams_and_others_find_it_again(service: Service) -> None:
    stream = service.follow("g")
    heard = events(stream)
    next(heard)
    old = service.stack.pids("api")[0]
    psutil.Process(old).send_signal(signal.SIGTERM)
    assert list(heard) == [], "it ends as a whole, and is not cut off"
    up(service.stack.settings, servers=["api"])
    assert service.stack.pids("api")[0] != old
    next(events(service.follow("g")))


def until(is_so: Any) -> None:
    """Wait; the test's own time limit ends it."""
    while not is_so():
        time.sleep(0.05)


# The page ------------------------------------------------------------------------------------------------------------


def rows(page: Page, place: str) -> list[list[str]]:
    lines = page.locator(f"{place} tbody tr").all()
    return [line.locator("td").all_inner_texts() for line in lines]


def test_the_page_loads_nothing_from_elsewhere_and_no_script_but_its_own(service: Service) -> None:
    answer = requests.get(f"{service.address}/", timeout=30)
    assert "script-src 'self';" in answer.headers["Content-Security-Policy"]
    assert "://" not in answer.text
    assert answer.text.count("<script") == 1
    script = requests.get(f"{service.address}/page/page.js", timeout=30).text
    assert not any(word in script for word in ("innerHTML", "outerHTML", "insertAdjacent", "eval", "localStorage"))


def test_changes_arrive_without_a_reload(service: Service, page: Page) -> None:
    service.score("page", {"ann": 1_500, "bob": 20})
    service.count("bob", {"player_join": 2, "player_score": 1})
    page.goto(service.address)
    page.evaluate("window.isTheSame = true")
    page.get_by_label("Game").fill("page")
    page.get_by_label("Player, if one is to be followed").fill("bob")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_have_text("Live")
    expect(page.locator("#board tbody tr")).to_have_count(2)
    assert rows(page, "#board") == [["1", "ann", "1,500"], ["2", "bob", "20"]]
    expect(page.locator("#total")).to_have_text("3")
    assert rows(page, "#breakdown") == [["player_join", "2"], ["player_score", "1"]]
    link = page.locator("#board").get_by_role("link", name="bob")
    link.focus()

    service.score("page", {"bob": 2_000})
    expect(page.locator("#board tbody tr").first).to_contain_text("2,000")
    assert rows(page, "#board") == rows(page, "#around") == [["1", "bob", "2,000"], ["2", "ann", "1,500"]]
    service.count("bob", {"player_join": 2, "player_score": 2})
    expect(page.locator("#total")).to_have_text("4")
    assert page.evaluate("window.isTheSame && document.activeElement.closest('#board') !== null")
    assert (
        abs(datetime.fromisoformat(page.locator("#updated").get_attribute("datetime") or "").timestamp() - time.time())
        < 60
    )


def test_a_link_can_be_shared_and_the_way_back_is_kept(service: Service, page: Page) -> None:
    service.score("link/ed", {"ann": 1, "bob": 2})
    page.goto(f"{service.address}/?{urlencode({'game': 'link/ed', 'period': 'alltime'})}")
    page.locator("#board").get_by_role("link", name="ann").click()
    expect(page.locator("#player-message")).to_have_text("Nothing is known of this player.")
    assert page.url.endswith("/?game=link%2Fed&period=alltime&limit=10&player=ann")
    expect(page.locator("#around tr[aria-current=true]")).to_contain_text("ann")
    page.go_back()
    expect(page.locator("#player")).to_be_hidden()
    expect(page.locator("#board tbody tr")).to_have_count(2)
    page.get_by_label("Game").fill("nowhere")
    page.get_by_label("Period").select_option("weekly")
    expect(page.locator("#board-message")).to_have_text("Nobody has a score on this board yet.")


def test_names_are_text_and_nothing_else(service: Service, page: Page) -> None:
    service.score(NASTY, {NASTY: 9, LONG: 9_007_199_254_740_991})
    service.count(NASTY, {"<script>document.title='broken'</script>": 1, LONG: 1})
    page.goto(f"{service.address}/?{urlencode({'game': NASTY, 'player': NASTY})}")
    expect(page.locator("#total")).to_have_text("2")
    assert [line[1] for line in rows(page, "#board")] == [LONG, NASTY]
    assert page.locator("#player-title").inner_text() == NASTY
    assert page.locator("#board-title").inner_text() == NASTY
    assert page.locator("main img, main script, td i").count() == 0
    assert page.title().startswith(NASTY)
    for size in (PHONE, DESK):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], "nobody has to scroll sideways"


def test_the_page_comes_back_when_the_service_does(service: Service, page: Page) -> None:
    service.score("again", {"ann": 1})
    page.goto(f"{service.address}/?game=again")
    state = page.locator("#state")
    expect(state).to_have_text("Live")
    page.route("**/live?*", lambda route: route.abort())
    psutil.Process(service.stack.pids("api")[0]).send_signal(signal.SIGTERM)
    expect(state).to_have_text("Reconnecting …")
    up(service.stack.settings, servers=["api"])
    service.score("again", {"ann": 2})
    page.unroute("**/live?*")
    expect(page.locator("#board tbody tr").first).to_contain_text("2")
    expect(state).to_have_text("Live")


@pytest.fixture(scope="module")
def guarded(running: Service) -> Iterator[Service]:
    """The same service, asking for keys."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_API_KEYS_REQUIRED", "true")
        up(load(), servers=["api"])
        yield running


def test_where_a_key_is_needed_the_page_asks_for_it_and_the_stream_lasts_as_long_as_it_holds(
    guarded: Service, service: Service, page: Page
) -> None:
    service.score("secret", {"ann": 1})
    reader, writer = (create(load(), name, (scope,)) for name, scope in (("r", Scope.READ), ("w", Scope.WRITE)))
    assert [service.follow("secret", token=token).status_code for token in ("", "x", writer)] == [401, 401, 403]
    page.goto(f"{service.address}/?game=secret")
    key = page.get_by_label("API key")
    expect(page.locator("#state")).to_have_text("An API key is needed.")
    expect(key).to_be_focused()
    key.fill(writer)
    key.press("Enter")
    expect(page.locator("#state")).to_have_text("This API key is not good for reading.")
    key.fill(reader)
    key.press("Enter")
    expect(page.locator("#board tbody tr")).to_have_count(1)
    assert reader not in page.url
    assert reader not in page.content()

    revoke(load(), reader.split("_")[1])
    time.sleep(AGE_SECONDS)
    service.score("secret", {"ann": 2})
    expect(page.locator("#state")).to_have_text("This API key is not good for reading.")
