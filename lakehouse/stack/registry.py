"""The servers of the local stack and the order they depend on each other. A new server is one more line here."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from graphlib import TopologicalSorter

from lakehouse.errors import StackError
from lakehouse.naming import Domain
from lakehouse.settings import Settings
from lakehouse.stack.api import Api
from lakehouse.stack.dagster import Dagster
from lakehouse.stack.flink import Flink
from lakehouse.stack.kafka import Kafka
from lakehouse.stack.nessie import Nessie
from lakehouse.stack.postgres import Postgres
from lakehouse.stack.redis import Redis
from lakehouse.stack.s3 import S3Proxy
from lakehouse.stack.server import Server
from lakehouse.stack.sink import Sink
from lakehouse.stack.spark import Spark
from lakehouse.stack.trino import Trino

SERVERS: tuple[Server, ...] = (
    *(Postgres(), S3Proxy(), Nessie(), Kafka(), Redis(), Trino(), Flink(), Spark()),
    *(Sink(), Api(), Dagster()),
)


def by_name(name: str) -> Server:
    """The server of that name.

    Raises:
        StackError: naming the servers there are.
    """
    for server in SERVERS:
        if server.name == name:
            return server
    raise StackError(f"there is no server {name!r}: choose from {', '.join(server.name for server in SERVERS)}")


def for_domains(domains: Collection[Domain]) -> list[Server]:
    """The servers that the domains need."""
    return [server for server in SERVERS if server.domains & set(domains)]


def with_needs(servers: Iterable[Server]) -> list[Server]:
    """The servers and all they need, each after what it needs."""
    found: dict[str, Server] = {}
    todo = list(servers)
    while todo:
        server = todo.pop()
        found[server.name] = server
        todo += [by_name(name) for name in server.needs]
    return in_order(found.values())


def with_dependents(servers: Iterable[Server]) -> list[Server]:
    """The servers and all that cannot run without them, each after what it needs."""
    found = {server.name: server for server in servers}
    for server in in_order(SERVERS):
        if found.keys() & set(server.needs):
            found[server.name] = server
    return in_order(found.values())


def in_order(servers: Iterable[Server]) -> list[Server]:
    """The servers, each after what it needs."""
    chosen = {server.name: server for server in servers}
    graph = {name: [need for need in server.needs if need in chosen] for name, server in chosen.items()}
    return [chosen[name] for name in TopologicalSorter(graph).static_order()]


def used(settings: Settings) -> list[Server]:
    """Those that the settings have a use for, here or elsewhere."""
    return [server for server in SERVERS if server.is_used(settings)]


def local(servers: Iterable[Server], settings: Settings) -> list[Server]:
    """Those that run on this machine."""
    return [server for server in servers if server.is_local(settings)]
