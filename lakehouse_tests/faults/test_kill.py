"""Processes and servers are killed while they work; afterwards one more drain makes the account whole.

Judged by what the producer knows it sent, through Trino, never by the writer's numbers.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time

import psutil
import pytest
from trino.exceptions import TrinoQueryError

from lakehouse_tests.conftest import Feed, Message, audit_of_topic
from lakehouse_tests.events import event
from lakehouse_tests.recount import Sent

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

STEPS = ["after validation", "after dead letters", "before the swap", "after the swap"]
BATCH = 200
PATIENCE = 240


def messages(count: int, *, every: int = 9) -> list[Message]:
    """Good messages, every so many one that is no JSON."""
    return [
        (f"C-{i}".encode(), b"rubbish %d" % i, "INVALID_JSON")
        if i % every == 4 % every
        else (f"C-{i}".encode(), event(event_id=f"e-{i}", entity_id=f"C-{i}"), None)
        for i in range(count)
    ]


def start(feed: Feed, *arguments: str, idle_sec: float = 1) -> subprocess.Popen[str]:
    return feed.drain(*arguments, LAKEHOUSE_BATCH_SIZE=str(BATCH), LAKEHOUSE_DRAIN_IDLE_SEC=str(idle_sec))


def wait_for_commits(process: subprocess.Popen[str], count: int) -> None:
    assert process.stdout is not None
    for _ in range(count):
        assert process.stdout.readline() == "commit\n"


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, output


def drain_to_the_end(feed: Feed) -> None:
    """As the sensor would: again while a run fails, because a server is still on its way back."""
    deadline = time.monotonic() + PATIENCE
    while True:
        code, output = end(start(feed))
        if code == 0:
            return
        assert time.monotonic() < deadline, output


def assert_whole(feed: Feed, sent: list[Sent]) -> None:
    wait_for_trino(feed)
    assert feed.discrepancies(sent) == []
    report = audit_of_topic(deep=True)
    assert (report.verdict, report.in_flight) == ("complete", 0), report


@pytest.mark.parametrize("step", STEPS)
def test_a_run_killed_at_a_step_is_completed_by_the_next(feed: Feed, step: str) -> None:
    sent = feed.send(messages(600))
    code, output = end(start(feed, "--at", step, "--batch", "2"))
    assert (code, output) == (-signal.SIGKILL, "commit\n")
    drain_to_the_end(feed)
    assert_whole(feed, sent)


@pytest.mark.parametrize("step", STEPS)
def test_a_run_frozen_at_a_step_lands_nothing_that_another_has_landed_meanwhile(feed: Feed, step: str) -> None:
    sent = feed.send(messages(600))
    frozen = start(feed, "--at", step, "--batch", "2", "--signal", "STOP")
    wait_for_commits(frozen, 1)
    wait_until_frozen(frozen)
    drain_to_the_end(feed)
    sent += feed.send(messages(50))
    frozen.send_signal(signal.SIGCONT)
    code, output = end(frozen)
    assert code == 0, output
    drain_to_the_end(feed)
    assert_whole(feed, sent)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_end_is_completed_by_the_next(feed: Feed, number: signal.Signals) -> None:
    sent = feed.send(messages(3_000))
    process = start(feed)
    wait_for_commits(process, 2)
    process.send_signal(number)
    code, output = end(process)
    assert code != 0, output
    drain_to_the_end(feed)
    assert_whole(feed, sent)


def test_nothing_but_rubbish_for_a_while_stops_nobody(feed: Feed) -> None:
    sent = feed.send(messages(300))
    sent += feed.send(messages(1_000, every=1))
    sent += feed.send(messages(300))
    drain_to_the_end(feed)
    assert_whole(feed, sent)


def test_runs_killed_at_any_moment_are_completed_by_the_next(feed: Feed) -> None:
    chance = random.Random(9)
    sent = feed.send(messages(4_000))
    for _ in range(3):
        process = start(feed)
        wait_for_commits(process, 1)
        time.sleep(chance.uniform(0, 0.6))
        process.kill()
        end(process)
        sent += feed.send(messages(200))
    drain_to_the_end(feed)
    assert_whole(feed, sent)


def test_of_two_runs_one_is_killed_and_the_other_lands_all(feed: Feed) -> None:
    sent = feed.send(messages(2_000))
    victim, survivor = start(feed), start(feed)
    wait_for_commits(victim, 2)
    victim.kill()
    end(victim)
    assert end(survivor)[0] == 0
    assert_whole(feed, sent)


def test_a_run_that_loses_the_broker_fails_or_has_landed_everything(feed: Feed) -> None:
    """More bytes than a consumer reads ahead, so that the broker is missed."""
    padding = "x" * 40_000
    sent = feed.send((f"C-{i}".encode(), event(event_id=f"e-{i}", note=padding), None) for i in range(1_500))
    process = start(feed)
    wait_for_commits(process, 1)
    feed.stack.kill("kafka")
    code, output = end(process)
    assert code != 0 or len(feed.rows()) == len(sent), output
    drain_to_the_end(feed)
    assert_whole(feed, sent)


def test_a_run_outlives_a_crash_of_the_broker(feed: Feed) -> None:
    sent = feed.send(messages(600))
    process = start(feed, idle_sec=60)
    wait_for_commits(process, 3)
    feed.stack.kill("kafka")
    wait_until_healthy(feed, "kafka")
    sent += feed.send(messages(100))
    wait_for_commits(process, 1)
    process.kill()
    end(process)
    drain_to_the_end(feed)
    assert_whole(feed, sent)


def test_postgresql_is_killed_during_a_run(feed: Feed) -> None:
    sent = feed.send(messages(3_000))
    process = start(feed)
    wait_for_commits(process, 2)
    feed.stack.kill("postgres")
    end(process)
    drain_to_the_end(feed)
    assert_whole(feed, sent)


def test_trino_is_killed_and_reads_everything_when_it_is_back(feed: Feed) -> None:
    sent = feed.send(messages(500))
    feed.stack.kill("trino")
    drain_to_the_end(feed)
    wait_until_healthy(feed, "trino")
    assert_whole(feed, sent)


def wait_until_frozen(process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def wait_until_healthy(feed: Feed, name: str) -> None:
    from lakehouse.stack import status

    deadline = time.monotonic() + PATIENCE
    while not all(server.is_healthy for server in status(feed.stack.settings) if server.name == name):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def wait_for_trino(feed: Feed) -> None:
    """Trino notices only by a failing query that a connection to PostgreSQL is dead, and then makes a new one."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            feed.stack.sql("select 1 from iceberg.bronze.service_events_raw limit 1")
            return
        except TrinoQueryError:
            assert time.monotonic() < deadline
            time.sleep(0.5)
