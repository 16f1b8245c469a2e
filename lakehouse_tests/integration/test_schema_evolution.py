"""A contract that gains a column and loses it again, while older code goes on reading and writing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.adapters.kafka.client import describe_topic, open_admin, open_consumer
from lakehouse.adapters.kafka.drain import Limits, drain
from lakehouse.contracts.contract import Column, Contract, Type
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.errors import IncompatibleSchemaError
from lakehouse.ledger.writer import LedgeredWriter
from lakehouse.settings import load
from lakehouse_tests.conftest import Feed, Message, audit_of_topic
from lakehouse_tests.events import event

pytestmark = [pytest.mark.integration]

NEW = Column("escalation_level", Type.STRING, "How far up the case went.", max_length=10)
WIDER = replace(SERVICE_EVENT, version=2, fields=(*SERVICE_EVENT.fields, NEW))


def land(contract: Contract) -> None:
    """Drain the topic as a run with that contract would."""
    settings = load()
    topic = settings.kafka_topic
    state = describe_topic(open_admin(settings), topic)
    assert state is not None
    writer = LedgeredWriter(connect(settings), contract, topic, run_id="evolution")
    consumer = open_consumer(settings)
    for batch in drain(consumer, topic, state.topic_id, writer.start(state), Limits(1000, 0.5, 1, 60)):
        writer.append(batch)
    consumer.close()


def test_a_new_optional_column_is_filled_by_new_code_and_left_out_by_old(feed: Feed) -> None:
    def message(number: int, **more: str) -> Message:
        return b"C", event(event_id=f"v-{number}", entity_id=f"C-{number}", **more), None

    sent = feed.send([message(1), message(2, escalation_level="L1")])
    land(SERVICE_EVENT)
    sent += feed.send([message(3), message(4, escalation_level="L2")])
    land(WIDER)
    sent += feed.send([message(5, escalation_level="L3")])
    land(SERVICE_EVENT)  # an older program that still runs
    sent += feed.send([(b"C", event(event_id="v-6", escalation_level="x" * 11), "TOO_LONG")])
    land(WIDER)
    rows = feed.stack.sql(
        "select event_id, escalation_level, json_extract_scalar(raw_payload, '$.escalation_level')"
        " from iceberg.bronze.service_events_raw where kafka_topic = ? order by 1",
        feed.topic,
    )
    assert rows == [
        ["v-1", None, None],
        ["v-2", None, "L1"],
        ["v-3", None, None],
        ["v-4", "L2", "L2"],
        ["v-5", None, "L3"],
    ]
    assert feed.discrepancies(sent) == []
    assert audit_of_topic(deep=True).verdict == "complete"


def test_a_breaking_change_stops_and_says_what_differs(feed: Feed) -> None:
    feed.send([(b"C", event(), None)])
    land(SERVICE_EVENT)
    ward = next(column for column in SERVICE_EVENT.fields if column.name == "ward_id")
    fields = tuple(replace(ward, type=Type.DATE) if column is ward else column for column in SERVICE_EVENT.fields)
    with pytest.raises(IncompatibleSchemaError, match="ward_id: string in the table, date in the contract"):
        land(replace(SERVICE_EVENT, fields=fields))
    assert audit_of_topic(deep=True).verdict == "complete"
