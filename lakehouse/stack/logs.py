"""Reading the servers' logs, across rotation."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from lakehouse.settings import Settings
from lakehouse.stack.files import log_file
from lakehouse.stack.server import Server

PAUSE = 0.3


def show_logs(settings: Settings, server: Server, lines: int, follow: bool, write: Callable[[str], None]) -> None:
    """Write the last lines of each of a server's programs, then, if asked, what is added until interrupted."""
    programs = [program.name for program in server.programs(settings)]
    paths = {name: log_file(settings, name) for name in programs}
    prefixes = {name: f"{name}: " if len(programs) > 1 else "" for name in programs}
    if not any(path.exists() for path in paths.values()):
        write(f"{server.title} has written no log yet: it was never started")
    for name, path in paths.items():
        for line in _last(path, lines):
            write(prefixes[name] + line)
    if follow:
        tails = {name: _Tail(path) for name, path in paths.items()}
        while True:
            for name, tail in tails.items():
                for line in tail.added():
                    write(prefixes[name] + line)
            time.sleep(PAUSE)


def _last(path: Path, lines: int) -> list[str]:
    if not path.exists():
        return []
    with path.open(errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, maxlen=lines)]


class _Tail:
    """The lines added to a file that may be replaced by a new one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = path.stat().st_size if path.exists() else 0
        self._rest = ""

    def added(self) -> list[str]:
        if not self._path.exists():
            return []
        if self._path.stat().st_size < self._position:
            self._position = 0
        with self._path.open(errors="replace") as file:
            file.seek(self._position)
            text = self._rest + file.read()
            self._position = file.tell()
        *lines, self._rest = text.split("\n")
        return lines
