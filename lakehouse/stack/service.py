"""Servers that are this project's own code: what `lakehouse serve NAME` runs."""

from __future__ import annotations

import sys

from lakehouse.settings import PROJECT, Settings
from lakehouse.stack.environment import exports, program_environment
from lakehouse.stack.server import Port, Program, Server


class Service(Server):
    """One process, from the environment that the project has anyway, which reads the settings there."""

    def is_local(self, settings: Settings) -> bool:
        """Always."""
        return True

    def install(self, settings: Settings) -> None:
        """It comes with the environment."""

    def configure(self, settings: Settings) -> None:
        """It reads the settings from its environment."""

    def ports(self, settings: Settings) -> tuple[Port, ...]:
        """What it listens on."""
        return ()

    def programs(self, settings: Settings) -> tuple[Program, ...]:
        """The service, kept alive."""
        return (
            Program(
                name=self.name,
                argv=(sys.executable, "-m", "lakehouse.cli", "serve", self.name),
                cwd=PROJECT,
                env=exports(settings) | program_environment(),
                ports=self.ports(settings),
                stop_seconds=25,
            ),
        )
