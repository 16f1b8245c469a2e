"""What runs, whether it answers, and what it costs."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil

from lakehouse.errors import StackError
from lakehouse.settings import Settings
from lakehouse.stack import registry
from lakehouse.stack.control import wanted
from lakehouse.stack.files import MEGABYTE, run_folder
from lakehouse.stack.server import NotReady, Server
from lakehouse.stack.supervision import Supervisor


@dataclass(frozen=True)
class ServerStatus:
    """One server as it is now."""

    name: str
    title: str
    state: str
    """`running`, `starting`, `stopped`, `failed`, `unsupervised` (its supervisor was killed), or `external`."""
    is_wanted: bool
    """Whether `up` was asked for it (or it runs elsewhere and the settings name it)."""
    is_healthy: bool
    problem: str
    """What is wrong; empty otherwise."""
    address: str
    version: str
    pids: tuple[int, ...]
    rss_mb: int
    """Resident memory of its processes and all their children; shared pages count for each."""
    uptime_seconds: int

    @property
    def is_as_it_should(self) -> bool:
        """Whether nothing is wrong: it answers and would be restarted, or nobody asked for it."""
        return (self.is_healthy and self.state != "unsupervised") or not self.is_wanted


def status(settings: Settings) -> list[ServerStatus]:
    """Every server that the settings have a use for, those that run elsewhere included."""
    asked = wanted(settings)
    states: dict[str, dict[str, Any]] = {}
    strays: dict[str, psutil.Process] = {}
    if run_folder(settings).exists():
        supervisor = Supervisor(settings)
        states, strays = supervisor.programs(), supervisor.strays()
    servers = registry.used(settings)
    with ThreadPoolExecutor(len(servers)) as pool:
        return list(pool.map(lambda server: _status(settings, server, server.name in asked, states, strays), servers))


def _status(
    settings: Settings,
    server: Server,
    is_wanted: bool,
    states: dict[str, dict[str, Any]],
    strays: dict[str, psutil.Process],
) -> ServerStatus:
    is_local = server.is_local(settings)
    names = [program.name for program in server.programs(settings)] if is_local else []
    pids = [states[name]["pid"] for name in names if name in states and states[name]["pid"]]
    pids += [strays[name].pid for name in names if name in strays]
    state = _state(names, states, strays) if is_local else "external"
    version, problem = "", "" if state == "stopped" and not is_wanted else state
    if state not in ("stopped", "failed"):
        try:
            version = server.check(settings)
            problem = "answers, but nothing would restart it: its supervisor is gone" if state == "unsupervised" else ""
        except (NotReady, StackError) as reason:
            problem = str(reason)
    started = [states[name]["start"] for name in names if name in states and states[name]["pid"]]
    return ServerStatus(
        name=server.name,
        title=server.title,
        state=state,
        is_wanted=is_wanted or not is_local,
        is_healthy=bool(version),
        problem=problem,
        address=server.address(settings),
        version=version,
        pids=tuple(pids),
        rss_mb=sum(_resident(pid) for pid in pids) // MEGABYTE,
        uptime_seconds=int(time.time() - max(started)) if started else 0,
    )


def _state(names: list[str], states: dict[str, dict[str, Any]], strays: dict[str, psutil.Process]) -> str:
    if any(name in strays for name in names):
        return "unsupervised"
    found = {states[name]["statename"] if name in states else "STOPPED" for name in names}
    if found == {"RUNNING"}:
        return "running"
    if found & {"FATAL", "EXITED"}:
        return "failed"
    return "starting" if found & {"STARTING", "BACKOFF"} else "stopped"


def _resident(pid: int) -> int:
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.Error:
        pass  # it ended while we looked
    return total
