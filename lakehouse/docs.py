"""The documentation of all models for analysts: one page with every table, column, test and lineage, made by dbt."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
from pathlib import Path

from lakehouse.adapters.dbt.project import DBT, DBT_PROJECT, dbt_environment, ensure_manifest
from lakehouse.errors import LakehouseError
from lakehouse.settings import LOOPBACK, Settings


def build_docs(settings: Settings) -> Path:
    """Have dbt write the page; Trino is asked for the columns' types, of the tables that are there.

    Without the compiled statements: to compile an incremental model, the tables it reads must be there.

    Returns:
        The folder with ``index.html``.

    Raises:
        LakehouseError: dbt cannot; its own last words are part of ours.
    """
    folder, target = settings.home / "docs", settings.home / "docs" / "target"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ensure_manifest(), target / "manifest.json")
    command = [str(DBT), "docs", "generate", "--static", "--no-compile", "--project-dir", str(DBT_PROJECT)]
    done = subprocess.run(  # noqa: S603
        [*command, "--profiles-dir", str(DBT_PROJECT), "--target-path", str(target)],
        env=os.environ | dbt_environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LakehouseError("dbt cannot make its docs:\n" + "\n".join(done.stdout.splitlines()[-10:]))
    shutil.copyfile(target / "static_index.html", folder / "index.html")
    return folder


def serve_docs(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """A server of the page on loopback, ready for `serve_forever`.

    Raises:
        LakehouseError: the port is taken.
    """
    handler = functools.partial(_OnePage, directory=str(folder))
    try:
        return http.server.ThreadingHTTPServer((LOOPBACK, port), handler)
    except OSError as error:
        raise LakehouseError(f"cannot listen on {LOOPBACK}:{port}: {error.strerror}; give another --port") from None


class _OnePage(http.server.SimpleHTTPRequestHandler):
    """Answers with the page, and with nothing else of the folder."""

    def do_GET(self) -> None:
        self.path = "/index.html"
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Quietly."""
