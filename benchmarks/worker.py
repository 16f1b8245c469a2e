"""The product's micro-batch worker in a process of its own: describe, start, drain, append."""

from __future__ import annotations

import argparse
from dataclasses import replace

from benchmarks.child import Child
from lakehouse import settings as settings_module
from lakehouse.adapters.iceberg.catalog import open_catalog
from lakehouse.adapters.kafka.client import TopicState, describe_topic, open_admin, open_consumer
from lakehouse.adapters.kafka.drain import Limits, drain
from lakehouse.contracts.contract import Contract
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.ledger.writer import LedgeredWriter
from lakehouse.naming import Domain, Layer, TableName


def contract_for(table: str) -> Contract:
    """The service event's contract, for a table of another name."""
    return replace(SERVICE_EVENT, table=TableName(Layer.BRONZE, table, Domain.PGR))


def work(topic: str, table: str, *, until_idle: bool) -> None:
    """Land the topic in the table.

    Args:
        topic: Name of the topic.
        table: Name of the bronze table.
        until_idle: End as a run ends, after an idle time, instead of where the topic ended at the start.
    """
    settings = settings_module.load()
    admin, catalog, consumer = open_admin(settings), open_catalog(settings), open_consumer(settings)
    child = Child()
    state = describe_topic(admin, topic)
    if state is None:
        raise SystemExit(f"topic {topic} does not exist")
    writer = LedgeredWriter(catalog, contract_for(table), topic, run_id="benchmark")
    limits = Limits(settings.batch_size, settings.flush_interval_sec, settings.drain_idle_sec, settings.drain_max_sec)
    rows = letters = commits = 0
    landing = writer.append_all(drain(consumer, topic, state.topic_id, writer.start(state), limits))
    for commit in landing:
        rows, letters, commits = rows + commit.rows, letters + commit.dead_letters, commits + 1
        child.progress(rows + letters)
        if not until_idle and _is_at_end(writer, state):
            break
    child.done(rows, commits, dead_letters=letters)
    consumer.close()


def _is_at_end(writer: LedgeredWriter, state: TopicState) -> bool:
    entries = writer.entries()
    return all(
        bounds.end == 0 or (partition in entries and entries[partition].position >= bounds.end)
        for partition, bounds in state.partitions.items()
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("topic")
    parser.add_argument("table")
    parser.add_argument("--until-idle", action="store_true")
    arguments = parser.parse_args()
    work(arguments.topic, arguments.table, until_idle=arguments.until_idle)
