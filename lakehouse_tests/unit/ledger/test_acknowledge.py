"""A gap is passed only by acknowledging it, and the ledger says who did."""

import json
from dataclasses import replace

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters.kafka.client import PartitionState, TopicState
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.errors import LedgerGapError
from lakehouse.ledger.acknowledge import Loss, acknowledge_lost
from lakehouse.ledger.audit import audit
from lakehouse.ledger.feed import Feed
from lakehouse.ledger.writer import LedgeredWriter
from lakehouse.naming import PGR_EVENTS_TOPIC
from lakehouse_tests.events import TOPIC, TOPIC_ID, kafka_batch, numbered

FEED = Feed(PGR_EVENTS_TOPIC, SERVICE_EVENT)
STATE = TopicState(TOPIC_ID, {0: PartitionState(low=14, end=20), 1: PartitionState(low=0, end=5)})


@pytest.fixture
def writer(catalog: SqlCatalog) -> LedgeredWriter:
    """Offsets 0 to 9 are landed; the broker has deleted up to 14."""
    writer = LedgeredWriter(catalog, SERVICE_EVENT, TOPIC, run_id="run")
    writer.append(kafka_batch(numbered(range(10), bad=[3])))
    return writer


def test_acknowledged_offsets_are_counted_as_lost_and_reading_goes_on(
    catalog: SqlCatalog, writer: LedgeredWriter
) -> None:
    with pytest.raises(LedgerGapError):
        writer.start(STATE)
    assert acknowledge_lost(catalog, FEED, TOPIC, STATE, who="ana", why="disk full") == [Loss(0, 10, 14)]
    assert writer.start(STATE) == {0: 14, 1: 0}
    writer.append(kafka_batch(numbered(range(14, 20))))
    report = audit(catalog, [FEED], lambda _: STATE, lambda *_: {}, deep=True)
    account = report.accounts[0]
    assert (report.verdict, account.lost, account.bronze, account.dead_letters) == ("complete", 4, 15, 1)


def test_the_table_says_who_acknowledged_it_and_why(catalog: SqlCatalog, writer: LedgeredWriter) -> None:
    acknowledge_lost(catalog, FEED, TOPIC, STATE, who="ana", why="disk full")
    properties = catalog.load_table(SERVICE_EVENT.table.identifier).properties
    record = json.loads(properties[f"lakehouse.ledger.{TOPIC}.0.lost.10-14"])
    assert (record["who"], record["why"]) == ("ana", "disk full")


def test_nothing_is_acknowledged_where_nothing_is_lost(catalog: SqlCatalog, writer: LedgeredWriter) -> None:
    intact = TopicState(TOPIC_ID, {0: PartitionState(low=0, end=20)})
    assert acknowledge_lost(catalog, FEED, TOPIC, intact, who="ana", why="?") == []


def test_a_topic_that_was_created_again_cannot_be_acknowledged(catalog: SqlCatalog, writer: LedgeredWriter) -> None:
    with pytest.raises(LedgerGapError, match="a topic of another name"):
        acknowledge_lost(catalog, FEED, TOPIC, replace(STATE, topic_id="another"), who="ana", why="?")
