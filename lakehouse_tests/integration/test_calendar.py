"""A day and a week that end while the players' path is at work, and days that pass over a player who does nothing."""

from __future__ import annotations

import random
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from lakehouse.naming import PLAYER_EVENTS
from lakehouse.stack.api import Api
from lakehouse_tests.catalogs import rows_of
from lakehouse_tests.clock import Clock
from lakehouse_tests.home import Home, open_home
from lakehouse_tests.stores import Event, Stores, begin, count_scores, count_totals, ranked, told_places
from lakehouse_tests.streams import eventually

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="no other system lets a test set the clock"),
]

GAMES = ("busy", "other", "quiet")
IDLE = "idle"
"""A player who does nothing for days."""
DAYS = 9
"""After which the job has forgotten daily boards, but neither totals nor the board of all time."""


class Players(Stores):
    """The path from HTTP to the stores, on a clock of its own, and what was sent."""

    def __init__(self, home: Home, clock: Clock) -> None:
        super().__init__(home.settings)
        self.home, self.clock = home, clock
        self.address = Api().address(self.settings)
        self.told: dict[str, Event] = {}
        """By event id: what counts."""

    def post(self, player: str, game: str, score: int | None = None, *, at: datetime | None = None) -> str:
        """Send an event until it is acknowledged; returns its id."""
        id_, at = str(uuid.uuid4()), at or self.clock.now()
        self.told[id_] = Event(player, game, "player_login" if score is None else "player_score", at, score)
        self.send(id_)
        return id_

    def send(self, id_: str) -> None:
        event = self.told[id_]
        body: dict[str, Any] = {
            "event_id": id_,
            "event_type": event.kind,
            "player_id": event.player,
            "game_id": event.game,
        }
        body |= {"timestamp": event.at.isoformat(), "data": {} if event.score is None else {"score": event.score}}

        def is_taken() -> bool:
            answer = requests.post(f"{self.address}/api/v1/events", json=body, timeout=30)
            assert answer.status_code in (200, 503), answer.text
            return answer.ok

        eventually(is_taken, 60)

    def board(self, game: str, period: str) -> tuple[str, list[tuple[int, str, int]]]:
        """First day and places of a board, as HTTP tells them."""
        told = requests.get(
            f"{self.address}/api/v1/games/{game}/leaderboards/{period}", {"limit": 100}, timeout=30
        ).json()
        return told["period_start"], told_places(told)

    def check(self) -> None:
        """Hold both stores and HTTP against a recount."""
        totals, scores = count_totals(self.told.values()), count_scores(self.told.values())
        eventually(lambda: self.counted(totals) == len(self.told))
        eventually(lambda: self.has_scores(scores), 60)
        eventually(lambda: self.cached_totals() == totals, 30)
        today = self.clock.now().date()
        self.check_totals(totals)
        self.check_boards(scores, today)
        for game in GAMES:
            for period in ("daily", "weekly", "alltime"):
                first = begin(period, today)
                board = ranked(scores.get((game, period, first), {}))
                assert self.board(game, period) == (first.isoformat(), board[:100])

    def rows_in_bronze(self, player: str) -> int:
        return sum(1 for (found,) in rows_of(self.settings, PLAYER_EVENTS, ["player_id"]) if found == player)

    def correct(self) -> str:
        """What the nightly job does, on the same clock."""
        code = (
            "from lakehouse.domains.players.corrections import correct; from lakehouse.settings import load; "
            "print(correct(load()))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=self.home.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Players]:
    """All of it, at noon of a Sunday."""
    now = datetime.now(UTC)
    noon = now.replace(hour=12, minute=0, second=0, microsecond=0) + timedelta(days=(6 - now.weekday()) or 7)
    folder = tmp_path_factory.mktemp("calendar")
    with open_home(folder / "home") as home:
        clock = Clock(folder)
        clock.rule(home, noon - now)
        home.environment |= {"LAKEHOUSE_CHECKPOINT_SEC": "2", "LAKEHOUSE_STREAM_RESTART_SEC": "3"}
        home.up("flink", "sink", "api")
        for pipeline in ("players", "player-stats"):
            done = home.run("stream", "start", pipeline)
            assert done.returncode == 0, done.stderr
        with closing(Players(home, clock)) as found:
            yield found


def test_days_and_weeks_end_by_the_clock_whatever_comes(path: Players) -> None:
    chance, clock = random.Random(1), path.clock
    sunday = clock.now().date()
    monday = sunday + timedelta(days=1)
    midnight = datetime(monday.year, monday.month, monday.day, tzinfo=UTC)
    first = path.post(IDLE, "quiet", 40)
    path.post(IDLE, "quiet", 2)
    path.post(IDLE, "busy")
    path.check()

    # Over midnight, with events all the while; but in one of the games nobody plays.
    clock.set(clock.ahead + (midnight - timedelta(seconds=10) - clock.now()))
    while clock.now() < midnight + timedelta(seconds=10):
        path.post(f"player-{chance.randrange(20)}", chance.choice(GAMES[:2]), chance.choice((None, 5, 10, 250)))
        time.sleep(0.05)
    days = {event.at.date() for event in path.told.values()}
    assert days == {sunday, monday}
    path.check()
    assert path.board("quiet", "daily") == (monday.isoformat(), [])
    assert path.board("quiet", "weekly") == (monday.isoformat(), [])
    assert path.board("quiet", "alltime")[1] == [(1, IDLE, 42)]
    assert path.redis.zscore(f"leaderboard:quiet:daily:{sunday}", IDLE) == 42

    # Late: it counts in its own day and week.
    path.post(IDLE, "quiet", 3, at=midnight - timedelta(minutes=30))
    path.check()

    # Nothing for days.
    clock.set(clock.ahead + timedelta(days=DAYS))
    path.post(IDLE, "quiet", 1)
    path.check()
    assert path.board("quiet", "daily")[1] == [(1, IDLE, 1)]
    assert path.board("quiet", "alltime")[1] == [(1, IDLE, 46)]

    # What the job has forgotten comes again, and comes late: the lake knows.
    path.send(first)
    path.post(IDLE, "quiet", 5, at=midnight - timedelta(minutes=20))
    total = count_totals(path.told.values())[IDLE][0]
    eventually(lambda: path.served_totals()[IDLE][0] == total + 1)
    eventually(lambda: path.rows_in_bronze(IDLE) == total + 1)
    assert path.correct() == "Corrected(totals=1, scores=3)"
    path.check()
