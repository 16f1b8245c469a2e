"""Dagster: the code of the project loaded once, the web interface and the daemon."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import requests
import yaml

from lakehouse.errors import StackError
from lakehouse.naming import Domain
from lakehouse.settings import LOOPBACK, PROJECT, Settings, bucket_and_key
from lakehouse.stack.environment import SYSTEM_PATH, exports, program_environment
from lakehouse.stack.files import make_folder, server_folder, socket_folder, write_file
from lakehouse.stack.server import NotReady, Port, Program, Server

MODULE, ATTRIBUTE = "lakehouse.definitions", "defs"
LOCATION = "lakehouse"
"""Identity of sensors and schedules: the same as in the `workspace.yaml` of the project."""
UPLOAD_SECONDS = 30
"""How often the output of a run that goes on is brought into the bucket."""
UNREACHABLE = "DagsterUserCodeUnreachableError"
STATE = """
{
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
  workspaceOrError {
    ... on Workspace {
      locationEntries { name loadStatus locationOrLoadError { __typename ... on PythonError { message } } }
    }
  }
}
"""
RUNNING = "{ runsOrError(filter: {statuses: [STARTED]}) { ... on Runs { results { runId jobName } } } }"


class Dagster(Server):
    """Code server, webserver and daemon.

    Left to themselves webserver and daemon would each load the code again; with one server of it they share one copy.
    """

    name = "dagster"
    title = "Dagster"
    needs = ("postgres", "s3")
    domains = frozenset(Domain)
    memory_mb = 1150

    def is_local(self, settings: Settings) -> bool:
        """Always."""
        return True

    def address(self, settings: Settings) -> str:
        """Of the web interface."""
        return f"http://{LOOPBACK}:{settings.dagster_port}"

    def install(self, settings: Settings) -> None:
        """It comes with the environment."""

    def configure(self, settings: Settings) -> None:
        """DAGSTER_HOME with the project's instance file, and a workspace that points to the code server."""
        folder = make_folder(server_folder(settings, self.name))
        make_folder(folder / "storage")
        instance = folder / "dagster.yaml"
        if settings.compute_logs:
            ours = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
            write_file(instance, json.dumps(ours | {"compute_logs": _compute_logs(settings)}, indent=2) + "\n")
        elif not (instance.is_symlink() and instance.readlink() == PROJECT / "dagster.yaml"):
            instance.unlink(missing_ok=True)
            instance.symlink_to(PROJECT / "dagster.yaml")
        location = {"grpc_server": {"socket": str(_socket(settings)), "location_name": LOCATION}}
        # JSON is YAML.
        write_file(folder / "workspace.yaml", json.dumps({"load_from": [location]}, indent=2) + "\n")

    def programs(self, settings: Settings) -> tuple[Program, ...]:
        """The code server first: the others ask it."""
        folder = server_folder(settings, self.name)
        environment = program_environment() | exports(settings)
        environment["PATH"] = f"{Path(sys.executable).parent}:{SYSTEM_PATH}"
        workspace = folder / "workspace.yaml"

        def program(name: str, *argv: str, ports: tuple[Port, ...] = ()) -> Program:
            return Program(
                name=f"{self.name}-{name}",
                argv=(sys.executable, "-m", *argv),
                cwd=PROJECT,
                env=environment,
                files=(folder / "dagster.yaml", workspace),
                ports=ports,
                # Runs are children of the code server; asked to stop, they are recorded as interrupted.
                stops_with_children=True,
                stop_seconds=20,
            )

        return (
            program("code", "dagster", "code-server", "start", "--socket", str(_socket(settings)), "-m", MODULE,
                    "-a", ATTRIBUTE, "--location-name", LOCATION),
            program("web", "dagster_webserver", "--host", LOOPBACK, "--port", str(settings.dagster_port),
                    "--workspace", str(workspace), ports=(Port(settings.dagster_port, "LAKEHOUSE_DAGSTER_PORT"),)),
            program("daemon", "dagster._daemon", "run", "--workspace", str(workspace)),
        )  # fmt: skip

    def check(self, settings: Settings) -> str:
        """Ask for the heartbeats of the daemons and whether the code has loaded."""
        try:
            state = self._ask(settings, STATE)
        except requests.RequestException as error:
            raise NotReady(f"no answer from {self.address(settings)}: {type(error).__name__}") from None
        _require_code(state["workspaceOrError"]["locationEntries"])
        statuses = state["instance"]["daemonHealth"]["allDaemonStatuses"]
        if silent := [s["daemonType"].lower() for s in statuses if s["required"] and not s["healthy"]]:
            raise NotReady(f"no heartbeat yet from: {', '.join(silent)}")
        return version("dagster")

    def under_way(self, settings: Settings) -> list[str]:
        """Runs that have started and not ended."""
        try:
            runs = self._ask(settings, RUNNING)["runsOrError"].get("results", [])
        except requests.RequestException:
            return []
        return [f"run {run['runId'][:8]} of {run['jobName']}" for run in runs]

    def _ask(self, settings: Settings, query: str) -> Any:
        answer = requests.post(f"{self.address(settings)}/graphql", json={"query": query}, timeout=10)
        answer.raise_for_status()
        return answer.json()["data"]


def _compute_logs(settings: Settings) -> dict[str, Any]:
    """The output of runs in a bucket; the keys are in the environment."""
    bucket, prefix = bucket_and_key(settings.compute_logs)
    where = {"bucket": bucket, "prefix": prefix, "local_dir": {"env": "DAGSTER_STORAGE_FOLDER"}}
    own_store = {"endpoint_url": settings.s3_url} if settings.s3_url else {}
    return {
        "module": "dagster_aws.s3.compute_log_manager",
        "class": "S3ComputeLogManager",
        "config": where | own_store | {"region": settings.s3_region, "upload_interval": UPLOAD_SECONDS},
    }


def _require_code(entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        loaded = entry["locationOrLoadError"] or {}
        if loaded.get("__typename") == "PythonError":
            reason = loaded["message"].strip().splitlines()[0]
            if UNREACHABLE in reason:
                raise NotReady("the code is loading")
            raise StackError(f"Dagster runs, but the project's code does not load: {reason}")
        if entry["loadStatus"] != "LOADED":
            raise NotReady("the code is loading")


def _socket(settings: Settings) -> Path:
    return socket_folder(settings) / "code.sock"
