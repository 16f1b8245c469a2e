"""Runs are killed, frozen, told to end, doubled and fed with rubbish."""

from __future__ import annotations

import signal
import time

import pytest

from lakehouse_tests.failpoints import STEPS
from lakehouse_tests.faults.declare import fault
from lakehouse_tests.faults.trial import Trial, end, frozen, wait_for_commits

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

FROZEN = ("after poll", "dead letters in the swap", *STEPS[STEPS.index("after dead letters") : -1])
"""Another run comes past whatever the first one holds; PostgreSQL ends a transaction in which nothing moves."""


@fault(
    "A run is killed (`kill -9`) at a step of a commit",
    expected="the next run completes the batch",
    cases=STEPS,
)
def test_a_run_killed_at_a_step_is_completed_by_the_next(trial: Trial, case: str) -> None:
    trial.send(600)
    code, output = end(trial.start_to(case, "KILL"))
    assert code == -signal.SIGKILL, output
    trial.complete()
    trial.assert_whole()


@fault(
    "A run is frozen (`SIGSTOP`) at a step of a commit and goes on after another has taken over",
    expected="it lands nothing that the other has landed",
    cases=FROZEN,
)
def test_a_run_frozen_at_a_step_lands_nothing_that_another_has_landed(trial: Trial, case: str) -> None:
    trial.send(600)
    process = trial.start_to(case, "STOP")
    with frozen(process):
        trial.complete()
        trial.send(50)
    end(process)
    trial.complete()
    trial.assert_whole()


@fault("A run is frozen for long", expected="another takes over; what the first had polled is landed once")
def test_a_run_frozen_for_long_lands_nothing_twice(trial: Trial) -> None:
    trial.send(600)
    process = trial.start_to("after poll", "STOP")
    with frozen(process):
        trial.complete()
        trial.send(200)
        time.sleep(trial.away_seconds)
    end(process)
    trial.complete()
    trial.assert_whole()


@fault("Runs are killed at any moment", expected="the next run completes the batch")
def test_runs_killed_at_any_moment_are_completed_by_the_next(trial: Trial) -> None:
    trial.send(2_000)
    for _ in range(3):
        process = trial.start()
        wait_for_commits(process, 1)
        time.sleep(trial.chance.uniform(0, 0.6))
        process.kill()
        end(process)
        trial.send(200)
    trial.complete()
    trial.assert_whole()


@fault(
    "A run is told to end (`SIGTERM`, Ctrl-C)",
    expected="it ends at once; the next run completes the batch",
    cases=["SIGTERM", "SIGINT"],
)
def test_a_run_that_is_told_to_end_is_completed_by_the_next(trial: Trial, case: str) -> None:
    trial.send(3_000)
    process = trial.start()
    wait_for_commits(process, trial.chance.randint(1, 3))
    process.send_signal(signal.Signals[case])
    code, output = end(process)
    assert code != 0, output
    trial.complete()
    trial.assert_whole()


@fault("Two runs drain the same topic at once", expected="every record lands once")
def test_two_runs_at_once_land_everything_once(trial: Trial) -> None:
    trial.send(2_000)
    both = [trial.start(), trial.start()]
    ended = [end(process) for process in both]
    assert [code for code, _ in ended] == [0, 0], ended
    trial.assert_whole()


@fault("Of two runs on the same topic one is killed", expected="the other lands everything once")
def test_of_two_runs_one_is_killed_and_the_other_lands_all(trial: Trial) -> None:
    trial.send(2_000)
    victim, survivor = trial.start(), trial.start()
    wait_for_commits(victim, trial.chance.randint(1, 2))
    victim.kill()
    end(victim)
    code, output = end(survivor)
    assert code == 0, output
    trial.assert_whole()


@fault("Nothing but rubbish comes for a while", expected="each is a dead letter; what comes after is landed")
def test_nothing_but_rubbish_for_a_while_stops_nobody(trial: Trial) -> None:
    trial.send(300)
    trial.send(1_000, every=1)
    trial.send(300)
    code, output = end(trial.start())
    assert code == 0, output
    trial.assert_whole()
