"""A domain as if nothing had ever come in, for tests on servers that they share."""

from __future__ import annotations

import time

from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.adapters.kafka.client import describe_topic, open_admin
from lakehouse.naming import DEAD_LETTERS, PULLS, TABLES, TOPICS, Domain
from lakehouse.settings import load
from lakehouse_tests.conftest import Stack


def clear(stack: Stack, domain: Domain) -> None:
    """Drop a domain's tables and topics, the letters about these, and what was pulled of an API of its name.

    A topic that is made again begins at offset 0, and a record at the place of one that was refused is taken to be
    that one: a letter that stays would cost a test that comes later its message.
    """
    catalog, admin = connect(load()), open_admin(load())
    names = [topic.name for topic in TOPICS if topic.domain is domain]
    if there := [name for name in names if describe_topic(admin, name)]:
        for done in admin.delete_topics(there).values():
            done.result()
    while any(describe_topic(admin, name) for name in there):
        time.sleep(0.1)
    for table in TABLES:
        if table.domain is domain and catalog.table_exists(table.identifier):
            catalog.drop_table(table.identifier)
    if catalog.table_exists(DEAD_LETTERS.identifier):
        sources = [str(domain), *names]
        marks = ", ".join("?" for _ in sources)
        stack.sql(f"delete from {DEAD_LETTERS.sql} where coalesce(kafka_topic, source) in ({marks})", *sources)
    if catalog.table_exists(PULLS.identifier):
        stack.sql(f"delete from {PULLS.sql} where source = ?", str(domain))
