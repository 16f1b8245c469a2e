"""Records are gone before they were read, or the topic is another one: nobody reads on as if nothing had happened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kafka import TopicPartition
from rich.console import Console

from lakehouse.adapters.kafka.client import describe_topic, open_admin
from lakehouse.domains.feeds import ensure_topics
from lakehouse.errors import LakehouseError
from lakehouse.ledger.account import Account
from lakehouse.settings import load
from lakehouse.stack import down, up
from lakehouse_tests.conftest import audit_of_topic
from lakehouse_tests.faults.declare import fault
from lakehouse_tests.faults.trial import Trial, patiently

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

QUIET = Console(quiet=True)


@fault(
    "Retention deletes records before they were read",
    expected="the run stops and says so, the audit is red; `acknowledge-lost` counts them and reading goes on",
)
def test_records_that_retention_took_are_acknowledged_before_reading_goes_on(trial: Trial) -> None:
    trial.send(300)
    trial.complete()
    kept = list(trial.sent)
    trial.send(trial.chance.randint(5, 50))
    lost = trial.sent[len(kept) :]
    with trial.admin() as admin:
        ends = {message.partition: message.offset + 1 for message in lost}
        admin.delete_records({TopicPartition(trial.feed.topic, p): offset for p, offset in ends.items()})
    trial.assert_stopped(trial.start(), "were deleted before they were read")
    command = [str(Path(sys.executable).with_name("lakehouse")), "acknowledge-lost", trial.feed.topic]
    subprocess.run([*command, "--why", "retention was too short"], check=True, capture_output=True)
    trial.sent = kept
    trial.send(100)
    trial.complete()
    trial.assert_whole()
    assert sum(account.lost for account in accounts(trial)) == len(lost)


@fault("The topic is deleted and created again", expected="the run stops and says so; the audit is red")
def test_a_topic_that_was_created_again_is_not_taken_for_the_old_one(trial: Trial) -> None:
    trial.send(300)
    trial.complete()
    with trial.admin() as admin:
        admin.delete_topics([trial.feed.topic])
    patiently(lambda: expect(trial, exists=False), (AssertionError, LakehouseError))
    ensure_topics(load())
    patiently(lambda: expect(trial, exists=True), (AssertionError, LakehouseError))
    known = list(trial.sent)
    trial.send(600)
    trial.assert_stopped(trial.start(), "deleted and created again")
    trial.sent = known
    trial.assert_landed(300)


@fault(
    "The broker loses its log: offsets begin again below the ledger",
    expected="the run stops and says so; the audit is red",
)
def test_offsets_that_were_reset_are_not_taken_for_new_ones(trial: Trial) -> None:
    trial.send(300)
    trial.complete()
    settings = trial.feed.stack.settings
    down(settings, ["kafka"], QUIET)
    try:
        for folder in (settings.home / "kafka").rglob(f"{trial.feed.topic}-*"):
            for path in folder.iterdir():
                if path.name != "partition.metadata":
                    path.unlink()
    finally:
        up(settings, ["kafka"], console=QUIET)
    patiently(lambda: expect(trial, exists=True), (AssertionError, LakehouseError))
    known = list(trial.sent)
    trial.send(30)
    trial.assert_stopped(trial.start(), "offsets were reset")
    trial.sent = known
    trial.assert_landed(300)


def expect(trial: Trial, *, exists: bool) -> None:
    """A topic is gone, or has its leaders, a moment after the broker said so."""
    state = describe_topic(open_admin(trial.feed.stack.settings), trial.feed.topic)
    assert (state is not None) == exists


def accounts(trial: Trial) -> list[Account]:
    return [account for account in audit_of_topic(deep=True).accounts if account.source == trial.feed.topic]
