"""Processes and servers are killed while they work; afterwards one more drain makes the account whole.

Judged by what the producer knows it sent, through Trino, never by the writer's numbers.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time

import pytest

from lakehouse.audit import run_audit
from lakehouse.settings import load
from lakehouse_tests.conftest import Feed, Message
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
        if i % every == 4
        else (f"C-{i}".encode(), event(event_id=f"e-{i}", entity_id=f"C-{i}"), None)
        for i in range(count)
    ]


def start(feed: Feed, *arguments: str) -> subprocess.Popen[str]:
    return feed.drain(*arguments, LAKEHOUSE_BATCH_SIZE=str(BATCH))


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
    assert feed.discrepancies(sent) == []
    report = run_audit(load(), deep=True)
    assert (report.verdict, report.in_flight) == ("complete", 0), report


@pytest.mark.parametrize("step", STEPS)
def test_a_run_killed_at_a_step_is_completed_by_the_next(feed: Feed, step: str) -> None:
    sent = feed.send(messages(1_000))
    code, output = end(start(feed, "--die-at", step, "--batch", "2"))
    assert (code, output) == (-signal.SIGKILL, "commit\n")
    drain_to_the_end(feed)
    assert_whole(feed, sent)


def test_runs_killed_at_any_moment_are_completed_by_the_next(feed: Feed) -> None:
    chance = random.Random(9)
    sent = feed.send(messages(6_000))
    for _ in range(5):
        process = start(feed)
        wait_for_commits(process, 1)
        time.sleep(chance.uniform(0, 0.6))
        process.kill()
        end(process)
        sent += feed.send(messages(200))
    drain_to_the_end(feed)
    assert_whole(feed, sent)


def test_of_two_runs_one_is_killed_and_the_other_lands_all(feed: Feed) -> None:
    sent = feed.send(messages(3_000))
    victim, survivor = start(feed), start(feed)
    wait_for_commits(victim, 2)
    victim.kill()
    end(victim)
    assert end(survivor)[0] == 0
    assert_whole(feed, sent)


def test_the_broker_is_killed_during_a_run(feed: Feed) -> None:
    sent = feed.send(messages(6_000))
    process = start(feed)
    wait_for_commits(process, 2)
    feed.stack.kill("kafka")
    end(process)
    drain_to_the_end(feed)
    assert_whole(feed, sent)


def test_a_run_that_lost_the_broker_does_not_claim_success(feed: Feed) -> None:
    sent = feed.send(messages(6_000))
    process = start(feed)
    wait_for_commits(process, 2)
    feed.stack.kill("kafka")
    code, output = end(process)
    landed = len(feed.rows()) + len(feed.letters())
    assert code != 0 or landed == len(sent), f"ended well with {landed} of {len(sent)} landed: {output}"
    drain_to_the_end(feed)
    assert_whole(feed, sent)


def test_postgresql_is_killed_during_a_run(feed: Feed) -> None:
    sent = feed.send(messages(6_000))
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
    wait_for_trino(feed)
    assert_whole(feed, sent)


def wait_for_trino(feed: Feed) -> None:
    from lakehouse.stack import status

    deadline = time.monotonic() + PATIENCE
    while not all(server.is_healthy for server in status(feed.stack.settings) if server.name == "trino"):
        assert time.monotonic() < deadline
        time.sleep(1)
