"""One trial of a fault: a topic of its own, what was sent to it, and the judgement when it is over.

Judged by what the producer knows it sent, through Trino, never by the writer's numbers.
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import psutil
from kafka.admin import KafkaAdminClient
from trino.exceptions import TrinoQueryError

from lakehouse.adapters.iceberg.catalog import open_catalog
from lakehouse.settings import load
from lakehouse_tests.conftest import Feed, Message, audit_of_topic
from lakehouse_tests.events import event
from lakehouse_tests.faults.driver import drain_topic
from lakehouse_tests.recount import Sent, discrepancies

BATCH = 200
PATIENCE = 240


@dataclass
class Trial:
    """A topic, and what chance decides."""

    feed: Feed
    chance: random.Random
    away_seconds: float
    """How long a server or a worker stays away."""
    sent: list[Sent] = field(default_factory=list)

    def send(self, count: int, *, every: int = 9, padding: str = "") -> None:
        """Send good messages, every so many one that is no JSON."""
        first = len(self.sent)
        self.sent += self.feed.send(_message(number, every, padding) for number in range(first, first + count))

    def start(self, *arguments: str, idle_sec: float = 1) -> subprocess.Popen[str]:
        """Start a run in a process of its own."""
        values = {"BATCH_SIZE": BATCH, "FLUSH_INTERVAL_SEC": 2, "DRAIN_IDLE_SEC": idle_sec}
        return self.feed.drain(*arguments, **{f"LAKEHOUSE_{name}": str(value) for name, value in values.items()})

    def start_to(self, step: str, then: str) -> subprocess.Popen[str]:
        """Start a run to which something happens at a step of some batch."""
        return self.start("--at", step, "--batch", str(self.chance.randint(1, 3)), "--then", then)

    def complete(self) -> None:
        """Run as the sensor would: again while a run fails, because a server is still on its way back."""
        patiently(self._run, (Exception,))

    def _run(self) -> None:
        settings = load()
        with closing(open_catalog(settings)) as catalog:
            for _ in drain_topic(settings, catalog):
                pass

    def assert_whole(self) -> None:
        """Every message is where it must be, once, and the audit says so."""
        self.assert_landed(len(self.sent))
        report = audit_of_topic(deep=True)
        assert (report.verdict, report.in_flight) == ("complete", 0), report

    def assert_landed(self, count: int) -> None:
        """So many of the messages are where they must be, once, and nothing else is there."""
        # Trino notices only by a failing query that a connection to PostgreSQL is dead, and then makes a new one.
        patiently(self.feed.rows, (TrinoQueryError,))
        rows, letters = self.feed.rows(), self.feed.letters()
        held = {(partition, offset) for partition, offset, *_ in (*rows, *letters)}
        landed = [message for message in self.sent if message.coordinate in held]
        assert (len(landed), discrepancies(landed, rows, letters)) == (count, [])

    def assert_stopped(self, process: subprocess.Popen[str], why: str) -> None:
        """The run landed nothing, said why, and the audit says so too."""
        before = len(self.feed.rows())
        code, output = end(process)
        assert code == 1
        assert why in output
        assert len(self.feed.rows()) == before
        report = audit_of_topic(deep=True)
        gaps = "; ".join(gap for account in report.accounts for gap in account.gaps)
        assert report.verdict == "incomplete"
        assert why in gaps

    @contextlib.contextmanager
    def admin(self) -> Iterator[KafkaAdminClient]:
        """A client that changes topics."""
        with closing(KafkaAdminClient(bootstrap_servers=self.feed.stack.settings.kafka_brokers)) as client:
            yield client


def _message(number: int, every: int, padding: str) -> Message:
    if number % every == every // 2:
        return f"C-{number}".encode(), b"rubbish %d" % number, "INVALID_JSON"
    return f"C-{number}".encode(), event(event_id=f"e-{number}", entity_id=f"C-{number}", note=padding), None


def patiently(action: Callable[[], object], errors: tuple[type[Exception], ...]) -> None:
    """Repeat until there is no such error."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            action()
            return
        except errors:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def wait_for_commits(process: subprocess.Popen[str], count: int) -> None:
    """Wait until a run has reported so many commits."""
    assert process.stdout is not None
    for _ in range(count):
        line = process.stdout.readline()
        assert line == "commit\n", line + process.stdout.read()


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and what the run said in the end."""
    output, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, output


@contextlib.contextmanager
def frozen(process: subprocess.Popen[str]) -> Iterator[None]:
    """While the block runs, the process stands still where it stopped itself."""
    deadline = time.monotonic() + PATIENCE
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        assert process.poll() is None, end(process)
        assert time.monotonic() < deadline
        time.sleep(0.1)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)
