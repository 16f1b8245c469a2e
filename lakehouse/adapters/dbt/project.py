"""The dbt project: where it is, and the manifest from which its assets are made."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from lakehouse.errors import LakehouseError
from lakehouse.settings import PROJECT, Settings, load

DBT_PROJECT = PROJECT / "dbt_project"
TARGET = DBT_PROJECT / "target"
MANIFEST = TARGET / "manifest.json"
PARSED = "partial_parse.msgpack"
"""With it, a run of the same profile parses what has changed since; Dagster gives it a copy."""
DBT = Path(sys.executable).parent / "dbt"

_SOURCES = ("*.sql", "*.yml", "*.csv")


def ensure_manifest() -> Path:
    """Parse the project when its manifest is missing or older than any of its files. Needs no server.

    Raises:
        LakehouseError: dbt cannot parse the project; its own message is part of ours.
    """
    if _is_current():
        return MANIFEST
    TARGET.mkdir(exist_ok=True)
    # Webserver and daemon load their code at the same time: one parses, the others wait for what it found.
    with (TARGET / "manifest.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_current():
            _parse()
    return MANIFEST


def _parse() -> None:
    """Make the manifest anew. It appears whole, for dbt writes it bit by bit and others read it without a lock."""
    with tempfile.TemporaryDirectory(dir=TARGET, prefix="parse-") as folder:
        command = [str(DBT), "--quiet", "parse", "--no-partial-parse", "--target-path", folder]
        folders = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)]
        environment = os.environ | dbt_environment(load())
        done = subprocess.run(  # noqa: S603
            [*command, *folders], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise LakehouseError(f"dbt cannot parse {DBT_PROJECT.name}:\n{done.stdout.strip()}\n{done.stderr.strip()}")
        for name in (PARSED, MANIFEST.name):
            (Path(folder) / name).replace(TARGET / name)


def _is_current() -> bool:
    if not MANIFEST.exists():
        return False
    files = (path for pattern in _SOURCES for path in DBT_PROJECT.rglob(pattern) if TARGET not in path.parents)
    return max(path.stat().st_mtime for path in files) <= MANIFEST.stat().st_mtime


def dbt_environment(settings: Settings) -> dict[str, str]:
    """Variables that `profiles.yml` reads."""
    return {
        "TRINO_HOST": settings.trino_address,
        "TRINO_PORT": str(settings.trino_port),
        "TRINO_USER": settings.trino_user,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


@contextlib.contextmanager
def exported(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for what is started in the block; behind it they are as they were."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
