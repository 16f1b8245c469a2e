"""`up` and `down`: what to start or stop, in which order, and waiting until it is so."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from lakehouse.errors import StackError
from lakehouse.naming import Domain
from lakehouse.settings import HERE, Settings
from lakehouse.stack import artifacts, processes, registry
from lakehouse.stack.board import Board
from lakehouse.stack.files import (
    PRIVATE_FOLDER,
    cache_folder,
    disk_errors_explained,
    log_file,
    make_folder,
    require_space,
    run_folder,
    write_file,
)
from lakehouse.stack.passwords import ensure_passwords
from lakehouse.stack.server import NotReady, Program, Server
from lakehouse.stack.supervision import ALIVE, Supervisor, one_at_a_time

T = TypeVar("T")

PAUSE = 0.25
"""Seconds between two looks at a server that is starting."""
TELLING = re.compile(r"FATAL|ERROR|Error: |Exception|^\d+\) ")
"""What the lines have in common in which our servers say why they end."""
FAILED_STARTS = 3
"""A program that ended this often while `up` was waiting will not come up by itself."""


@dataclass(frozen=True)
class Started:
    """What `up` did for one server."""

    name: str
    seconds: float
    was_running: bool


def up(
    settings: Settings,
    servers: Sequence[str] | None = None,
    domains: Collection[Domain] | None = None,
    console: Console | None = None,
) -> list[Started]:
    """Install, configure and start servers, and wait until each of them answers; harmless when they run.

    Args:
        settings: Whose home, ports and addresses to use.
        servers: Names; they bring what they need. Default: all that the domains need.
        domains: Default: all domains.
        console: Where progress is shown.

    Raises:
        StackError: saying what prevents it and what to do.
    """
    console = console or Console(stderr=True)
    with disk_errors_explained():
        settings.home.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        with one_at_a_time(settings, console):
            settings = ensure_passwords(settings)
            chosen = _choose(settings, servers, domains)
            _install(settings, chosen, console)
            supervisor = Supervisor(settings)
            _follow_settings(settings, supervisor, chosen, console)
            with Board(console, [server.title for server in chosen]) as board:
                return _start_all(settings, supervisor, chosen, board)


def down(settings: Settings, servers: Sequence[str] | None = None, console: Console | None = None) -> list[str]:
    """Stop servers, those that need them first; without names all of them and the supervisor.

    Only what `up` started is touched. Returns the names of the programs that were stopped.
    """
    if not run_folder(settings).exists():
        return []
    console = console or Console(stderr=True)
    with disk_errors_explained(), one_at_a_time(settings, console):
        supervisor = Supervisor(settings)
        chosen = registry.SERVERS if not servers else tuple(registry.by_name(name) for name in servers)
        stopping = registry.local(registry.with_dependents(chosen), settings)
        stopped = _stop_all(settings, supervisor, stopping, console)
        remaining = [name for name in wanted(settings) if name not in {server.name for server in stopping}]
        _remember(settings, remaining)
        if not remaining:
            supervisor.shut_down()
            stopped += supervisor.end_strays()
        return stopped


def wanted(settings: Settings) -> list[str]:
    """Names of the servers that `up` was asked for and `down` was not."""
    path = _wanted_file(settings)
    return list(json.loads(path.read_text())) if path.exists() else []


def _wanted_file(settings: Settings) -> Path:
    return run_folder(settings) / "servers.json"


def _remember(settings: Settings, names: Iterable[str]) -> None:
    write_file(_wanted_file(settings), json.dumps(list(names)) + "\n")


def _choose(settings: Settings, names: Sequence[str] | None, domains: Collection[Domain] | None) -> list[Server]:
    asked = [registry.by_name(name) for name in names] if names else registry.for_domains(domains or tuple(Domain))
    for server in asked:
        if names and not server.is_used(settings):
            raise StackError(f"the settings have no use for {server.title}: `lakehouse settings` lists them")
        if names and not server.is_local(settings):
            raise StackError(
                f"{server.title} is set to run elsewhere ({server.address(settings)}): set its address to `{HERE}` to "
                "run it here"
            )
    earlier = [server for server in registry.SERVERS if server.name in wanted(settings)]
    return registry.local(registry.with_needs([*asked, *earlier]), settings)


def _install(settings: Settings, chosen: list[Server], console: Console) -> None:
    missing = [needed for server in chosen if (needed := server.artifacts(settings)) and not needed.are_installed]
    if missing:
        make_folder(cache_folder())
        require_space(cache_folder(), sum(needed.size_mb for needed in missing), "the servers' software")
        artifacts.fetch([artifact for needed in missing for artifact in needed.files], console)
        console.print(f"unpacking into {cache_folder()} …")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda server: server.install(settings), chosen))


def _follow_settings(settings: Settings, supervisor: Supervisor, chosen: list[Server], console: Console) -> None:
    """Bring files and supervisor to what the settings say now; ends what an earlier supervisor left behind."""
    for server in chosen:
        server.configure(settings)
    supervisor.write(program for server in chosen for program in server.programs(settings))
    if strays := supervisor.end_strays():
        console.print(f"ended what an interrupted supervisor had left: {', '.join(strays)}")
    supervisor.start()
    supervisor.update()
    _remember(settings, (server.name for server in chosen))


def _start_all(settings: Settings, supervisor: Supervisor, chosen: list[Server], board: Board) -> list[Started]:
    before = supervisor.programs()
    for server in chosen:
        for program in server.programs(settings):
            if not _is_alive(program, before):
                for port in program.ports:
                    processes.require_free(port, server.title)

    def start(server: Server) -> Started:
        began = time.monotonic()
        was_running = all(_is_alive(program, before) for program in server.programs(settings))
        for program in server.programs(settings):
            supervisor.run(program.name)
        _wait(settings, supervisor, server, lambda text: board.show(server.title, text))
        seconds = time.monotonic() - began
        state = "was running" if was_running else f"started in {seconds:.1f} s"
        board.done(server.title, f"{state} · {server.address(settings)}")
        return Started(server.name, seconds, was_running)

    return _in_order(chosen, start, lambda server: server.needs)


def _stop_all(settings: Settings, supervisor: Supervisor, servers: list[Server], console: Console) -> list[str]:
    running = {name for name, info in supervisor.programs().items() if info["statename"] in ALIVE}

    def stop(server: Server) -> list[str]:
        names = [program.name for program in server.programs(settings) if program.name in running]
        if names:
            for work in server.under_way(settings):
                console.print(f"{server.title}: {work} is interrupted; what it had not committed, the next one does")
            with ThreadPoolExecutor(len(names)) as pool:
                list(pool.map(supervisor.stop, names))
            console.print(f"{server.title} stopped")
        return names

    users = {server.name: [other.name for other in servers if server.name in other.needs] for server in servers}
    stopped = _in_order(list(reversed(servers)), stop, lambda server: users[server.name])
    return [name for names in stopped for name in names]


def _in_order(
    servers: list[Server], action: Callable[[Server], T], after: Callable[[Server], Iterable[str]]
) -> list[T]:
    """Run an action for every server in parallel, but after those that ``after`` names. Servers come sorted."""
    futures: dict[str, Future[T]] = {}

    def run(server: Server, first: list[Future[T]]) -> T:
        for future in first:
            future.result()
        return action(server)

    with ThreadPoolExecutor(max(len(servers), 1)) as pool:
        for server in servers:
            first = [futures[name] for name in after(server) if name in futures]
            futures[server.name] = pool.submit(run, server, first)
    return [future.result() for future in futures.values()]


def _is_alive(program: Program, states: dict[str, dict[str, Any]]) -> bool:
    return program.name in states and states[program.name]["statename"] in ALIVE


def _wait(settings: Settings, supervisor: Supervisor, server: Server, show: Callable[[str], None]) -> None:
    """Wait until a server has answered and holds what it should."""
    deadline = time.monotonic() + server.start_seconds
    starts: dict[str, set[int]] = {program.name: set() for program in server.programs(settings)}
    while True:
        states = supervisor.programs()
        for name, seen in starts.items():
            info = states[name]
            seen.add(info["start"])
            if info["statename"] not in ALIVE or len(seen) > FAILED_STARTS:
                supervisor.stop(name)
                raise StackError(f"{name} ends right after its start: {last_words(settings, name)}")
        try:
            server.after_start(settings)
            server.check(settings)
            return
        except NotReady as reason:
            show(str(reason))
            if time.monotonic() > deadline:
                raise StackError(
                    f"{server.title} did not answer within {server.start_seconds} s ({reason}): see `lakehouse logs "
                    f"{server.name}`, then run `lakehouse up` again"
                ) from None
        time.sleep(PAUSE)


def last_words(settings: Settings, program: str) -> str:
    """The line of a program's log that most likely says why it ended, and how to see more."""
    path = log_file(settings, program)
    lines = path.read_text(errors="replace").splitlines()[-200:] if path.exists() else []
    telling = [line for line in lines if TELLING.search(line)]
    said = (telling or [line for line in lines if line.strip()] or ["it wrote no log"])[-1].strip()
    return f"{said[:240]} (more with `lakehouse logs {program.split('-')[0]}`)"
