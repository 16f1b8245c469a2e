"""What every server of the local stack has to say about itself.

A server is one module with one subclass of `Server` and one line in `registry.py`. Nothing here starts anything:
`control.py` calls these methods in order, `supervision.py` keeps the programs alive.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from lakehouse.naming import Domain
from lakehouse.settings import Settings
from lakehouse.stack.artifacts import Artifacts


class NotReady(Exception):
    """A server does not answer as it should (yet); the text says what was missing."""


@dataclass(frozen=True)
class Port:
    """A port on loopback and the setting that moves it."""

    number: int
    setting: str


@dataclass(frozen=True)
class Program:
    """One process to keep alive."""

    name: str
    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    """Account to change to, when the stack is started by root and the program refuses root."""
    files: tuple[Path, ...] = ()
    """Files it reads at start: when one of them changes, `up` restarts the program."""
    ports: tuple[Port, ...] = ()
    """What it listens on; must be free before it starts."""
    stop_signal: str = "TERM"
    stops_with_children: bool = False
    """Whether the signal goes to what it has started, too: otherwise it tells them itself."""
    stop_seconds: int = 15
    """How long it may take to stop by itself before it is killed."""


class Server(ABC):
    """One server: how it is installed, configured, started, found healthy."""

    name: ClassVar[str]
    title: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    """Servers that must be healthy before this one starts."""
    domains: ClassVar[frozenset[Domain]]
    """Domains that cannot work without it."""
    memory_mb: ClassVar[int]
    """Budget: resident memory it is tuned to stay under."""
    start_seconds: ClassVar[int] = 300
    """How long a start may take on a slow, busy machine."""

    def is_used(self, settings: Settings) -> bool:
        """Whether the settings have any use for it."""
        return True

    @abstractmethod
    def is_local(self, settings: Settings) -> bool:
        """Whether it runs on this machine; otherwise the settings name one that runs elsewhere."""

    @abstractmethod
    def address(self, settings: Settings) -> str:
        """Where clients reach it, for people to read."""

    def artifacts(self, settings: Settings) -> Artifacts | None:
        """What must be downloaded, if anything."""
        return None

    @abstractmethod
    def install(self, settings: Settings) -> None:
        """Make what only has to be made once: unpacked software, empty data folders. Repeating it costs nothing."""

    @abstractmethod
    def configure(self, settings: Settings) -> None:
        """Write the files the programs read at start, from the settings."""

    @abstractmethod
    def programs(self, settings: Settings) -> tuple[Program, ...]:
        """The processes to run."""

    def after_start(self, settings: Settings) -> None:
        """Bring what it holds into the agreed state, on every `up`.

        Raises:
            NotReady: when the server does not answer yet.
        """
        return

    @abstractmethod
    def check(self, settings: Settings) -> str:
        """Ask it a real question over its own protocol; returns its version.

        Raises:
            NotReady: saying what is missing.
        """

    def under_way(self, settings: Settings) -> list[str]:
        """What a stop would interrupt, in words; empty when nothing, or when it does not answer."""
        return []
