"""The HTTP service of the players, from this project's own code."""

from __future__ import annotations

import sys
from importlib.metadata import version

import requests

from lakehouse.naming import Domain
from lakehouse.settings import PROJECT, Settings
from lakehouse.stack.environment import exports, program_environment
from lakehouse.stack.server import NotReady, Port, Program, Server


def service(settings: Settings, name: str, *ports: Port) -> Program:
    """What `lakehouse serve NAME` runs, kept alive."""
    return Program(
        name=name,
        argv=(sys.executable, "-m", "lakehouse.cli", "serve", name),
        cwd=PROJECT,
        env=exports(settings) | program_environment(),
        ports=ports,
        stop_seconds=25,
    )


class Api(Server):
    """One process that takes events by HTTP."""

    name = "api"
    title = "HTTP API"
    needs = ("postgres", "kafka", "redis")
    domains = frozenset({Domain.PLAYERS})
    memory_mb = 150

    def is_local(self, settings: Settings) -> bool:
        """Always."""
        return True

    def address(self, settings: Settings) -> str:
        """Of the service; `/docs` there shows what it takes."""
        return f"http://{settings.api_address}:{settings.api_port}"

    def install(self, settings: Settings) -> None:
        """It comes with the environment."""

    def configure(self, settings: Settings) -> None:
        """It reads the settings from its environment."""

    def programs(self, settings: Settings) -> tuple[Program, ...]:
        """The service, as `lakehouse serve api` runs it."""
        return (service(settings, self.name, Port(settings.api_port, "LAKEHOUSE_API_PORT")),)

    def check(self, settings: Settings) -> str:
        """Ask whether it can take events."""
        try:
            answer = requests.get(f"{self.address(settings)}/readyz", timeout=5)
        except requests.RequestException as error:
            raise NotReady(f"no answer from {self.address(settings)}: {type(error).__name__}") from None
        if not answer.ok:
            raise NotReady(str(answer.json().get("detail", answer.status_code)))
        return version("lakehouse")
