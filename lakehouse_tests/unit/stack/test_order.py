"""Who starts before whom."""

import pytest

from lakehouse.errors import StackError
from lakehouse.naming import Domain
from lakehouse.settings import load
from lakehouse.stack import registry
from lakehouse.stack.server import Server


def names(servers: list[Server]) -> list[str]:
    return [server.name for server in servers]


def test_a_server_brings_what_it_needs_and_starts_after_it() -> None:
    assert names(registry.with_needs([registry.by_name("trino")])) == ["postgres", "s3", "nessie", "trino"]
    everything = names(registry.with_needs(registry.SERVERS))
    assert everything.index("postgres") < min(everything.index("trino"), everything.index("dagster"))


def test_stopping_a_server_stops_what_needs_it() -> None:
    assert set(names(registry.with_dependents([registry.by_name("postgres")]))) == {
        "postgres",
        "nessie",
        "trino",
        "flink",
        "spark",
        "sink",
        "api",
        "dagster",
    }
    assert "trino" in names(registry.with_dependents([registry.by_name("s3")]))
    assert names(registry.with_dependents([registry.by_name("kafka")])) == ["kafka", "flink", "sink", "api"]


def test_a_domain_starts_only_what_it_needs() -> None:
    assert "kafka" not in names(registry.for_domains([Domain.PLATFORM]))
    needed = registry.for_domains([Domain.PGR])
    assert set(names(registry.local(needed, load()))) == {"postgres", "kafka", "trino", "dagster"}
    assert set(names(registry.for_domains([Domain.CONVERSIONS]))) == {*names(needed), "flink", "spark"}
    assert set(names(registry.for_domains([Domain.PLAYERS]))) == {*names(needed), "flink", "redis", "sink", "api"}
    assert set(names(registry.local(registry.for_domains([Domain.RAWG]), load()))) == {"postgres", "trino", "dagster"}
    in_a_bucket = load(warehouse="s3://lake/wh", s3_endpoint="local")
    assert set(names(registry.local(needed, in_a_bucket))) == {"postgres", "s3", "kafka", "trino", "dagster"}


def test_the_memory_of_this_stack_fits_its_budget() -> None:
    assert sum(server.memory_mb for server in registry.used(load())) <= 6450
    assert sum(server.memory_mb for server in registry.SERVERS) <= 7550


def test_an_unknown_server_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        StackError, match="choose from postgres, s3, nessie, kafka, redis, trino, flink, spark, sink, api, dagster"
    ):
        registry.by_name("mysql")
