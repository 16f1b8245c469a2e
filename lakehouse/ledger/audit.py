"""The audit: is every offset of every topic in a table or among the dead letters, exactly once?

It counts for itself. The ledger's numbers are one of the things it checks, never what it checks them with; where
offsets are missing it asks the brokers whether a record is there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from lakehouse.adapters.iceberg.catalog import find_table
from lakehouse.adapters.kafka.client import TopicState
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.contracts.duplicate import DUPLICATE
from lakehouse.ledger.account import Account, Probe, Report, draw_up, from_position
from lakehouse.ledger.api import Api
from lakehouse.ledger.census import Census, Key, count_erased, take_census, write_mark
from lakehouse.ledger.commit import COMMIT_ID
from lakehouse.ledger.dead_letters import find_dead_letters
from lakehouse.ledger.deliveries import completed, under_way
from lakehouse.ledger.feed import Feed
from lakehouse.ledger.history import commits
from lakehouse.ledger.origin import is_delivery
from lakehouse.ledger.pulled import pull_accounts
from lakehouse.ledger.state import Entry, read_entries, read_losses, read_replayed, read_sources
from lakehouse.ledger.streamed import Landed, queue_accounts, stream_accounts
from lakehouse.ledger.writer import gaps
from lakehouse.naming import TableName
from lakehouse.streaming.landing import Landing


def audit(
    catalog: Catalog,
    feeds: Collection[Feed],
    topics: Callable[[str], TopicState | None],
    probe: Probe,
    *,
    pipelines: Collection[Landing] = (),
    apis: Collection[Api] = (),
    settled_before: datetime | None = None,
    deep: bool = False,
) -> Report:
    """Audit every feed, every stream and every API.

    Args:
        catalog: Where the tables are.
        feeds: What is read by micro-batches.
        topics: Says what the brokers know about a topic; may raise `LakehouseError` when they are away.
        probe: Asks the brokers about missing offsets.
        pipelines: What streams land.
        apis: What is pulled.
        settled_before: What came before this time must have been landed by its stream. Not given: nothing must.
        deep: Read every file, also those that an earlier audit has verified.
    """
    deeper = partial(
        audit, catalog, feeds, topics, probe, pipelines=pipelines, apis=apis, settled_before=settled_before, deep=True
    )
    names: dict[TableName, list[str]] = {}
    for feed in feeds:
        names.setdefault(feed.contract.table, []).append(feed.topic_name)
    before = {name: completed(catalog, name) for name in names}
    # In this order: letters are committed before the rows of their batch, so they reach at least as far.
    tables = {name: find_table(catalog, name) for name in names}
    letters_table = find_dead_letters(catalog)
    letters = take_census(letters_table, deep=deep)
    censuses = {name: take_census(table, deep=deep) for name, table in tables.items()}
    streamed = {pipeline: find_table(catalog, pipeline.contract.table) for pipeline in pipelines}
    duplicates_table = find_table(catalog, DUPLICATE.table) if pipelines else None
    duplicates = take_census(duplicates_table, deep=deep)
    streams = {pipeline: take_census(table, deep=deep) for pipeline, table in streamed.items()}
    read = {topic for topics_ in names.values() for topic in topics_}
    read |= {topic for pipeline in pipelines for topic in (pipeline.topic.name, pipeline.refused.name)}
    if _marks_differ(letters, [*censuses.values(), *streams.values()], read):
        return deeper()
    if _marks_differ(duplicates, streams.values(), read):
        return deeper()
    deliveries = {
        name: _deliveries(table, before[name], completed(catalog, name), censuses[name])
        for name, table in tables.items()
    }
    # A replay is held against the dead letters, of which a quick audit reads the new ones only.
    if not deep and any(rows.replayed for rows in censuses.values()):
        return deeper()
    if not deep and _is_doubtful(deliveries.values(), censuses.values(), letters):
        return deeper()
    accounts: list[Account] = []
    verified: list[tuple[Table, Census, dict[Key, int]]] = []
    for name, table in tables.items():
        rows = censuses[name]
        found = [
            account for topic in names[name] for account in _accounts(topic, table, rows, letters, topics(topic), probe)
        ]
        # What was landed from a topic that no feed reads any more is accounted for by the tables alone.
        for topic in sorted(_topics(table, rows) - set(names[name])):
            found += _accounts(topic, table, rows, letters, None, None)
        open_ = under_way(table) if table is not None else {}
        delivered = list(_delivery_accounts(deliveries[name], open_, rows, letters))
        if not deep and not all(account.closes for account in delivered):
            return deeper()
        found += delivered
        if table is not None:
            found += _table_account(catalog, name, table, rows)
        accounts += found
        if table is not None and all(account.closes for account in found):
            verified.append((table, rows, _positions(found)))
    for pipeline, table in streamed.items():
        landed = Landed(streams[pipeline], duplicates, letters)
        found = _stream_accounts(pipeline, table, landed, letters_table, topics, probe, settled_before)
        if table is not None:
            found += _table_account(catalog, pipeline.contract.table, table, landed.rows)
            if all(account.closes for account in found) and _is_covered(landed.rows, _positions(found)):
                verified.append((table, landed.rows, _positions(found)))
        accounts += found
    positions = _positions(accounts)
    deliveries_known = {(source, 0) for entries in deliveries.values() for source in entries}
    shared = [(t, census) for t, census in ((letters_table, letters), (duplicates_table, duplicates)) if t is not None]
    # All marks move together or not at all: a table is compared with what it shares with others, as of the same offset.
    # So an audit of one domain leaves them as they are where others have something in the shared tables.
    if all(account.closes for account in accounts) and all(
        _is_covered(census, positions, deliveries_known) for _, census in shared
    ):
        for marked, census, reached in (*verified, *((table, census, positions) for table, census in shared)):
            _remember(marked, census, reached)
    accounts += [account for api in apis for account in pull_accounts(catalog, api, deep=deep)]
    counted = {name: table for name, table in (*tables.items(), *((p.contract.table, t) for p, t in streamed.items()))}
    counted[DEAD_LETTER.table] = letters_table
    erased = {str(name): count_erased(table) for name, table in counted.items() if table is not None}
    return Report(accounts, {name: count for name, count in erased.items() if count})


def _stream_accounts(
    pipeline: Landing,
    table: Table | None,
    landed: Landed,
    letters_table: Table | None,
    topics: Callable[[str], TopicState | None],
    probe: Probe,
    settled_before: datetime | None,
) -> list[Account]:
    """The accounts of what a stream reads, and of the queue of what it refuses."""
    topic, queue = pipeline.topic.name, pipeline.refused.name
    settled_before = settled_before or datetime.min.replace(tzinfo=UTC)
    ledger = read_entries(letters_table.properties, queue) if letters_table is not None else {}
    through = {key for key in (*landed.letters.offsets, *landed.letters.verified) if key[0] in (topic, queue)}
    count = sum(landed.letters.rows(key) for key in through)
    queued = list(queue_accounts(queue, ledger, count, topics(queue), probe, settled_before))
    landed = replace(landed, queued=sum(account.in_flight for account in queued))
    properties = table.properties if table is not None else {}
    entries, losses = read_entries(properties, topic), read_losses(properties, topic)
    return [*stream_accounts(topic, entries, losses, landed, topics(topic), probe, settled_before), *queued]


def _is_covered(census: Census, positions: Mapping[Key, int], others: Collection[Key] = ()) -> bool:
    """Whether all that a table holds is before the positions that were verified."""
    return {*census.offsets, *census.verified} <= {*positions, *others} and not any(
        len(from_position(census.of(key), position)) for key, position in positions.items()
    )


def _table_account(catalog: Catalog, name: TableName, table: Table, rows: Census) -> Iterable[Account]:
    """What is known of a table as a whole: rows that no ledger speaks of, and how many are made of dead letters."""
    account = Account(str(name), None, direct=rows.direct)
    if account.direct:
        account.written_by = _foreign_commits(catalog, name)
    replayed = sum(rows.replays(key) for key in {*rows.replayed, *rows.verified_replays})
    if replayed != (counted := read_replayed(table.properties)):
        account.gaps.append(f"ledger counts {counted} replayed rows, the table holds {replayed}")
    if account.direct or account.gaps:
        yield account


def _foreign_commits(catalog: Catalog, name: TableName) -> list[str]:
    """Commits that added rows and are none of ours, in words."""
    found = []
    for commit in commits(catalog, name):
        said = commit.summary
        if commit.brings_rows and COMMIT_ID not in said:
            who = " ".join(said[key] for key in ("engine-name", "trino_user", "trino_query_id") if key in said)
            when = f"{commit.at:%Y-%m-%d %H:%M:%S} UTC"
            found.append(f"snapshot {commit.snapshot_id} of {when} by {who or '?'}: {commit.added_rows} rows")
    return found


def _topics(table: Table | None, rows: Census) -> set[str]:
    landed = {source for source, _ in (*rows.offsets, *rows.verified)}
    sources = landed | (read_sources(table.properties) if table is not None else set())
    return {source for source in sources if not is_delivery(source)}


def _deliveries(
    table: Table | None, before: dict[str, Entry], after: dict[str, Entry], rows: Census
) -> dict[str, Entry]:
    """Accounts of the deliveries as of the moment at which the table was read.

    One that was completed meanwhile is in the table whole, in part or not at all: in part, its properties say how far.
    """
    landed = {source for source, _ in rows.offsets}
    new = {source: entry for source, entry in after.items() if source in landed}
    nowhere = {source: Entry("", first=0, position=0) for source in landed if is_delivery(source)}
    return nowhere | before | new | (under_way(table) if table is not None else {})


def _is_doubtful(deliveries: Iterable[dict[str, Entry]], censuses: Iterable[Census], letters: Census) -> bool:
    """Whether deliveries that were verified before must be looked at again: the totals do not match."""

    def seen(census: Census) -> int:
        keys = {key for key in (*census.offsets, *census.verified) if is_delivery(key[0])}
        return census.delivered + sum(census.rows(key) for key in keys)

    deliveries = list(deliveries)
    rows = [sum(entry.rows for entry in entries.values()) for entries in deliveries]
    refused = sum(entry.dead_letters for entries in deliveries for entry in entries.values())
    return rows != [seen(census) for census in censuses] or refused != seen(letters)


def _delivery_accounts(
    entries: dict[str, Entry], under_way: Collection[str], rows: Census, letters: Census
) -> Iterable[Account]:
    """Accounts of deliveries. One that is under way is verified as far as it goes, like a partition of a topic."""
    for source, entry in sorted(entries.items()):
        key = (source, 0)
        is_new = len(rows.of(key)) or len(letters.of(key)) or key in rows.verified
        if rows.delivered and not is_new:
            account = Account(source, None, entry.first, entry.position, bronze=entry.rows)
            account.replayed = rows.replays(key)
            account.dead_letters, account.skipped = entry.dead_letters - account.replayed, entry.skipped
        else:
            account = draw_up(source, 0, entry, rows, letters, None)
        yield replace(account, partition=0 if source in under_way else None)


def _positions(accounts: Iterable[Account]) -> dict[Key, int]:
    return {(a.source, a.partition): a.position for a in accounts if a.partition is not None}


def _marks_differ(shared: Census, censuses: Iterable[Census], read: Collection[str]) -> bool:
    """Whether what a shared table has was verified further or less far than its rows, so that neither can be skipped.

    What it has of sources that this audit does not read is none of its business.
    """
    verified = {key: position for rows in censuses for key, (_, position) in rows.verified.items()}
    own = {*read, *(source for source, _ in verified)}
    return any(verified.get(key) != at for key, (_, at) in shared.verified.items() if key[0] in own)


def _remember(table: Table, census: Census, positions: dict[Key, int]) -> None:
    # Someone else committed meanwhile: then the next audit reads a little more.
    with contextlib.suppress(CommitFailedException):
        write_mark(table, census, positions)


def _accounts(
    topic: str, table: Table | None, rows: Census, letters: Census, state: TopicState | None, probe: Probe | None
) -> Iterable[Account]:
    entries = read_entries(table.properties, topic) if table is not None else {}
    troubles = gaps(topic, entries, state) if probe is not None else []
    known = {p for t, p in (*rows.offsets, *letters.offsets) if t == topic}
    for partition in sorted(known | set(entries) | set(state.partitions if state else ())):
        account = draw_up(topic, partition, entries.get(partition), rows, letters, probe if state else None)
        bounds = state.partitions.get(partition) if state else None
        if bounds:
            account.end = bounds.end
            account.first = account.first if partition in entries else bounds.low
            account.position = account.position if partition in entries else bounds.low
            account.in_flight = max(0, bounds.end - max(account.position, bounds.low))
        account.gaps += [text for text in troubles if text.startswith(f"{topic}[{partition}]")]
        yield account
