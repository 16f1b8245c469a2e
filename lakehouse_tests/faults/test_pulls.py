"""Pulls are killed, cut off from the API and refused by it, on the catalog in PostgreSQL, by the command line."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import msgspec
import pytest
from pyiceberg.catalog import Catalog

from lakehouse.adapters.iceberg.catalog import open_catalog
from lakehouse.domains.rawg.api import API
from lakehouse.domains.rawg.server import RawgServer, Trouble, running
from lakehouse.domains.rawg.site import Site
from lakehouse.ledger.pulled import pull_accounts
from lakehouse.naming import RAWG_GAMES
from lakehouse.settings import load
from lakehouse_tests.conftest import Stack
from lakehouse_tests.faults.declare import fault
from lakehouse_tests.rawg import KEY, game

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

PAGES = 20
"""Requests that the months of a trial take."""
OTHERS = 10**12
"""Ids below are those of other tests."""
DAY = "2016-05-05"
AWAY_SECONDS = 3.0
YEARS = count(2031)
"""Each trial has months of its own."""


@dataclass
class Pulling:
    """A server with games in months of their own, and runs of the command line against it."""

    server: RawgServer
    chance: random.Random
    year: int
    runs: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str, key: str = KEY) -> subprocess.Popen[str]:
        """Start a run over the months, also where another test has pulled all there are."""
        command = [sys.executable, "-m", "lakehouse.cli", "rawg", "pull", "--again"]
        environment = {
            "LAKEHOUSE_RAWG_URL": self.server.url,
            "RAWG_API_KEY": key,
            "LAKEHOUSE_RAWG_REQUESTS_PER_SECOND": "200",
            "LAKEHOUSE_RAWG_REQUESTS_PER_MONTH": "1000000",
            "LAKEHOUSE_FLUSH_INTERVAL_SEC": "0.2",
            "LAKEHOUSE_RAWG_WORKERS": "2",
        }
        run = subprocess.Popen(
            [*command, *(arguments or ("--from", f"{self.year}-01", "--to", f"{self.year}-04"))],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.runs.append(run)
        return run

    def end(self, run: subprocess.Popen[str]) -> tuple[int, str]:
        """Wait for a run: its exit code and output."""
        output, _ = run.communicate(timeout=120)
        return run.returncode, output

    def complete(self, *arguments: str) -> None:
        """Run to the end."""
        code, output = self.end(self.start(*arguments))
        assert code == 0, output

    def assert_whole(self) -> None:
        """Every game of the server is held as it is there, each version once, and every account closes."""
        with closing(open_catalog(load())) as catalog:
            wanted = {one.game_id: msgspec.json.decode(one.item) for one in self.server.site.games}
            rows = [row for row in _rows(catalog) if row["game_id"] in wanted]
            held = {row["game_id"]: msgspec.json.decode(row["raw_payload"]) for row in rows}
            assert held == wanted
            assert len(rows) == len(wanted), "each version once"
            assert [gap for account in pull_accounts(catalog, API, deep=True) for gap in account.gaps] == []


def _rows(catalog: Catalog) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = catalog.load_table(RAWG_GAMES.identifier).scan().to_arrow().to_pylist()
    return found


@pytest.fixture
def pulling(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Pulling]:
    """Games whose ids no other test has."""
    chance = random.Random(request.node.name)
    base, year = OTHERS + uuid.uuid4().int % 10**15, next(YEARS)
    site = Site(keys=[KEY])
    for number in range(PAGES * 40):
        day = f"{year}-{1 + number % 4:02}-11"
        site.put(game(base + number, released=day, updated=f"{DAY}T0{number % 9}:00:00"))
    with running(site, Trouble(latency=0.02)) as server:
        trial = Pulling(server, chance, year)
        yield trial
        for run in trial.runs:
            run.kill()
            run.communicate()


@fault("A pull from an API is killed (`kill -9`) at any page", expected="the next run goes on from the last commit")
def test_a_pull_killed_at_any_page_is_completed_by_the_next(pulling: Pulling) -> None:
    for _ in range(3):
        at = pulling.server.requests + pulling.chance.randint(2, PAGES - 2)
        run = pulling.start()

        def strike(number: int, at: int = at, run: subprocess.Popen[str] = run) -> None:
            if number == at:
                run.kill()

        pulling.server.trouble.before = strike
        code, output = pulling.end(run)
        assert code in (-signal.SIGKILL, 0), output
    pulling.server.trouble.before = lambda number: None
    pulling.complete()
    pulling.assert_whole()


@fault("The network to an API is cut while a pull reads", expected="the run waits for it, and goes on")
def test_a_pull_whose_network_is_cut_goes_on_when_it_is_back(pulling: Pulling) -> None:
    at = pulling.chance.randint(4, 16)
    trouble = pulling.server.trouble

    def cut(number: int) -> None:
        if number == at:
            trouble.cut = True
            threading.Timer(AWAY_SECONDS, lambda: setattr(trouble, "cut", False)).start()

    trouble.before = cut
    pulling.complete()
    pulling.assert_whole()


@fault(
    "The key of an API is wrong, missing, or revoked while a pull reads",
    expected="the run says so; the next one goes on",
    cases=["wrong", "missing", "revoked"],
)
def test_a_pull_whose_key_is_refused_says_so_and_is_completed_by_the_next(pulling: Pulling, case: str) -> None:
    at = pulling.chance.randint(4, 16)

    def revoke(number: int) -> None:
        if number >= at:
            pulling.server.site.keys = {"another"}

    if case == "revoked":
        pulling.server.trouble.before = revoke
    code, output = pulling.end(pulling.start(key={"wrong": "no-good", "missing": "", "revoked": KEY}[case]))
    assert code == 1
    assert "RAWG_API_KEY" in output
    assert "Traceback" not in output
    assert KEY not in output
    assert "no-good" not in output
    pulling.server.trouble.before, pulling.server.site.keys = lambda number: None, {KEY}
    pulling.complete()
    pulling.assert_whole()


@fault(
    "A month is pulled while the daily run works, and one of them is killed", expected="every version is landed once"
)
def test_a_month_pulled_beside_the_daily_run_lands_every_version_once(pulling: Pulling) -> None:
    daily = ("--updated", "--since", DAY, "--until", DAY)
    months, updates = pulling.start(), pulling.start(*daily)
    at = pulling.server.requests + pulling.chance.randint(6, PAGES)
    pulling.server.trouble.before = lambda number: months.kill() if number == at else None
    code, output = pulling.end(updates)
    assert code == 0, output
    pulling.end(months)
    pulling.server.trouble.before = lambda number: None
    pulling.complete()
    pulling.assert_whole()
