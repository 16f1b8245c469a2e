"""A stack of its own, as the command line works on it: started, harmed, repaired and ended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from lakehouse import settings as settings_module
from lakehouse.settings import Settings, load
from lakehouse.stack import processes
from lakehouse.stack.files import run_folder
from lakehouse.stack.registry import by_name
from lakehouse_tests.conftest import free_ports


@dataclass
class Home:
    """A home with ports of its own, and the command line that works on it."""

    environment: dict[str, str]
    prelude: str = ""
    """Python that a command line runs before anything else."""

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", f"{self.prelude}from lakehouse.cli import main; main()", *arguments]

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment | more,
            capture_output=True,
            text=True,
            check=False,
        )

    def up(self, *arguments: str, **more: str) -> str:
        done = self.run("up", *arguments, **more)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def produce(self, count: int) -> None:
        done = self.run("produce", "pgr", "--count", str(count))
        assert done.returncode == 0, done.stderr

    def status(self) -> dict[str, dict[str, Any]]:
        return {server["name"]: server for server in json.loads(self.run("status", "--json").stdout)}

    def pids(self) -> set[int]:
        return {pid for server in self.status().values() for pid in server["pids"]}

    def supervisor(self) -> psutil.Process:
        return psutil.Process(int((self.settings.home / "run" / "supervisord.pid").read_text()))

    def programs(self) -> Iterator[tuple[str, psutil.Process]]:
        """What runs, by name."""
        for record in processes.records(run_folder(self.settings) / "programs"):
            if process := record.process():
                yield record.program, process

    def kill(self, *programs: str) -> list[str]:
        """End programs as a crash would, and say which were there; the supervisor starts them again."""
        running = [(name, process) for name, process in self.programs() if name in programs]
        for _, process in running:
            process.kill()
        return [name for name, _ in running]

    @property
    def settings(self) -> Settings:
        with self.as_environment():
            return load()

    @contextmanager
    def as_environment(self) -> Iterator[None]:
        """Within the block, this process works on the home as well."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            yield


@contextmanager
def open_home(folder: Path) -> Iterator[Home]:
    """A home with ports of its own in which nothing runs yet; whatever was started is ended and removed."""
    kafka, postgres, trino, flink, spark, dagster, s3, nessie, api, redis = free_ports(3, 1, 1, 2, 2, 1, 1, 1, 1, 1)
    # Nothing of the user's settings, but all that their downloads need: caches, certificates, proxies.
    ours = set(settings_module._FIELD_OF)
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {
        "LAKEHOUSE_HOME": str(folder),
        "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": "local",
        "LAKEHOUSE_TRINO_HOST": "local",
        "LAKEHOUSE_DB_HOST": "local",
        "LAKEHOUSE_KAFKA_PORT": str(kafka),
        "LAKEHOUSE_DB_PORT": str(postgres),
        "LAKEHOUSE_TRINO_PORT": str(trino),
        "LAKEHOUSE_FLINK_URL": "local",
        "LAKEHOUSE_FLINK_PORT": str(flink),
        "LAKEHOUSE_SPARK_REMOTE": "local",
        "LAKEHOUSE_SPARK_PORT": str(spark),
        "LAKEHOUSE_DAGSTER_PORT": str(dagster),
        "LAKEHOUSE_API_PORT": str(api),
        "LAKEHOUSE_S3_PORT": str(s3),
        "LAKEHOUSE_NESSIE_PORT": str(nessie),
        "LAKEHOUSE_REDIS_HOST": "local",
        "LAKEHOUSE_REDIS_PORT": str(redis),
    }
    home = Home(environment)
    try:
        yield home
    finally:
        home.run("down")
        shutil.rmtree(by_name("postgres").programs(home.settings)[0].cwd, ignore_errors=True)
