"""Servers are killed, stay away, and do not answer."""

from __future__ import annotations

import time

import pytest
from rich.console import Console

from lakehouse.stack import down, status, up
from lakehouse_tests.faults.declare import fault
from lakehouse_tests.faults.trial import PATIENCE, Trial, end, frozen, wait_for_commits

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

QUIET = Console(quiet=True)


@fault("The broker crashes and comes back", expected="the run goes on by itself")
def test_a_run_outlives_a_crash_of_the_broker(trial: Trial) -> None:
    trial.send(600)
    process = trial.start(idle_sec=60)
    wait_for_commits(process, 3)
    trial.feed.stack.kill("kafka")
    wait_until_healthy(trial, "kafka")
    trial.send(100)
    wait_for_commits(process, 1)
    process.kill()
    end(process)
    trial.complete()
    trial.assert_whole()


@fault("The broker stays away", expected="the run fails unless it has read everything; later ones land the rest")
def test_a_run_that_loses_the_broker_fails_or_has_landed_everything(trial: Trial) -> None:
    # More bytes than a consumer reads ahead, so that the broker is missed.
    trial.send(1_500, padding="x" * 40_000)
    process = trial.start()
    wait_for_commits(process, 1)
    down(trial.feed.stack.settings, ["kafka"], QUIET)
    try:
        code, output = end(process)
        assert code != 0 or len(trial.feed.rows()) + len(trial.feed.letters()) == len(trial.sent), output
        time.sleep(trial.away_seconds)
    finally:
        up(trial.feed.stack.settings, ["kafka"], console=QUIET)
    trial.complete()
    trial.assert_whole()


@fault("PostgreSQL crashes while a run is at work", expected="the run fails or goes on; later ones land the rest")
def test_postgresql_is_killed_during_a_run(trial: Trial) -> None:
    trial.send(3_000)
    process = trial.start()
    wait_for_commits(process, 2)
    time.sleep(trial.chance.uniform(0, 0.5))
    trial.feed.stack.kill("postgres")
    end(process)
    trial.complete()
    trial.assert_whole()


@fault(
    "PostgreSQL crashes in mid-commit",
    expected="the commit is undone as a whole; the next run completes the batch",
    cases=["before the swap", "in the swap", "dead letters in the swap"],
)
def test_postgresql_is_killed_in_mid_commit(trial: Trial, case: str) -> None:
    trial.send(600)
    process = trial.start_to(case, "STOP")
    with frozen(process):
        trial.feed.stack.kill("postgres")
        wait_until_healthy(trial, "postgres")
    end(process)
    trial.complete()
    trial.assert_whole()


@fault(
    "The catalog's answer to a commit that succeeded is lost",
    expected="the run finds its commit in the table and goes on",
    cases=["after the swap", "after dead letters"],
)
def test_a_commit_whose_answer_is_lost_is_found_in_the_table(trial: Trial, case: str) -> None:
    trial.send(600)
    code, output = end(trial.start_to(case, "UNKNOWN"))
    assert code == 0, output
    trial.assert_whole()


@fault("Trino crashes", expected="ingestion does not notice; queries answer when it is back")
def test_trino_is_killed_and_reads_everything_when_it_is_back(trial: Trial) -> None:
    trial.send(500)
    trial.feed.stack.kill("trino")
    trial.complete()
    wait_until_healthy(trial, "trino")
    trial.assert_whole()


def wait_until_healthy(trial: Trial, name: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not all(server.is_healthy for server in status(trial.feed.stack.settings) if server.name == name):
        assert time.monotonic() < deadline
        time.sleep(0.5)
