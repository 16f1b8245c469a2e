"""Kafka that asks for TLS and a password: the way in works, and each way to be refused is one clear line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka.admin._acl import AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.adapters.kafka.resource import KafkaResource
from lakehouse.domains.conversions.automation import QUEUE
from lakehouse.naming import CONVERSION_EVENTS, CONVERSIONS_DLQ
from lakehouse.orchestration.landing import land_queue
from lakehouse.stack.certificates import certificates_in, make_certificates
from lakehouse.stack.files import server_folder
from lakehouse.stack.kafka import BROKER, open_internal_admin
from lakehouse_tests.catalogs import rows_of
from lakehouse_tests.home import Home, open_home

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

COUNT = 500
OFTEN = {"LAKEHOUSE_CHECKPOINT_SEC": "2"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with open_home(tmp_path_factory.mktemp("secure") / "home") as made:
        made.up("postgres", "kafka")
        made.produce(COUNT)
        made.up("postgres", "kafka", "--secure")
        yield made


def drain(home: Home, **more: str) -> str:
    """Drain the topic; what was said where that failed."""
    environment = os.environ | home.environment | {"LAKEHOUSE_DRAIN_IDLE_SEC": "1"} | more
    command = [sys.executable, "-m", "lakehouse_tests.faults.driver"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    return done.stderr if done.returncode else ""


def assert_complete(home: Home, *arguments: str, **more: str) -> dict[str, Any]:
    """The report of an audit that finds every account closed."""
    report: dict[str, Any] = json.loads(home.run("audit", "--json", *arguments, **more).stdout)
    assert report["verdict"] == "complete", report
    return report


def refused(home: Home, **more: str) -> str:
    """What a producer says, nothing if it was let in."""
    done = home.run("produce", "pgr", "--count", "10", **more)
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split()) if done.returncode else ""


def test_what_came_in_before_and_after_the_change_is_landed(home: Home) -> None:
    home.produce(COUNT)
    assert drain(home) == ""
    report = assert_complete(home, "--deep")
    assert sum(account["bronze"] for account in report["accounts"]) == 2 * COUNT


def test_a_stream_is_let_in_and_lands_all_that_is_there(home: Home) -> None:
    def landed() -> int:
        rows = rows_of(home.settings, CONVERSION_EVENTS, ("kafka_offset",))
        shown = home.run("topics", "show", CONVERSIONS_DLQ.name, "--json").stdout
        return len(rows) + int(json.loads(shown)["partitions"]["0"]["end"])

    home.up("flink", **OFTEN)
    produced = ("produce", "conversions", "--count", str(COUNT), "--malformed", "0.1")
    for command in (("stream", "start", "conversions"), produced):
        done = home.run(*command, **OFTEN)
        assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 180
    while landed() < COUNT:
        assert time.monotonic() < deadline, home.run("stream", "status").stdout
        time.sleep(2)
    assert home.run("stream", "stop", "conversions").returncode == 0
    assert landed() == COUNT
    with home.as_environment():
        assert sum(commit.dead_letters for commit in land_queue(QUEUE, KafkaResource(), IcebergResource(), "run")) > 0
    assert_complete(home, **OFTEN)
    home.run("down", "flink")


def test_nobody_enters_without_a_password(home: Home) -> None:
    for protocol in ("PLAINTEXT", "SSL"):
        plain = {"LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": home.settings.kafka_brokers}
        assert "Error" in refused(home, LAKEHOUSE_KAFKA_SECURITY_PROTOCOL=protocol, **plain)


def test_the_password_is_shown_nowhere(home: Home) -> None:
    password = home.settings.kafka_password.get_secret_value()
    assert len(password) > 20
    for arguments in (("settings",), ("status",), ("logs", "kafka", "--lines", "100000")):
        done = home.run(*arguments)
        assert password not in done.stdout + done.stderr
    assert password not in (server_folder(home.settings, "kafka") / "server.properties").read_text()


def test_a_wrong_password_is_named(home: Home) -> None:
    said = "Kafka refuses the user or the password"
    assert said in refused(home, LAKEHOUSE_KAFKA_PASSWORD="wrong")
    assert said in drain(home, LAKEHOUSE_KAFKA_PASSWORD="wrong")


def test_an_authority_that_did_not_sign_is_named(home: Home) -> None:
    other = certificates_in(home.settings.home / "other")
    make_certificates(other, "another")
    assert "no TLS connection to Kafka can be made" in refused(home, LAKEHOUSE_KAFKA_SSL_CA=str(other.authority))


def test_a_missing_right_is_named(home: Home) -> None:
    admin = open_internal_admin(home.settings)
    user = f"User:{home.settings.kafka_username}"
    anything: Any = None
    rights = AclBindingFilter(
        ResourceType.TOPIC, anything, ResourcePatternType.ANY, user, anything, AclOperation.ANY, AclPermissionType.ANY
    )
    for future in admin.delete_acls([rights]).values():
        future.result()
    try:
        assert "authorization failed" in drain(home).lower()
    finally:
        home.up("kafka")
    assert drain(home) == ""


def test_an_expired_certificate_is_named_and_renewed_by_up(home: Home) -> None:
    # Long enough for the broker to start with it: supervision brings it back with what lies there.
    make_certificates(
        certificates_in(server_folder(home.settings, "kafka")),
        BROKER,
        not_after=datetime.now(UTC) + timedelta(seconds=30),
    )
    for pid in home.status()["kafka"]["pids"]:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 120
    while "certificate has expired" not in (said := refused(home)):
        assert time.monotonic() < deadline, said
        time.sleep(2)
    assert "no TLS connection to Kafka can be made" in said
    home.up("kafka")
    assert drain(home) == ""


def test_without_security_everything_goes_on(home: Home) -> None:
    home.up("kafka", "--no-secure")
    assert home.settings.kafka_security_protocol == "PLAINTEXT"
    home.produce(COUNT)
    assert drain(home) == ""
    assert_complete(home, **OFTEN)
