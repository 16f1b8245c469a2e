"""Where benchmarks run: a stack of their own in a temporary home on free ports, or the running one."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.worker import contract_for
from lakehouse import settings as settings_module
from lakehouse import stack
from lakehouse.adapters.iceberg.catalog import ensure_table, open_catalog
from lakehouse.adapters.kafka.client import KafkaAdmin, open_admin
from lakehouse.naming import DEAD_LETTERS, Layer
from lakehouse.settings import LOOPBACK, Settings
from lakehouse.stack import processes
from lakehouse.stack.environment import exports
from lakehouse.stack.files import run_folder
from lakehouse.stack.postgres import Postgres
from lakehouse.stack.registry import by_name
from lakehouse.stack.trino import Trino

SERVERS = ("postgres", "kafka", "trino")
LONGEST_QUERY = 32_000_000
"""Characters of a statement; Trino's default of 1,000,000 would refuse an INSERT of 5,000 events."""
PACKAGES = ("pyarrow", "pyiceberg", "duckdb", "confluent-kafka", "trino")


@dataclass
class Lab:
    """A stack, and what was made in it."""

    settings: Settings
    is_own: bool
    folder: Path
    """For files of ids."""
    catalog: SqlCatalog = field(init=False)
    admin: KafkaAdmin = field(init=False)
    _topics: list[str] = field(default_factory=list)
    _tables: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.catalog, self.admin = open_catalog(self.settings), open_admin(self.settings)

    def topic(self, name: str) -> str:
        """A name of its own for a topic that is deleted at the end."""
        self._topics.append(f"{name}-{uuid.uuid4().hex[:8]}")
        return self._topics[-1]

    def table(self, name: str) -> str:
        """Create a bronze table by the contract, empty, under a name of its own; dropped at the end."""
        self._tables.append(f"{name}_{uuid.uuid4().hex[:8]}")
        ensure_table(self.catalog, contract_for(self._tables[-1]))
        return self._tables[-1]

    def drop_table(self, name: str) -> None:
        """Drop a table with its files."""
        self._tables.remove(name)
        with contextlib.suppress(NoSuchTableError):
            self.catalog.purge_table((str(Layer.BRONZE), name))

    def forget_dead_letters(self) -> None:
        """Drop the dead letters, in a stack of our own only: a repeat would know them by their coordinates."""
        if self.is_own:
            with contextlib.suppress(NoSuchTableError):
                self.catalog.purge_table(DEAD_LETTERS.identifier)

    def clean(self) -> None:
        """Delete topics and tables."""
        for table in list(self._tables):
            self.drop_table(table)
        if self._topics:
            for future in self.admin.delete_topics(self._topics).values():
                future.result()

    def environment(self) -> dict[str, str]:
        """For the processes under measurement: the product's variables, and the few that peers and judge read."""
        settings = self.settings
        return {
            **os.environ,
            **exports(settings),
            "BENCH_KAFKA": settings.kafka_brokers,
            "BENCH_TRINO_HOST": settings.trino_address,
            "BENCH_TRINO_PORT": str(settings.trino_port),
            "BENCH_CATALOG_URI": settings.catalog_uri,
            "BENCH_WAREHOUSE": settings.warehouse_uri,
        }

    def engines(self) -> dict[str, float]:
        """CPU seconds that each server has used so far, its children included."""
        records = processes.records(run_folder(self.settings) / "programs")
        wanted = {record.program: record.process() for record in records if record.program in SERVERS}
        return {name: _family_cpu(process) for name, process in wanted.items() if process}


@contextmanager
def open_lab(console: Console, *, running: bool) -> Iterator[Lab]:
    """Bring up a stack of our own, or use the running one; everything made in it is gone afterwards."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # an end that still cleans up
    with contextlib.ExitStack() as after:
        folder = Path(after.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        settings = settings_module.load() if running else _start(folder / "home", after, console)
        lab = Lab(settings, not running, folder)
        after.callback(lab.catalog.engine.dispose)
        if running:  # a stack of our own goes with its folder
            after.callback(lab.clean)
        yield lab


def bars(console: Console) -> Progress:
    """Bars over known numbers of things, to be entered."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(logical=True),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_at_start": round(psutil.getloadavg()[0], 2),
        "versions": {
            **{name: version(name) for name in PACKAGES},
            "trino_server": _pinned("trino"),
            "kafka": _pinned("kafka"),
        },
    }


def _start(home: Path, after: contextlib.ExitStack, console: Console) -> Settings:
    kafka, trino, postgres = _free_ports()
    ports = {"kafka_port": kafka, "trino_port": trino, "db_port": postgres}
    here: dict[str, Any] = {"kafka_bootstrap_servers": "", "trino_host": "", "db_host": "", "warehouse": ""}
    with mock.patch.dict(os.environ, {"LAKEHOUSE_HOME": str(home)}):  # the generated passwords are found by it
        settings = settings_module.load(home=home, **here, **ports)
        # As root, PostgreSQL keeps its data outside of the home.
        data = Postgres().programs(settings)[0].cwd
        after.callback(shutil.rmtree, data, ignore_errors=True)
        after.callback(stack.down, settings)
        with mock.patch.object(Trino, "configure", _configure_trino):
            stack.up(settings, servers=list(SERVERS), console=console)
        return settings_module.load(home=home, **here, **ports)


_TRINO_CONFIGURE = Trino.configure


def _configure_trino(server: Trino, settings: Settings) -> None:
    _TRINO_CONFIGURE(server, settings)
    configuration = settings.home / server.name / "config.properties"
    with configuration.open("a") as file:
        file.write(f"query.max-length={LONGEST_QUERY}\n")


def _free_ports() -> tuple[int, int, int]:
    """Ports that nobody listens on: for Kafka two in a row, for Trino, for PostgreSQL."""
    for _ in range(100):
        with contextlib.ExitStack() as held:
            probes = [held.enter_context(socket.socket()) for _ in range(4)]
            try:
                for probe in probes[1:]:
                    probe.bind((LOOPBACK, 0))
                kafka = int(probes[1].getsockname()[1])
                probes[0].bind((LOOPBACK, kafka + 1))
            except (OSError, OverflowError):
                continue
            return kafka, int(probes[2].getsockname()[1]), int(probes[3].getsockname()[1])
    raise RuntimeError("no free ports on loopback")


def _family_cpu(process: psutil.Process) -> float:
    """User and system time of a process, of its children that live, and of those that ended and were waited for."""
    own = process.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            total += times.user + times.system
    return float(total)


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _pinned(server: str) -> str:
    artifacts = by_name(server).artifacts(settings_module.load())
    names = {"kafka": "kafka-server", "trino": "trino-server"}
    return next((file.version for file in artifacts.files if file.name == names[server]), "?") if artifacts else "?"
