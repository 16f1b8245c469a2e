"""The audit of everything, as the command line, the demo and monitoring run it."""

from __future__ import annotations

from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.adapters.kafka.resource import KafkaResource
from lakehouse.domains.feeds import FEEDS
from lakehouse.ledger.audit import Report, audit
from lakehouse.settings import Settings


def run_audit(settings: Settings, *, deep: bool = False) -> Report:
    """Audit every feed of every domain.

    Raises:
        LakehouseError: the catalog or the brokers do not answer.
    """
    kafka = KafkaResource()
    return audit(connect(settings), FEEDS, kafka.topic, kafka.probe, deep=deep)
