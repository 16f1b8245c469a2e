"""Acknowledging that records are lost: the one way past a gap, and it leaves a record of who did it and why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.adapters.kafka.client import TopicState
from lakehouse.contracts.arrow import arrow_schema
from lakehouse.contracts.contract import Contract
from lakehouse.errors import LakehouseError, LedgerGapError
from lakehouse.ledger.account import Account
from lakehouse.ledger.commit import LostRace, append
from lakehouse.ledger.feed import Feed
from lakehouse.ledger.state import Entry, loss_property, read_entries, read_losses, to_properties


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
    entries = _entries(table, topic, state)
    losses = _losses(entries, state)
    if losses:
        _commit(table, feed, topic, entries, losses, _record(who, why), state)
    return losses


def acknowledge_gone(
    catalog: Catalog,
    contract: Contract,
    topic: str,
    state: TopicState,
    accounts: Iterable[Account],
    *,
    who: str,
    why: str,
) -> list[Loss]:
    """Count what a stream's topic holds no more, and what is nowhere else, as lost: its account goes on behind it.

    The table's properties say who acknowledged it, when and why. A stream that is started afterwards reads on.

    Args:
        catalog: Where the tables are.
        contract: Of the table that the stream lands.
        topic: What it reads.
        state: What the brokers know of the topic.
        accounts: The topic's, as the audit has just drawn them up.
        who: Who acknowledges it.
        why: Kept beside the name.

    Returns:
        What was acknowledged; empty when there is nothing to.

    Raises:
        LedgerGapError: the topic is another one than the account speaks of.
    """
    table = ensure_table(catalog, contract)
    _entries(table, topic, state)
    losses = [Loss(account.partition or 0, *interval) for account in accounts for interval in account.gone]
    if losses:
        with table.transaction() as transaction:
            transaction.set_properties(_to_properties(topic, losses, _record(who, why)))
    return losses


def last_acknowledged(properties: Mapping[str, str], topic: str) -> datetime | None:
    """When losses of a topic were acknowledged last (UTC)."""
    records = (record for losses in read_losses(properties, topic).values() for record in losses.values())
    return max((datetime.fromisoformat(record["at"]) for record in records), default=None)


def _entries(table: Table, topic: str, state: TopicState) -> dict[int, Entry]:
    entries = read_entries(table.properties, topic)
    if any(entry.topic_id != state.topic_id for entry in entries.values()):
        raise LedgerGapError(
            f"{topic} was deleted and created again: its offsets name other records now, so there is nothing to "
            "acknowledge. Let the producers write to a topic of another name, and set KAFKA_TOPIC."
        )
    return entries


def _record(who: str, why: str) -> str:
    return json.dumps({"who": who, "why": why, "at": datetime.now(UTC).isoformat()})


def _to_properties(topic: str, losses: Iterable[Loss], record: str) -> dict[str, str]:
    return {loss_property(topic, loss.partition, (loss.start, loss.end)): record for loss in losses}


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
    record: str,
    state: TopicState,
) -> None:
    moved = {}
    for loss in losses:
        entry = entries.get(loss.partition) or Entry(state.topic_id, first=loss.start, position=loss.start)
        moved[loss.partition] = replace(entry, position=loss.end, lost=entry.lost + loss.end - loss.start)
    empty: pa.Table = arrow_schema(feed.contract).empty_table()
    properties = to_properties(topic, moved) | _to_properties(topic, losses, record)
    try:
        append(table, empty, properties, {"lakehouse.acknowledged": record})
    except LostRace:
        raise LakehouseError(f"a writer is at work on {feed.contract.table}: try again") from None
