"""Processes that we started: recognised without doubt, and ended together with their children."""

from __future__ import annotations

import json
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

from lakehouse.errors import StackError
from lakehouse.settings import LOOPBACK
from lakehouse.stack.server import Port

CLOCK_TOLERANCE = 5.0
"""Seconds: the time of creation is derived from the time of boot, which moves when the clock is set."""


@dataclass(frozen=True)
class Record:
    """What a server wrote down about itself when it was started (see `launch.py`)."""

    program: str
    pid: int
    created: float
    argv: tuple[str, ...]
    stop_signal: str
    stop_seconds: int

    def process(self) -> psutil.Process | None:
        """The process, if it still is the one that was recorded and not another that got its number."""
        try:
            process = psutil.Process(self.pid)
            is_same = (
                abs(process.create_time() - self.created) < CLOCK_TOLERANCE
                and tuple(process.cmdline()[: len(self.argv)]) == self.argv
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return None
        return process if is_same else None


def records(folder: Path) -> list[Record]:
    """All records in a folder, whether or not the processes still live."""
    found = []
    for path in sorted(folder.glob("*.pid.json")):
        values = json.loads(path.read_text())
        values["argv"] = tuple(values["argv"])
        found.append(Record(program=path.name.removesuffix(".pid.json"), **values))
    return found


def end(process: psutil.Process, stop_signal: str, seconds: float) -> None:
    """Ask a process to stop, then make it and everything it started stop."""
    try:
        family = [process, *process.children(recursive=True)]
        process.send_signal(signal.Signals[f"SIG{stop_signal}"])
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied as error:
        raise StackError(
            f"no permission to stop process {process.pid}: run the command as the user who started it"
        ) from error
    psutil.wait_procs([process], timeout=seconds)
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=10)


def require_free(port: Port, title: str) -> None:
    """Check that a port can be listened on.

    Raises:
        StackError: naming the program that holds it, where that is visible, and the setting that moves the port.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port.number))
        except PermissionError:
            raise StackError(
                f"{title} may not listen on port {port.number}: set {port.setting} to a number above 1023"
            ) from None
        except OSError:
            raise StackError(
                f"port {port.number} for {title} is taken by {_holder(port.number)}: stop that, or set "
                f"{port.setting} to another port"
            ) from None


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                if connection.pid is None:
                    break
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return "another program"
