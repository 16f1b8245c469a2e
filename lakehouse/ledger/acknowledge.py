"""Acknowledging that records are lost: the one way past a gap, and it leaves a record of who did it and why."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.adapters.kafka.client import TopicState
from lakehouse.contracts.arrow import arrow_schema
from lakehouse.errors import LakehouseError, LedgerGapError
from lakehouse.ledger.commit import LostRace, append
from lakehouse.ledger.feed import Feed
from lakehouse.ledger.state import Entry, property_name, read_entries, to_properties


@dataclass(frozen=True)
class Loss:
    """Offsets ``start ≤ offset < end`` of a partition that were deleted before they were read."""

    partition: int
    start: int
    end: int


def acknowledge_lost(catalog: Catalog, feed: Feed, topic: str, state: TopicState, *, who: str, why: str) -> list[Loss]:
    """Move the ledger over offsets that retention deleted before they were read, counting them as lost.

    The same commit records who acknowledged it, when and why, in the table's properties.

    Returns:
        What was acknowledged; empty when there is nothing to.

    Raises:
        LedgerGapError: the topic is another one than the ledger speaks of; its offsets would be taken for the old ones.
        LakehouseError: a writer is at work on the table.
    """
    table = ensure_table(catalog, feed.contract)
    entries = read_entries(table.properties, topic)
    if any(entry.topic_id != state.topic_id for entry in entries.values()):
        raise LedgerGapError(
            f"{topic} was deleted and created again: its offsets name other records now, so there is nothing to "
            "acknowledge. Let the producers write to a topic of another name, and set KAFKA_TOPIC."
        )
    losses = _losses(entries, state)
    if losses:
        _commit(
            table, feed, topic, entries, losses, {"who": who, "why": why, "at": datetime.now(UTC).isoformat()}, state
        )
    return losses


def _losses(entries: dict[int, Entry], state: TopicState) -> list[Loss]:
    losses = []
    for partition, bounds in sorted(state.partitions.items()):
        start = entries[partition].position if partition in entries else 0
        if entries and bounds.low > start:
            losses.append(Loss(partition, start, bounds.low))
    return losses


def _commit(
    table: Table,
    feed: Feed,
    topic: str,
    entries: dict[int, Entry],
    losses: list[Loss],
    record: dict[str, str],
    state: TopicState,
) -> None:
    moved, records = {}, {}
    for loss in losses:
        entry = entries.get(loss.partition) or Entry(state.topic_id, first=loss.start, position=loss.start)
        moved[loss.partition] = replace(entry, position=loss.end, lost=entry.lost + loss.end - loss.start)
        records[f"{property_name(topic, loss.partition)}.lost.{loss.start}-{loss.end}"] = json.dumps(record)
    empty: pa.Table = arrow_schema(feed.contract).empty_table()
    try:
        append(table, empty, {**to_properties(topic, moved), **records}, {"lakehouse.acknowledged": json.dumps(record)})
    except LostRace:
        raise LakehouseError(f"a writer is at work on {feed.contract.table}: try again") from None
