"""The path of a grievance event on the real servers: Kafka, the product's job and sensor, Iceberg, Trino, the audit."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient

from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.adapters.kafka.resource import KafkaResource
from lakehouse.definitions import defs
from lakehouse.domains.feeds import ensure_topics
from lakehouse.errors import LakehouseError
from lakehouse.ledger.account import Report
from lakehouse.settings import load
from lakehouse_tests.conftest import Feed, Message, audit_of_topic
from lakehouse_tests.events import event

pytestmark = [pytest.mark.integration]

JOB = "pgr_micro_batch"


def run_job(instance: dg.DagsterInstance | None = None) -> dg.ExecuteInProcessResult:
    """One run of the product's draining job, as the sensor would request it."""
    return defs.resolve_job_def(JOB).execute_in_process(instance=instance, raise_on_error=False)


def audit(*, deep: bool = True) -> Report:
    return audit_of_topic(deep=deep)


def gaps() -> str:
    return "; ".join(gap for account in audit().accounts for gap in account.gaps)


def good(number: int) -> Message:
    return f"C-{number}".encode(), event(event_id=f"e-{number}", entity_id=f"C-{number}"), None


def mixed(count: int) -> list[Message]:
    """Good messages, every tenth of them cut off."""
    return [(b"C", event()[: 20 + i % 50], "INVALID_JSON") if i % 10 == 7 else good(i) for i in range(count)]


def tick(instance: dg.DagsterInstance) -> Any:
    """What the product's sensor says on one tick."""
    resources = {"kafka": KafkaResource(), "iceberg": IcebergResource()}
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        return defs.resolve_sensor_def(JOB).evaluate_tick(context)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def admin(feed: Feed) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=feed.stack.settings.kafka_brokers)
    yield client
    client.close()


def eventually(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait for what the broker does in its own time; a new topic has no leader for a moment."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(LakehouseError):
            if condition():
                return
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.2)


# What becomes of a message -------------------------------------------------------------------------------------------


def test_an_event_written_by_hand_is_found_by_sql(feed: Feed) -> None:
    payload = (
        '{"event_id": "by-hand", "event_time": "2026-03-01T01:30:00+05:30", "tenant_id": "pb.amritsar",'
        ' "service": "PGR", "entity_id": "C-1", "event_type": "CaseSubmitted", "ward_id": "वार्ड-7",'
        ' "attributes_json": {"sla_hours": 24}}'
    )
    (message,) = feed.send([(b"C-1", payload.encode(), None)])
    run_job()
    found = feed.stack.sql(
        "select event_id, event_date, event_time, ward_id, attributes_json, raw_payload, kafka_partition, kafka_offset"
        " from iceberg.bronze.service_events_raw where kafka_topic = ?",
        feed.topic,
    )
    moment = datetime(2026, 2, 28, 20, tzinfo=UTC)
    content = ["by-hand", date(2026, 2, 28), moment, "वार्ड-7", '{"sla_hours":24}', payload]
    assert found == [[*content, message.partition, message.offset]]


RUBBISH: list[Message] = [
    (b"key", b"", "EMPTY_VALUE"),
    (b"key", None, "NULL_VALUE"),
    (b"\xff\x00", b'{"tenant_id": "\xff\xfe"}', "INVALID_UTF8"),
    (b"key", event()[:40], "INVALID_JSON"),
    (b"key", event(tenant_id=42), "WRONG_TYPE"),
    (b"key", event(attributes_json={"latitude": float("nan")}), "INVALID_JSON"),
    (None, bytes(range(256)), "INVALID_UTF8"),
    (b"key", b"\xef\xbb\xbf" + event(), "INVALID_JSON"),
    (b"key", b"[" * 100_000, "INVALID_JSON"),
]
VALID: list[Message] = [
    (b"key", event(event_id="large", note="x" * 1_048_576), None),
    (None, event(event_id="no key"), None),
    (b"", event(event_id="empty key"), None),
    (b"\xff", event(event_id="key is no text"), None),
]


def test_rubbish_is_found_among_the_dead_letters_byte_for_byte_and_costs_only_itself(feed: Feed) -> None:
    sent = feed.send([*VALID[:2], *RUBBISH, *VALID[2:]])
    assert run_job().success
    assert feed.discrepancies(sent) == []
    assert len(feed.letters()) == len(RUBBISH)
    assert audit().verdict == "complete"


def test_a_message_of_almost_eight_megabytes_passes(feed: Feed) -> None:
    sent = feed.send([(b"key", event(note="x" * (8 * 1024 * 1024 - 2_000)), None)])
    assert run_job().success
    assert feed.discrepancies(sent) == []


def test_offsets_of_aborted_transactions_are_counted_as_skipped(feed: Feed) -> None:
    brokers = feed.stack.settings.kafka_brokers
    producer = KafkaProducer(
        bootstrap_servers=brokers, transactional_id=feed.topic, enable_idempotence=True, acks="all"
    )
    producer.init_transactions()
    for name, end in (("kept", "commit"), ("gone", "abort"), ("kept again", "commit"), ("last", "abort")):
        producer.begin_transaction()
        for number in range(5):
            producer.send(feed.topic, key=b"key", value=event(event_id=f"{name} {number}"), partition=0)
        producer.flush()
        getattr(producer, f"{end}_transaction")()
    producer.close()
    assert run_job().success
    ids = [json.loads(payload)["event_id"] for _, _, payload in feed.rows()]
    assert sorted(ids) == sorted(f"{name} {number}" for name in ("kept", "kept again") for number in range(5))
    report = audit()
    (account,) = [a for a in report.accounts if a.source == feed.topic and a.partition == 0]
    assert (report.verdict, account.position, account.bronze, account.skipped) == ("complete", 24, 10, 14)


# Whoever drains ------------------------------------------------------------------------------------------------------


def test_two_drains_at_once_land_everything_once(feed: Feed) -> None:
    sent = feed.send(mixed(2_000))
    both = [feed.drain(LAKEHOUSE_BATCH_SIZE="150") for _ in range(2)]
    outputs = [process.communicate(timeout=180)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert feed.discrepancies(sent) == []
    assert audit().verdict == "complete"


def test_what_arrives_while_a_drain_runs_is_landed_by_it(feed: Feed) -> None:
    sent = feed.send(mixed(200))
    process = feed.drain(LAKEHOUSE_DRAIN_IDLE_SEC="5")
    assert process.stdout is not None
    assert process.stdout.readline() == "commit\n"
    sent += feed.send(mixed(200))
    process.communicate(timeout=120)
    assert feed.discrepancies(sent) == []


def test_compaction_by_trino_meanwhile_changes_nothing(feed: Feed) -> None:
    sent = feed.send(mixed(1_500))
    process = feed.drain(LAKEHOUSE_BATCH_SIZE="150")
    assert process.stdout is not None
    assert process.stdout.readline() == "commit\n"
    feed.stack.sql("alter table iceberg.bronze.service_events_raw execute optimize")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    feed.stack.sql("alter table iceberg.bronze.service_events_raw execute optimize")
    assert feed.discrepancies(sent) == []
    assert audit(deep=False).verdict == audit().verdict == "complete"


def test_a_second_run_without_news_writes_no_snapshot(feed: Feed) -> None:
    feed.send(mixed(20))
    newest = 'select max_by(snapshot_id, committed_at) from iceberg.bronze."service_events_raw$snapshots"'
    run_job()
    before = feed.stack.sql(newest)
    assert run_job().success
    assert feed.stack.sql(newest) == before


def test_partitions_added_later_are_read_from_their_beginning(feed: Feed, admin: KafkaAdminClient) -> None:
    sent = feed.send(mixed(50))
    run_job()
    admin.create_partitions({feed.topic: 5})
    eventually(lambda: len(KafkaResource().topic(feed.topic).partitions) == 5)  # type: ignore[union-attr]
    sent += feed.send(mixed(200))
    assert {message.partition for message in sent} == {0, 1, 2, 3, 4}
    assert run_job().success
    assert feed.discrepancies(sent) == []
    assert audit().verdict == "complete"


# The account ---------------------------------------------------------------------------------------------------------


def test_the_check_passes_in_the_run_that_landed_the_records(feed: Feed) -> None:
    sent = feed.send(mixed(100))
    (check,) = run_job().get_asset_check_evaluations()
    assert check.check_name == "every_offset_is_accounted_for"
    # The verdict is of all topics of the table, and other tests leave theirs with a gap.
    accounts: Any = check.metadata["accounts"].value
    assert check.passed == (not any(account["gaps"] for account in accounts))
    gaps = [account["gaps"] for account in accounts if account["source"] == feed.topic]
    assert gaps
    assert not any(gaps)
    assert check.metadata["bronze"].value == sum(message.error_type is None for message in sent)
    assert check.metadata["dead_letters"].value == sum(message.error_type is not None for message in sent)


def test_records_that_wait_are_in_flight_and_no_gap(feed: Feed) -> None:
    feed.send(mixed(30))
    report = audit()
    assert (report.verdict, report.in_flight) == ("complete", 30)


def test_an_audit_of_one_topic_leaves_the_account_of_another_right(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """One table, read by settings that name one topic and then another: what is remembered must not mix."""
    sent = feed.send(mixed(40))
    run_job()
    monkeypatch.setenv("LAKEHOUSE_KAFKA_TOPIC", f"{feed.topic}-other")
    ensure_topics(load())
    other = Feed(feed.stack, f"{feed.topic}-other")
    other.send(mixed(10))
    run_job()
    assert audit(deep=False).verdict == "complete"
    monkeypatch.setenv("LAKEHOUSE_KAFKA_TOPIC", feed.topic)
    report = audit(deep=False)
    assert report.verdict == "complete", report
    assert sum(account.bronze + account.dead_letters for account in report.accounts) == len(sent)


def test_a_row_inserted_by_sql_is_shown_as_direct_and_is_no_gap(feed: Feed) -> None:
    feed.send(mixed(10))
    run_job()
    before = sum(account.direct for account in audit().accounts)
    insert = (
        "insert into iceberg.bronze.service_events_raw"
        " (event_date, event_time, tenant_id, service, entity_id, event_type) values (?, ?, ?, ?, ?, ?)"
    )
    # Without a zone a time is in UTC, wherever the client says it is.
    values = (date(2026, 3, 1), datetime(2026, 3, 1, 1, 30), feed.topic, "PGR", "C-1", "CaseSubmitted")  # noqa: DTZ001
    feed.stack.sql(insert, *values, timezone="Asia/Kolkata")
    stored = "select to_iso8601(event_time) from iceberg.bronze.service_events_raw where tenant_id = ?"
    assert feed.stack.sql(stored, feed.topic) == [["2026-03-01T01:30:00.000000Z"]]
    report = audit()
    assert (report.verdict, sum(account.direct for account in report.accounts)) == ("complete", before + 1)
    (table,) = [account for account in report.accounts if account.direct]
    assert "by trino tests" in table.written_by[0]
    assert table.written_by[0].endswith(": 1 rows")


def test_a_row_deleted_by_sql_makes_the_account_incomplete(feed: Feed) -> None:
    feed.send(mixed(10))
    run_job()
    partition, offset, _ = feed.rows()[0]
    feed.stack.sql(
        "delete from iceberg.bronze.service_events_raw"
        " where kafka_topic = ? and kafka_partition = ? and kafka_offset = ?", feed.topic, partition, offset
    )  # fmt: skip
    verdict = audit(deep=False).verdict
    # The table is shared: leave no delete files behind, with which nobody reads incrementally any more.
    feed.stack.sql("alter table iceberg.bronze.service_events_raw execute optimize")
    assert feed.stack.sql('select count(*) from iceberg.bronze."service_events_raw$files" where content <> 0') == [[0]]
    assert verdict == audit(deep=False).verdict == "incomplete"


# Gaps ----------------------------------------------------------------------------------------------------------------


def test_a_recreated_topic_stops_the_drain_with_a_clear_message_and_the_audit_is_incomplete(
    feed: Feed, admin: KafkaAdminClient, instance: dg.DagsterInstance
) -> None:
    sent = feed.send(mixed(30))
    run_job()
    admin.delete_topics([feed.topic])
    eventually(lambda: KafkaResource().topic(feed.topic) is None)
    ensure_topics(load())
    eventually(lambda: KafkaResource().topic(feed.topic))
    feed.send(mixed(60))
    result = run_job(instance)
    assert not result.success
    (failure,) = [e for e in result.all_events if e.is_step_failure]
    assert "deleted and created again" in str(failure.step_failure_data)
    assert feed.discrepancies(sent) == []
    assert audit().verdict == "incomplete"
    assert "deleted and created again" in gaps()


def test_a_topic_deleted_with_unread_records_makes_the_audit_incomplete(feed: Feed, admin: KafkaAdminClient) -> None:
    feed.send(mixed(30))
    run_job()
    feed.send(mixed(5))
    admin.delete_topics([feed.topic])
    eventually(lambda: KafkaResource().topic(feed.topic) is None)
    assert audit().verdict == "incomplete"
    assert "the topic is gone" in gaps()


def test_records_that_retention_took_before_they_were_read_stop_the_drain(feed: Feed, admin: KafkaAdminClient) -> None:
    from kafka import TopicPartition

    sent = feed.send(mixed(30))
    run_job()
    lost = feed.send([good(1), good(2)])
    admin.delete_records({TopicPartition(feed.topic, m.partition): m.offset + 1 for m in lost})
    assert not run_job().success
    assert feed.discrepancies(sent) == []
    assert audit().verdict == "incomplete"
    assert "were deleted before they were read" in gaps()


# The sensor ----------------------------------------------------------------------------------------------------------


def test_the_sensor_requests_a_run_while_records_wait(feed: Feed, instance: dg.DagsterInstance) -> None:
    feed.send(mixed(12))
    (request,) = tick(instance).run_requests
    assert request.tags["lakehouse/lag"] == "12"
    assert request.tags["lakehouse/kind"] == "drain"


def test_a_process_may_ask_for_the_catalog_more_often_than_its_role_may_connect(feed: Feed) -> None:
    asked = [IcebergResource().catalog() for _ in range(100)]
    assert asked[-1].list_tables("bronze")


def test_the_sensor_rests_when_everything_is_landed(feed: Feed, instance: dg.DagsterInstance) -> None:
    feed.send(mixed(12))
    run_job()
    answer = tick(instance)
    assert (answer.run_requests, answer.skip_message) == ([], "pgr: everything is landed")


def test_the_sensor_waits_for_the_run_that_is_draining(feed: Feed, instance: dg.DagsterInstance) -> None:
    feed.send(mixed(12))
    instance.create_run_for_job(job_def=defs.resolve_job_def(JOB), status=dg.DagsterRunStatus.STARTED)
    answer = tick(instance)
    assert answer.run_requests == []
    assert "a run is draining, 12 records to go" in answer.skip_message


def test_the_sensor_says_so_when_the_brokers_are_away(
    feed: Feed, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    answer = tick(instance)
    assert answer.run_requests == []
    assert "Kafka does not answer" in answer.skip_message


def test_the_sensor_says_so_when_the_catalog_is_away(
    feed: Feed, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_DB_PORT", "1")
    answer = tick(instance)
    assert answer.run_requests == []
    assert "does not answer" in answer.skip_message
