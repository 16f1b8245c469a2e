"""The audit of everything, and what an operator may do about it, as the command line and the demo run it."""

from __future__ import annotations

import getpass

from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.adapters.kafka.resource import KafkaResource
from lakehouse.domains.feeds import FEEDS
from lakehouse.errors import LakehouseError
from lakehouse.ledger.acknowledge import Loss, acknowledge_lost
from lakehouse.ledger.audit import Report, audit
from lakehouse.settings import Settings


def run_audit(settings: Settings, *, deep: bool = False) -> Report:
    """Audit every feed of every domain.

    Raises:
        LakehouseError: the catalog or the brokers do not answer.
    """
    kafka = KafkaResource()
    return audit(connect(settings), FEEDS, kafka.topic, kafka.probe, deep=deep)


def acknowledge_losses(settings: Settings, topic: str, *, why: str) -> list[Loss]:
    """Count what Kafka deleted before it was read as lost, in the name of the user who runs this.

    Raises:
        LakehouseError: no feed reads the topic, it does not exist, or there is nothing that can be acknowledged.
    """
    feed = next((feed for feed in FEEDS if feed.topic_name == topic), None)
    state = KafkaResource().topic(topic)
    if feed is None or state is None:
        known = ", ".join(feed.topic_name for feed in FEEDS)
        raise LakehouseError(f"topic {topic} is not read by any feed, or does not exist; there is {known}")
    return acknowledge_lost(connect(settings), feed, topic, state, who=getpass.getuser(), why=why)
