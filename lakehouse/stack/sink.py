"""The serving sink of the players, from this project's own code."""

from __future__ import annotations

from importlib.metadata import version

from lakehouse.adapters.postgres.client import open_postgres
from lakehouse.errors import LakehouseError
from lakehouse.naming import Domain
from lakehouse.settings import Settings
from lakehouse.stack.server import NotReady
from lakehouse.stack.service import Service

SILENT_SECONDS = 30
"""After which a sink that has not said that it is there counts as gone."""


class Sink(Service):
    """One process that fills PostgreSQL and Redis."""

    name = "sink"
    title = "Serving sink"
    needs = ("postgres", "kafka", "redis")
    domains = frozenset({Domain.PLAYERS})
    memory_mb = 200

    def address(self, settings: Settings) -> str:
        """What it fills."""
        where = f"{settings.db_address}:{settings.db_port}/{settings.db_name}"
        return f"{where}, {settings.redis_address}:{settings.redis_port}"

    def check(self, settings: Settings) -> str:
        """Ask PostgreSQL when it was there last."""
        try:
            with open_postgres(settings, "stack") as connection, connection.cursor() as cursor:
                cursor.execute("select to_regclass('players.sink') is not null")
                if not (cursor.fetchone() or (False,))[0]:
                    raise NotReady("it has not made its tables yet")
                cursor.execute("select extract(epoch from now() - seen_at) from players.sink")
                silent = (cursor.fetchone() or (SILENT_SECONDS,))[0]
        except LakehouseError as error:
            raise NotReady(str(error)) from None
        if silent >= SILENT_SECONDS:
            raise NotReady(f"it was there last {silent:.0f} s ago")
        return version("lakehouse")
