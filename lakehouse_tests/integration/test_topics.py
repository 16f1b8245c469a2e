"""The commands for topics on a real broker, read back by a client that is not the product's."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic

from lakehouse.naming import CONVERSIONS_DLQ, CONVERSIONS_TOPIC, PGR_EVENTS_TOPIC, TOPICS
from lakehouse_tests.home import Home, open_home

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with open_home(tmp_path_factory.mktemp("topics") / "home") as made:
        made.up("kafka")
        yield made


@pytest.fixture(scope="module")
def admin(home: Home) -> Iterator[Any]:
    with closing(KafkaAdminClient(bootstrap_servers=home.settings.kafka_brokers)) as client:
        yield client


def listed(home: Home) -> dict[str, dict[str, Any]]:
    return {row["topic"]: row for row in json.loads(home.run("topics", "list", "--json").stdout)}


def alter(admin: Any, topic: str, **values: str) -> None:
    names = {name.replace("_", "."): value for name, value in values.items()}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=names)])


def test_apply_shows_its_plan_first_and_never_makes_anything_smaller(home: Home, admin: Any) -> None:
    kept, changed, missing = PGR_EVENTS_TOPIC.name, CONVERSIONS_TOPIC.name, CONVERSIONS_DLQ.name
    assert {row["state"] for row in listed(home).values()} == {"as designed"}
    alter(admin, kept, retention_ms="-1")
    alter(admin, changed, retention_ms="60000", cleanup_policy="compact")
    admin.delete_topics([missing])
    admin.create_topics([NewTopic("somebody-elses", num_partitions=1, replication_factor=1)])

    told = home.run("topics", "apply", "--dry-run")
    assert told.returncode == 0, told.stderr
    assert "stays: it is never made smaller" in told.stdout
    states = {name: row["state"] for name, row in listed(home).items()}
    assert states == {
        **{topic.name: "as designed" for topic in TOPICS},
        kept: "differs",
        changed: "differs",
        missing: "missing",
        "somebody-elses": "not the lakehouse's",
    }

    unasked = home.run("topics", "apply")
    assert unasked.returncode == 1
    assert "--yes" in unasked.stderr
    assert missing not in admin.list_topics()

    done = home.run("topics", "apply", "--yes")
    assert done.returncode == 0, done.stderr
    after = listed(home)
    assert after[kept]["retention_ms"] == -1
    assert (after[changed]["retention_ms"], after[changed]["cleanup"]) == (7 * 24 * 3_600_000, "delete")
    assert (after[missing]["partitions"], after[missing]["retention_ms"]) == (1, 30 * 24 * 3_600_000)
    assert "Nothing is left to do." in home.run("topics", "apply", "--yes").stdout


def test_partitions_are_added_and_never_taken_away(home: Home, admin: Any) -> None:
    with closing(KafkaConsumer(bootstrap_servers=home.settings.kafka_brokers)) as consumer:
        admin.create_topics([NewTopic("small", num_partitions=1, replication_factor=1)])
        admin.create_topics([NewTopic("large", num_partitions=5, replication_factor=1)])
        for name, partitions in (("small", 3), ("large", 5)):
            assert home.run("topics", "apply", "--yes", LAKEHOUSE_KAFKA_TOPIC=name).returncode == 0
            found = json.loads(home.run("topics", "show", name, "--json").stdout)
            assert len(found["partitions"]) == partitions
            assert len(consumer.partitions_for_topic(name) or ()) == partitions


def test_records_are_shown_as_they_are(home: Home) -> None:
    topic, odd = CONVERSIONS_TOPIC.name, b"\xff\x00"
    with closing(KafkaProducer(bootstrap_servers=home.settings.kafka_brokers)) as producer:
        for number in range(30):
            producer.send(topic, key=f"k{number}".encode(), value=f"ä[b]{number}".encode(), partition=number % 3)
            producer.flush()
        producer.send(topic, key=None, value=odd, headers=[("h", b"1"), ("h", odd)], partition=0)
        producer.flush()

    def records(*arguments: str) -> list[dict[str, Any]]:
        done = home.run("topics", "read", topic, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    *texts, bytes_ = records("--limit", "4")
    assert [record["value"] for record in texts] == ["ä[b]27", "ä[b]28", "ä[b]29"]
    as_text = base64.b64encode(odd).decode()
    assert (bytes_["key"], bytes_["value_base64"]) == (None, as_text)
    assert bytes_["headers"] == [{"name": "h", "value": "1"}, {"name": "h", "value_base64": as_text}]
    (one,) = records("--from", "1:3", "--limit", "1")
    assert (one["partition"], one["offset"], one["value"]) == (1, 3, "ä[b]10")
    assert len(records("--limit", "1000")) == 31
    assert "ä[b]29" in home.run("topics", "read", topic).stdout
    assert records("--from", "0:11") == records("--from", "0:500") == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["read", "no-such"], "there is no topic no-such"),
        (["show", "no-such"], "there is no topic no-such"),
        (["read", CONVERSIONS_TOPIC.name, "--from", "first"], "like 0:100"),
        (["read", CONVERSIONS_TOPIC.name, "--from", "9:0"], "partitions 0 to 2"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(home: Home, arguments: list[str], told: str) -> None:
    done = home.run("topics", *arguments)
    assert done.returncode == 1
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
