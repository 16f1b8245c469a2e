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
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
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
from lakehouse.stack.server import Server
from lakehouse.stack.trino import Trino

SERVERS = ("postgres", "kafka", "trino")
"""Of a stack of our own, where a benchmark does not say otherwise."""
ENGINES = (*SERVERS, "flink", "spark", "redis", "api")
LONGEST_QUERY = 32_000_000
"""Characters of a statement; Trino's default of 1,000,000 would refuse an INSERT of 5,000 events."""
PACKAGES = (
    "pyarrow",
    "pyiceberg",
    "duckdb",
    "confluent-kafka",
    "trino",
    "fastapi",
    "starlette",
    "uvicorn",
    "psycopg2-binary",
)
ARTIFACTS = {
    "trino_server": ("trino", "trino-server"),
    "kafka": ("kafka", "kafka-server"),
    "flink": ("flink", "flink-runtime"),
    "spark": ("spark", "spark-sql_2.13"),
}
"""Server and artifact that a version is of."""


@dataclass
class Lab:
    """A stack, and what was made in it."""

    settings: Settings
    is_own: bool
    folder: Path
    """For files of ids."""
    catalog: SqlCatalog = field(init=False)
    admin: KafkaAdmin = field(init=False)
    peers: dict[str, psutil.Process] = field(default_factory=dict)
    """Servers that a benchmark has started beside those of the stack, by name."""
    _topics: list[str] = field(default_factory=list)
    _tables: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        catalog = open_catalog(self.settings)
        assert isinstance(catalog, SqlCatalog)
        self.catalog, self.admin = catalog, open_admin(self.settings)

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
        """CPU seconds that each program of a server has used so far, its children included."""
        records = processes.records(run_folder(self.settings) / "programs")
        wanted = {r.program: r.process() for r in records if r.program.partition("-")[0] in ENGINES} | self.peers
        return {name: _family_cpu(process) for name, process in wanted.items() if process}


@contextmanager
def open_lab(console: Console, *, running: bool, servers: Sequence[str] = SERVERS, **chosen: Any) -> Iterator[Lab]:
    """Bring up a stack of our own, or use the running one; everything made in it is gone afterwards.

    Args:
        console: Where progress is shown.
        running: Use the running stack.
        servers: Of a stack of our own.
        chosen: Settings of a stack of our own.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # an end that still cleans up
    with contextlib.ExitStack() as after:
        folder = Path(after.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        settings = settings_module.load() if running else _start(folder / "home", after, console, servers, chosen)
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
            **{name: _pinned(server, artifact) for name, (server, artifact) in ARTIFACTS.items()},
        },
    }


def configured(server: type[Server], file: str, change: Callable[[str], str]) -> AbstractContextManager[object]:
    """Within the block, what a server's configuration writes to a file in its folder is changed."""
    configure = server.configure

    def changed(self: Server, settings: Settings) -> None:
        configure(self, settings)
        path = settings.home / self.name / file
        path.write_text(change(path.read_text()))

    return mock.patch.object(server, "configure", changed)


def _start(
    home: Path, after: contextlib.ExitStack, console: Console, servers: Sequence[str], chosen: dict[str, Any]
) -> Settings:
    names = ("kafka_port", "trino_port", "db_port", "flink_port", "spark_port", "redis_port", "api_port")
    values = chosen | dict(zip(names, free_ports(len(names)), strict=True))
    here = ("kafka_bootstrap_servers", "trino_host", "db_host", "flink_url", "spark_remote", "redis_host", "warehouse")
    values |= dict.fromkeys(here, "")
    with mock.patch.dict(os.environ, {"LAKEHOUSE_HOME": str(home)}):  # the generated passwords are found by it
        settings = settings_module.load(home=home, **values)
        # As root, PostgreSQL keeps its data outside of the home.
        data = Postgres().programs(settings)[0].cwd
        after.callback(shutil.rmtree, data, ignore_errors=True)
        after.callback(stack.down, settings)
        longest = f"query.max-length={LONGEST_QUERY}\n"
        with configured(Trino, "config.properties", lambda text: text + longest):
            stack.up(settings, servers=list(servers), console=console)
        return settings_module.load(home=home, **values)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, nor on the one after each: some servers take two in a row."""
    with contextlib.ExitStack() as held:
        found: list[int] = []
        for _ in range(100 * count):
            first, second = (held.enter_context(socket.socket()) for _ in range(2))
            try:
                first.bind((LOOPBACK, 0))
                port = int(first.getsockname()[1])
                second.bind((LOOPBACK, port + 1))
            except (OSError, OverflowError):
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise RuntimeError("no free ports on loopback")


def _family_cpu(process: psutil.Process) -> float:
    """User and system time of a process and of its children that live, each with those that it has waited for."""
    total = 0.0
    for member in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(member.cpu_times()[:4])
    return total


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _pinned(server: str, artifact: str) -> str:
    artifacts = by_name(server).artifacts(settings_module.load())
    return next((file.version for file in artifacts.files if file.name == artifact), "?") if artifacts else "?"
