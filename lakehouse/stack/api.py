"""The HTTP service of the players, from this project's own code."""

from __future__ import annotations

from importlib.metadata import version

import requests

from lakehouse.naming import Domain
from lakehouse.settings import Settings
from lakehouse.stack.server import NotReady, Port
from lakehouse.stack.service import Service


class Api(Service):
    """One process that takes events by HTTP."""

    name = "api"
    title = "HTTP API"
    needs = ("postgres", "kafka", "redis")
    domains = frozenset({Domain.PLAYERS})
    memory_mb = 150

    def address(self, settings: Settings) -> str:
        """Of the service: a live page, and `/docs`, which shows what it takes."""
        return f"http://{settings.api_address}:{settings.api_port}"

    def ports(self, settings: Settings) -> tuple[Port, ...]:
        """Its own."""
        return (Port(settings.api_port, "LAKEHOUSE_API_PORT"),)

    def check(self, settings: Settings) -> str:
        """Ask whether it can take events."""
        try:
            answer = requests.get(f"{self.address(settings)}/readyz", timeout=5)
        except requests.RequestException as error:
            raise NotReady(f"no answer from {self.address(settings)}: {type(error).__name__}") from None
        if not answer.ok:
            raise NotReady(str(answer.json().get("detail", answer.status_code)))
        return version("lakehouse")
