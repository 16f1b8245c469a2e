"""The running stack for tests against real servers, and which tests are left out without the real data.

The stack is one for the session, in a folder and on ports of its own: a stack that the user runs is never touched.
It starts when the first test asks for it.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lakehouse_tests.recount import Sent, discrepancies

if TYPE_CHECKING:
    from lakehouse.ledger.account import Report
    from lakehouse.settings import Settings

REAL_DATA = "LAKEHOUSE_REAL_DATA"
LOOPBACK = "127.0.0.1"
SERVERS = ("postgres", "kafka", "trino")
PORTS = range(20_000, 32_000)
"""Below the range of ports for outgoing connections, so that a server that was killed finds its own free again."""

Message = tuple[bytes | None, bytes | None, str | None]
"""Key, value, and why it must be refused (None for a good one)."""


# Which tests run, and in which order ---------------------------------------------------------------------------------


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out real data where there is none, and the soak; run what needs servers last: quick tests see no stack."""
    given = os.environ.get(REAL_DATA)
    if given and not (Path(given) / "pgr").is_dir():
        raise pytest.UsageError(f"{REAL_DATA}={given}: there is no folder pgr in it")
    left_out = [] if given else [item for item in items if item.get_closest_marker("real_data")]
    if "soak" not in config.option.markexpr:
        left_out += [item for item in items if item.get_closest_marker("soak")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: "stack" in getattr(item, "fixturenames", ()))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what was left out."""
    if not os.environ.get(REAL_DATA):
        terminalreporter.write_line(f"tests with real data are left out: {REAL_DATA} is not set", yellow=True)


ASKED = {
    "conversions": r"conversions",
    "players": r"_player|leaderboard",
    "mtg": r"_mtg_",
    "rawg": r"fact_games",
}
"""What the questions about a domain mention; all others can be asked of grievances."""


def questions_of_the_readme(domain: str) -> list[str]:
    """The questions in SQL that the README shows of a domain."""
    readme = Path(__file__).resolve().parents[1] / "README.md"
    blocks = re.findall(r"```sql\n(.*?)```", readme.read_text(), re.DOTALL)
    questions = [question for block in blocks for question in block.split(";") if question.strip()]
    return [q for q in questions if next((name for name, said in ASKED.items() if re.search(said, q)), "pgr") == domain]


def audit_of_topic(*, deep: bool) -> Report:
    """The audit of the topic that the settings name, and of what SQL wrote.

    Every test has a topic of its own in the one table, and some leave theirs with a gap.
    """
    from lakehouse.audit import run_audit
    from lakehouse.ledger.account import Report
    from lakehouse.settings import load

    settings = load()
    accounts = run_audit(settings, deep=deep).accounts
    return Report([account for account in accounts if account.source == settings.kafka_topic or account.direct])


# The stack -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stack:
    """A running stack; its settings are also those of the environment."""

    settings: Settings

    def sql(self, statement: str, *parameters: Any, timezone: str = "UTC") -> list[list[Any]]:
        """Ask Trino through its plain client, which says what time zone it is in."""
        from trino.dbapi import connect

        connection = connect(  # type: ignore[no-untyped-call]
            host=LOOPBACK, port=self.settings.trino_port, user="tests", catalog="iceberg", timezone=timezone
        )
        try:
            cursor = connection.cursor()
            cursor.execute(statement, list(parameters) or None)
            return [list(row) for row in cursor.fetchall()]
        finally:
            connection.close()

    def pids(self, server: str) -> tuple[int, ...]:
        """Main processes of a server."""
        from lakehouse.stack import status

        return next(found.pids for found in status(self.settings) if found.name == server)

    def kill(self, server: str) -> None:
        """End a server as a crash would; the supervisor starts it again."""
        for pid in self.pids(server):
            os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Feed:
    """A topic of its own, and what is known of it on both ends."""

    stack: Stack
    topic: str

    def send(self, messages: Iterable[Message]) -> list[Sent]:
        """Send through a client that is not the product's, and keep the record that the tables are judged by."""
        from kafka import KafkaProducer

        producer = KafkaProducer(
            bootstrap_servers=self.stack.settings.kafka_brokers,
            acks="all",
            max_request_size=8 * 1024 * 1024,
            linger_ms=5,
        )
        try:
            waiting = [(message, producer.send(self.topic, key=message[0], value=message[1])) for message in messages]
            producer.flush(timeout=60)
            known = [(message, future.get(timeout=60)) for message, future in waiting]
        finally:
            producer.close()
        return [Sent(m.partition, m.offset, m.timestamp, key, value, reason) for (key, value, reason), m in known]

    def rows(self) -> list[tuple[int, int, str]]:
        """Partition, offset and raw payload of the rows in bronze."""
        statement = (
            "select kafka_partition, kafka_offset, raw_payload"
            " from iceberg.bronze.service_events_raw where kafka_topic = ?"
        )
        return [(p, o, payload) for p, o, payload in self.stack.sql(statement, self.topic)]

    def letters(self) -> list[tuple[int, int, str, bytes | None, bytes | None]]:
        """Partition, offset, error type, payload and key of the dead letters."""
        statement = (
            "select kafka_partition, kafka_offset, error_type, original_payload, original_key"
            " from iceberg.bronze.dead_letters where kafka_topic = ?"
        )
        return [(p, o, reason, value, key) for p, o, reason, value, key in self.stack.sql(statement, self.topic)]

    def discrepancies(self, sent: Iterable[Sent]) -> list[str]:
        """Where the tables differ from what was sent."""
        return discrepancies(sent, self.rows(), self.letters())

    def drain(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a process that drains the topic with the product's own loop (see `faults/driver.py`)."""
        return subprocess.Popen(
            [sys.executable, "-m", "lakehouse_tests.faults.driver", *arguments],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL, Kafka and Trino, started for the session and stopped whatever happens."""
    from lakehouse import settings as settings_module
    from lakehouse.stack import down, up
    from lakehouse.stack.environment import exports
    from lakehouse.stack.registry import by_name

    home = tmp_path_factory.mktemp("stack")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as at_end:
        _point_away_from_the_user(patch, home)
        settings = settings_module.load()
        at_end.callback(_remove_data, settings.home, by_name("postgres").programs(settings)[0].cwd)
        at_end.callback(down, settings)
        with _termination_as_interrupt():
            up(settings, servers=list(SERVERS))
            settings = settings_module.load()
            for name, value in exports(settings).items():
                patch.setenv(name, value)
            # Runs belong to the test that starts them, not to a database that outlives it.
            patch.delenv("DAGSTER_HOME")
            yield Stack(settings)


@pytest.fixture
def feed(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Feed:
    """A fresh topic, which the settings name while the test runs."""
    return new_feed(stack, monkeypatch)


def new_feed(stack: Stack, patch: pytest.MonkeyPatch) -> Feed:
    """Create a topic, which the settings name from now on."""
    from lakehouse.domains.feeds import ensure_topics
    from lakehouse.settings import load

    topic = f"test-{uuid.uuid4().hex[:12]}"
    patch.setenv("LAKEHOUSE_KAFKA_TOPIC", topic)
    ensure_topics(load())
    return Feed(stack, topic)


def _point_away_from_the_user(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Make the environment say all that decides where the servers are, and nothing that the user's shell says."""
    from lakehouse.settings import Settings

    for field in Settings.model_fields.values():
        for name in getattr(field.validation_alias, "choices", ()):
            patch.delenv(str(name), raising=False)
    kafka, postgres, trino, flink, spark, dagster, redis, api = free_ports(2, 1, 1, 2, 2, 1, 1, 1)
    values = {
        "HOME": home,
        "WAREHOUSE": (home / "warehouse").as_uri(),
        "KAFKA_BOOTSTRAP_SERVERS": "local",
        "KAFKA_PORT": kafka,
        "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        "DB_HOST": "local",
        "DB_PORT": postgres,
        "TRINO_HOST": "local",
        "TRINO_PORT": trino,
        "FLINK_URL": "local",
        "FLINK_PORT": flink,
        "SPARK_REMOTE": "local",
        "SPARK_PORT": spark,
        "DAGSTER_PORT": dagster,
        "API_PORT": api,
        "REDIS_HOST": "local",
        "REDIS_PORT": redis,
        "BATCH_SIZE": 5_000,
        "FLUSH_INTERVAL_SEC": 0.5,
        "DRAIN_IDLE_SEC": 1,
    }
    for name, value in values.items():
        patch.setenv(f"LAKEHOUSE_{name}", str(value))


def free_ports(*widths: int) -> list[int]:
    """First ports of blocks of neighbouring free ports; all are held until the last is found: none is given twice."""
    with ExitStack() as held:
        return [_free_block(held, width) for width in widths]


def _free_block(held: ExitStack, width: int) -> int:
    chance = random.SystemRandom()
    for _ in range(1_000):
        first = chance.choice(PORTS)
        with ExitStack() as block:
            try:
                for port in range(first, first + width):
                    block.enter_context(socket.socket()).bind((LOOPBACK, port))
            except OSError:
                continue
            held.enter_context(block.pop_all())
            return first
    raise RuntimeError(f"no {width} neighbouring ports are free in {PORTS}")


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """End the session in an orderly way also when it is told to by SIGTERM or SIGHUP, as a build server does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remove_data(home: Path, *others: Path) -> None:
    """Keep nothing but the logs."""
    for folder in (*(path for path in home.iterdir() if path.name != "logs"), *others):
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
        else:
            folder.unlink(missing_ok=True)
