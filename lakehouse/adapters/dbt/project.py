"""The dbt project: where it is, and the manifest from which its assets are made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lakehouse.errors import LakehouseError
from lakehouse.settings import PROJECT, Settings

DBT_PROJECT = PROJECT / "dbt_project"
MANIFEST = DBT_PROJECT / "target" / "manifest.json"
DBT = Path(sys.executable).parent / "dbt"

_SOURCES = ("*.sql", "*.yml", "*.csv")


def ensure_manifest() -> Path:
    """Parse the project when its manifest is missing or older than any of its files. Needs no server.

    Raises:
        LakehouseError: dbt cannot parse the project; its own message is part of ours.
    """
    if not _is_current():
        command = [str(DBT), "--quiet", "parse", "--no-partial-parse", "--project-dir", str(DBT_PROJECT)]
        done = subprocess.run(  # noqa: S603
            [*command, "--profiles-dir", str(DBT_PROJECT)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise LakehouseError(f"dbt cannot parse {DBT_PROJECT.name}:\n{done.stdout.strip()}\n{done.stderr.strip()}")
    return MANIFEST


def _is_current() -> bool:
    if not MANIFEST.exists():
        return False
    target = DBT_PROJECT / "target"
    files = (path for pattern in _SOURCES for path in DBT_PROJECT.rglob(pattern) if target not in path.parents)
    return max(path.stat().st_mtime for path in files) <= MANIFEST.stat().st_mtime


def dbt_environment(settings: Settings) -> dict[str, str]:
    """Variables that `profiles.yml` reads."""
    return {
        "TRINO_HOST": settings.trino_address,
        "TRINO_PORT": str(settings.trino_port),
        "TRINO_USER": settings.trino_user,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def export_environment(settings: Settings, run_id: str) -> None:
    """Let dbt, which reads its profile from the environment, connect where the settings say and name the run."""
    os.environ.update(dbt_environment(settings), AUDIT_RUN_ID=run_id)
