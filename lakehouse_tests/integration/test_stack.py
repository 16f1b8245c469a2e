"""The servers themselves: one stack of its own, started, harmed, repaired and ended by the command line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from rich.console import Console

from lakehouse.settings import Settings
from lakehouse.stack.control import up
from lakehouse.stack.redis import Redis
from lakehouse.stack.registry import used
from lakehouse.stack.server import NotReady
from lakehouse.stack.supervision import Supervisor
from lakehouse_tests.conftest import free_ports
from lakehouse_tests.home import Home, open_home

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with open_home(tmp_path_factory.mktemp("a stack") / "home") as made:
        made.up()
        yield made


def families(pids: set[int]) -> list[psutil.Process]:
    """The processes and everything they started."""
    roots = [psutil.Process(pid) for pid in pids]
    return [process for root in roots for process in (root, *root.children(recursive=True))]


def listening(pids: set[int]) -> set[str]:
    """Addresses that the processes listen on."""
    found = set()
    for process in families(pids):
        with suppress(psutil.NoSuchProcess):  # a session of PostgreSQL's has ended meanwhile
            connections = process.net_connections("inet")
            found |= {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}
    return found


def eventually(is_so: Callable[[], bool], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.5)


def test_every_server_answers_and_listens_on_loopback_only(home: Home) -> None:
    found = home.status()
    assert {name: (server["state"], server["is_healthy"]) for name, server in found.items()} == {
        server.name: ("running", True) for server in used(home.settings)
    }
    assert listening(home.pids()) <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert sum(server["rss_mb"] for server in found.values()) < 6000


def test_each_role_enters_its_own_database_only(home: Home) -> None:
    settings = home.settings
    password = settings.db_password.get_secret_value()
    with pytest.raises(psycopg2.OperationalError, match="permission denied"):
        psycopg2.connect(
            host="127.0.0.1",
            port=settings.db_port,
            dbname=settings.catalog_db_name,
            user=settings.db_user,
            password=password,
        )
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(
            host="127.0.0.1", port=settings.db_port, dbname=settings.db_name, user=settings.db_user, password="guess"
        )


def test_no_log_and_no_command_line_shows_a_password(home: Home) -> None:
    settings = home.settings
    secrets = [
        settings.postgres_password,
        settings.db_password,
        settings.catalog_db_password,
        settings.dagster_db_password,
    ]
    texts = [path.read_text(errors="replace") for path in (settings.home / "logs").iterdir()]
    texts += [" ".join(psutil.Process(pid).cmdline()) for pid in home.pids()]
    assert not [1 for secret in secrets for text in texts if secret.get_secret_value() in text]


def test_a_second_up_changes_nothing(home: Home) -> None:
    before = home.pids()
    assert home.up().count("was running") == len(used(home.settings))
    assert home.pids() == before


def test_the_exports_serve_other_tools(home: Home) -> None:
    exports = home.run("env").stdout
    script = exports + "exec python -c 'import psycopg2; psycopg2.connect(\"\"); print(42)'"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("42", "")


@pytest.mark.parametrize("name", ["postgres", "kafka"])
def test_a_killed_server_is_started_again(home: Home, name: str) -> None:
    (killed,) = home.status()[name]["pids"]
    os.kill(killed, signal.SIGKILL)

    def is_back() -> bool:
        now = home.status()[name]
        return bool(now["is_healthy"]) and now["pids"] != [killed]

    eventually(is_back)


def test_up_waits_for_a_server_that_ended_a_moment_ago(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    says, checks = Supervisor.programs, []

    def in_that_moment(supervisor: Supervisor) -> dict[str, dict[str, Any]]:
        """What the supervisor says between an end and the new start; too short to be met at will."""
        told = says(supervisor)
        told["redis"]["statename"] = "EXITED"
        return told

    def not_at_once(server: Redis, settings: Settings) -> str:
        checks.append(server)
        if len(checks) == 1:
            monkeypatch.setattr(Supervisor, "programs", in_that_moment)
            raise NotReady("it has just ended")
        monkeypatch.setattr(Supervisor, "programs", says)
        return "it is back"

    monkeypatch.setattr(Redis, "check", not_at_once)
    with home.as_environment():
        up(home.settings, servers=["redis"], console=Console(quiet=True))
    assert len(checks) == 2


def test_up_repairs_after_the_supervisor_was_killed(home: Home) -> None:
    before = [psutil.Process(pid) for pid in home.pids()]
    home.supervisor().kill()
    assert {server["state"] for server in home.status().values()} == {"unsupervised"}
    assert home.run("status").returncode == 1
    assert "interrupted supervisor" in home.up()
    assert home.run("status").returncode == 0
    assert not [process for process in before if process.is_running()]  # a number may be another's by now


def test_another_port_takes_effect_and_a_taken_one_is_explained(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = home.run("up", LAKEHOUSE_KAFKA_PORT=port)
        assert refused.returncode == 1
        assert f"port {port} for Kafka is taken" in " ".join(refused.stderr.split())
        assert "LAKEHOUSE_KAFKA_PORT" in refused.stderr
        assert "Traceback" not in refused.stderr
    home.environment["LAKEHOUSE_KAFKA_PORT"] = str(free_ports(2)[0])
    before = home.status()
    home.up()
    after = home.status()
    assert after["kafka"]["address"].endswith(home.environment["LAKEHOUSE_KAFKA_PORT"])
    assert after["kafka"]["is_healthy"]
    assert {name for name in after if after[name]["pids"] == before[name]["pids"]} == {
        "postgres",
        "redis",
        "trino",
        "flink",
        "spark",
    }


def test_down_leaves_nothing_that_it_started_and_everything_else(home: Home) -> None:
    ours = families({home.supervisor().pid})
    assert home.run("down", "kafka").returncode == 0
    assert home.status()["kafka"]["state"] == "stopped"
    assert home.run("status").returncode == 0
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        assert home.run("down").returncode == 0
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    eventually(lambda: not [process for process in ours if process.is_running()], seconds=10)
    assert {server["state"] for server in home.status().values()} == {"stopped"}
    assert "nothing was running" in home.run("down").stderr
    assert (Path(home.environment["LAKEHOUSE_HOME"]) / "secrets.toml").exists()
