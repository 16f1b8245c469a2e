"""Keeping programs alive: `supervisord` does it, this module writes its configuration and talks to it.

One supervisor a home, reached over a socket that only the owner can open. Every program is started through
`launch.py` and described in a file of its own, so no password is in the supervisor's configuration or on a command
line.
"""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psutil
from rich.console import Console
from supervisor.xmlrpc import SupervisorTransport

from lakehouse.errors import StackError
from lakehouse.settings import Settings
from lakehouse.stack import processes
from lakehouse.stack.environment import program_environment
from lakehouse.stack.files import launcher_script, log_file, make_folder, run_folder, socket_folder, write_file
from lakehouse.stack.server import Program

LOG_BYTES = 10 * 1024 * 1024
LOG_BACKUPS = 3
ALIVE = ("STARTING", "RUNNING", "BACKOFF", "EXITED")
"""States of a program that runs or that the supervisor is about to start anew by itself, as it does after any end that
nobody asked for."""
RETRIES = 10
"""Starts that may fail in a row, with growing pauses, about a minute in all, before the supervisor gives up."""


class Supervisor:
    """The supervisor of one home."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._run = run_folder(settings)
        self._configuration = self._run / "supervisord.conf"
        self._pid_file = self._run / "supervisord.pid"
        self._socket = socket_folder(settings) / "supervisor.sock"

    # The daemon

    def is_running(self) -> bool:
        """Whether it answers."""
        try:
            self._call("getState")
        except OSError:
            return False
        return True

    def write(self, programs: Iterable[Program]) -> None:
        """Describe the programs; takes effect with `start` or `update`."""
        make_folder(self._run / "programs")
        make_folder(log_file(self._settings, "any").parent)
        sections = [self._daemon_section(), *(self._program_section(program) for program in programs)]
        write_file(self._configuration, "\n".join(sections))

    def start(self) -> None:
        """Start the daemon unless it runs; one that runs but does not answer is replaced."""
        if self.is_running():
            return
        self._end_daemon()
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._configuration)]
        done = subprocess.run(
            command, env=program_environment(), cwd=self._run, capture_output=True, text=True, check=False
        )
        deadline = time.monotonic() + 15
        while not self.is_running():
            if done.returncode or time.monotonic() > deadline:
                reason = (done.stderr or done.stdout).strip().splitlines()
                raise StackError(
                    f"the supervisor did not start: {reason[-1] if reason else 'no answer'}; "
                    f"see {self._run / 'supervisord.log'}"
                )
            time.sleep(0.05)

    def update(self) -> None:
        """Make the daemon follow the written configuration; programs that changed are stopped, to be started anew."""
        ((added, changed, removed),) = cast(list[list[list[str]]], self._call("reloadConfig"))
        for name in (*changed, *removed):
            self.stop(name)
            self._call("removeProcessGroup", name)
        for name in (*changed, *added):
            self._call("addProcessGroup", name)
        for name in removed:
            self._spec(name).unlink(missing_ok=True)
            self._record(name).unlink(missing_ok=True)

    def shut_down(self) -> None:
        """Stop the daemon."""
        if self.is_running():
            self._call("shutdown")
        self._end_daemon()

    # The programs

    def programs(self) -> dict[str, dict[str, Any]]:
        """State of every program as the daemon sees it; empty without a daemon."""
        try:
            found = cast(list[dict[str, Any]], self._call("getAllProcessInfo"))
        except OSError:
            return {}
        return {info["name"]: info for info in found}

    def run(self, name: str) -> None:
        """Start a program that does not run; does not wait."""
        if self.programs()[name]["statename"] not in ALIVE:
            self._call("startProcess", name, False)

    def stop(self, name: str) -> None:
        """Stop a program and wait for its end."""
        try:
            self._call("stopProcess", name)
        except xmlrpc.client.Fault as fault:
            if not fault.faultString.startswith(("NOT_RUNNING", "BAD_NAME")):
                raise

    def end_strays(self) -> list[str]:
        """End what we started and no daemon looks after any more; returns the names."""
        watched = {info["pid"] for info in self.programs().values()}
        ended = []
        for record in processes.records(self._run / "programs"):
            process = record.process()
            if process and process.pid not in watched:
                processes.end(process, record.stop_signal, record.stop_seconds)
                ended.append(record.program)
        return ended

    def strays(self) -> dict[str, psutil.Process]:
        """What `end_strays` would end."""
        watched = {info["pid"] for info in self.programs().values()}
        found = {record.program: record.process() for record in processes.records(self._run / "programs")}
        return {name: process for name, process in found.items() if process and process.pid not in watched}

    def _call(self, method: str, *arguments: Any) -> Any:
        # A proxy is not safe to share between threads and costs nothing to make.
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def _end_daemon(self) -> None:
        """Wait for the end of a daemon of this home, and force it if need be."""
        try:
            process = psutil.Process(int(self._pid_file.read_text()))
            if str(self._configuration) not in process.cmdline():
                return
            process.wait(timeout=10)
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)

    # The configuration

    def _daemon_section(self) -> str:
        account = f"user={getpass.getuser()}\n" if os.geteuid() == 0 else ""
        return (
            f"[unix_http_server]\nfile={_literal(self._socket)}\nchmod=0700\n\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\n"
            f"[supervisord]\nidentifier=lakehouse\numask=077\n{account}"
            f"directory={_literal(self._run)}\nchildlogdir={_literal(self._run)}\n"
            f"logfile={_literal(self._run / 'supervisord.log')}\nlogfile_maxbytes=1MB\nlogfile_backups=1\n"
            f"pidfile={_literal(self._pid_file)}\n"
        )

    def _program_section(self, program: Program) -> str:
        spec = self._write_spec(program)
        digest = hashlib.sha256(spec.read_bytes())
        for file in program.files:
            digest.update(file.read_bytes())
        command = shlex.join([sys.executable, "-I", str(launcher_script()), str(spec), digest.hexdigest()[:16]])
        return (
            f"[program:{program.name}]\ncommand={_literal(command)}\n"
            f"autostart=false\nautorestart=true\nstartsecs=2\nstartretries={RETRIES}\n"
            f"stopsignal={program.stop_signal}\nstopwaitsecs={program.stop_seconds}\n"
            f"stopasgroup={str(program.stops_with_children).lower()}\nkillasgroup=true\nredirect_stderr=true\n"
            f"stdout_logfile={_literal(log_file(self._settings, program.name))}\n"
            f"stdout_logfile_maxbytes={LOG_BYTES}\nstdout_logfile_backups={LOG_BACKUPS}\n"
        )

    def _write_spec(self, program: Program) -> Path:
        spec = self._spec(program.name)
        content = {
            "argv": program.argv,
            "cwd": str(program.cwd),
            "env": dict(sorted(program.env.items())),
            "user": program.user,
            "stop_signal": program.stop_signal,
            "stop_seconds": program.stop_seconds,
            "record": str(self._record(program.name)),
        }
        write_file(spec, json.dumps(content, indent=1) + "\n")
        return spec

    def _spec(self, program: str) -> Path:
        return self._run / "programs" / f"{program}.json"

    def _record(self, program: str) -> Path:
        return self._run / "programs" / f"{program}.pid.json"


def _literal(value: object) -> str:
    """A value in which supervisord expands nothing."""
    return str(value).replace("%", "%%")


@contextmanager
def one_at_a_time(settings: Settings, console: Console) -> Iterator[None]:
    """Let only one command at a time change the servers of a home."""
    with (make_folder(run_folder(settings)) / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print("waiting for another `lakehouse up` or `down` to finish …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
