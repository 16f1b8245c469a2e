"""The audit: is every offset of every topic in a table or among the dead letters, exactly once?

It counts for itself. The ledger's numbers are one of the things it checks, never what it checks them with; where
offsets are missing it asks the brokers whether a record is there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation

from lakehouse.adapters.iceberg.catalog import find_table
from lakehouse.adapters.kafka.client import TopicState
from lakehouse.ledger.census import Census, Key, take_census, write_mark
from lakehouse.ledger.commit import COMMIT_ID
from lakehouse.ledger.dead_letters import find_dead_letters
from lakehouse.ledger.deliveries import completed, under_way
from lakehouse.ledger.feed import Feed
from lakehouse.ledger.offsets import Interval, length, missing, repeated
from lakehouse.ledger.origin import is_delivery
from lakehouse.ledger.state import Entry, read_entries, read_replayed, read_sources
from lakehouse.ledger.writer import gaps
from lakehouse.naming import TableName

Probe = Callable[[str, int, Interval], list[int]]
"""Asks the brokers which offsets of an interval hold a committed record: topic, partition, interval → offsets."""

SHOWN = 5
"""Offsets named in a message."""


@dataclass
class Account:
    """The account of one source and partition."""

    source: str
    partition: int | None
    first: int = 0
    position: int = 0
    end: int | None = None
    """Offset the next record will get; None when the brokers did not answer."""
    in_flight: int = 0
    """Records on the topic that were not read yet. Not a gap."""
    bronze: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    replayed: int = 0
    skipped: int = 0
    lost: int = 0
    direct: int = 0
    """Rows written outside any ledger, by SQL; counted on the account of their table."""
    written_by: list[str] = field(default_factory=list)
    """Commits that wrote such rows, newest first, as far as the table's history goes."""
    gaps: list[str] = field(default_factory=list)
    """What is wrong, in words; empty when the account closes."""

    @property
    def name(self) -> str:
        """Source and partition for people."""
        return self.source if self.partition is None else f"{self.source}[{self.partition}]"

    @property
    def closes(self) -> bool:
        """Whether every offset up to the position is accounted for, once."""
        return not self.gaps


@dataclass
class Report:
    """All accounts and the verdict."""

    accounts: list[Account]

    @property
    def verdict(self) -> str:
        """``complete`` or ``incomplete``."""
        return "complete" if all(account.closes for account in self.accounts) else "incomplete"

    @property
    def in_flight(self) -> int:
        """Records that wait on their topics."""
        return sum(account.in_flight for account in self.accounts)

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {"verdict": self.verdict, "accounts": [asdict(account) for account in self.accounts]}


def audit(
    catalog: Catalog,
    feeds: Iterable[Feed],
    topics: Callable[[str], TopicState | None],
    probe: Probe,
    *,
    deep: bool = False,
) -> Report:
    """Audit every feed.

    Args:
        catalog: Where the tables are.
        feeds: What to audit.
        topics: Says what the brokers know about a topic; may raise `LakehouseError` when they are away.
        probe: Asks the brokers about missing offsets.
        deep: Read every file, also those that an earlier audit has verified.
    """
    names: dict[TableName, list[str]] = {}
    for feed in (feeds := list(feeds)):
        names.setdefault(feed.contract.table, []).append(feed.topic_name)
    before = {name: completed(catalog, name) for name in names}
    # In this order: letters are committed before the rows of their batch, so they reach at least as far.
    tables = {name: find_table(catalog, name) for name in names}
    letters_table = find_dead_letters(catalog)
    letters = take_census(letters_table, deep=deep)
    censuses = {name: take_census(table, deep=deep) for name, table in tables.items()}
    if _marks_differ(letters, censuses.values()):
        return audit(catalog, feeds, topics, probe, deep=True)
    deliveries = {
        name: _deliveries(table, before[name], completed(catalog, name), censuses[name])
        for name, table in tables.items()
    }
    # A replay is held against the dead letters, of which a quick audit reads the new ones only.
    if not deep and any(rows.replayed for rows in censuses.values()):
        return audit(catalog, feeds, topics, probe, deep=True)
    if not deep and _is_doubtful(deliveries.values(), censuses.values(), letters):
        return audit(catalog, feeds, topics, probe, deep=True)
    is_settled = not any(under_way(table) for table in tables.values() if table is not None)
    accounts: list[Account] = []
    for name, table in tables.items():
        rows = censuses[name]
        found = [
            account for topic in names[name] for account in _accounts(topic, table, rows, letters, topics(topic), probe)
        ]
        # What was landed from a topic that no feed reads any more is accounted for by the tables alone.
        for topic in sorted(_topics(table, rows) - set(names[name])):
            found += _accounts(topic, table, rows, letters, None, None)
        delivered = list(_delivery_accounts(deliveries[name], rows, letters))
        if not deep and not all(account.closes for account in delivered):
            return audit(catalog, feeds, topics, probe, deep=True)
        found += delivered
        if table is not None:
            found += _table_account(name, table, rows)
        accounts += found
        if table is not None and is_settled and all(account.closes for account in found):
            _remember(table, rows, _positions(found))
    positions = _positions(accounts)
    known = {*positions, *((source, 0) for entries in deliveries.values() for source in entries)}
    is_covered = {*letters.offsets, *letters.verified} <= known and not any(
        len(_from(letters.of(key), position)) for key, position in positions.items()
    )
    if letters_table is not None and is_settled and is_covered and all(account.closes for account in accounts):
        _remember(letters_table, letters, positions)
    return Report(accounts)


def _table_account(name: TableName, table: Table, rows: Census) -> Iterable[Account]:
    """What is known of a table as a whole: rows that no ledger speaks of, and how many are made of dead letters."""
    account = Account(str(name), None, direct=rows.direct)
    if account.direct:
        account.written_by = _foreign_commits(table)
    replayed = sum(rows.replays(key) for key in {*rows.replayed, *rows.verified_replays})
    if replayed != (counted := read_replayed(table.properties)):
        account.gaps.append(f"ledger counts {counted} replayed rows, the table holds {replayed}")
    if account.direct or account.gaps:
        yield account


def _foreign_commits(table: Table) -> list[str]:
    """Commits that added rows and are none of ours, in words."""
    found = []
    for snapshot in reversed(table.snapshots()):
        summary = snapshot.summary
        if summary is None or summary.operation not in (Operation.APPEND, Operation.OVERWRITE):
            continue
        said = summary.additional_properties
        if COMMIT_ID not in said and (rows := int(said.get("added-records", "0"))):
            at = datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)
            who = " ".join(said[key] for key in ("engine-name", "trino_user", "trino_query_id") if key in said)
            found.append(f"snapshot {snapshot.snapshot_id} of {at:%Y-%m-%d %H:%M:%S} UTC by {who or '?'}: {rows} rows")
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
        new = sum(len(offsets) for (source, _), offsets in census.offsets.items() if is_delivery(source))
        return census.delivered + new

    deliveries = list(deliveries)
    rows = [sum(entry.rows for entry in entries.values()) for entries in deliveries]
    refused = sum(entry.dead_letters for entries in deliveries for entry in entries.values())
    return rows != [seen(census) for census in censuses] or refused != seen(letters)


def _delivery_accounts(entries: dict[str, Entry], rows: Census, letters: Census) -> Iterable[Account]:
    for source, entry in sorted(entries.items()):
        key = (source, 0)
        if rows.delivered and not len(rows.of(key)) and not len(letters.of(key)):
            account = Account(source, None, entry.first, entry.position, bronze=entry.rows)
            account.replayed = rows.replays(key)
            account.dead_letters, account.skipped = entry.dead_letters - account.replayed, entry.skipped
        else:
            account = replace(_account(source, 0, entry, rows, letters, None), partition=None)
        yield account


def _positions(accounts: Iterable[Account]) -> dict[Key, int]:
    return {(a.source, a.partition): a.position for a in accounts if a.partition is not None}


def _marks_differ(letters: Census, censuses: Iterable[Census]) -> bool:
    """Whether letters were verified further or less far than their rows, so that neither can be skipped."""
    verified = {key: position for rows in censuses for key, (_, position) in rows.verified.items()}
    return any(verified.get(key) != position for key, (_, position) in letters.verified.items())


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
        account = _account(topic, partition, entries.get(partition), rows, letters, probe if state else None)
        bounds = state.partitions.get(partition) if state else None
        if bounds:
            account.end = bounds.end
            account.first = account.first if partition in entries else bounds.low
            account.position = account.position if partition in entries else bounds.low
            account.in_flight = max(0, bounds.end - max(account.position, bounds.low))
        account.gaps += [text for text in troubles if text.startswith(f"{topic}[{partition}]")]
        yield account


def _account(
    topic: str, partition: int, entry: Entry | None, rows: Census, letters: Census, probe: Probe | None
) -> Account:
    key = (topic, partition)
    account = Account(topic, partition, bronze=rows.rows(key))
    if entry is None:
        if account.bronze:
            account.gaps.append("rows with coordinates, but no ledger speaks of them")
        return account
    # A letter may be ahead of the ledger: it is committed first. It is counted when its batch is, and when it was
    # replayed, then as that.
    account.replayed = rows.replays(key)
    account.dead_letters = letters.rows(key) - len(_from(letters.of(key), entry.position)) - account.replayed
    account.first, account.position = entry.first, entry.position
    account.skipped, account.lost = entry.skipped, entry.lost
    account.gaps += _misplaced("bronze", rows.of(key), rows.verified_to(key, entry.first), entry.position)
    account.gaps += _misplaced("dead letters", letters.of(key), letters.verified_to(key, entry.first), entry.position)
    account.gaps += _unaccounted(key, entry, rows, letters, probe)
    account.gaps += _wrong_replays(rows.replayed.get(key), letters.of(key))
    account.gaps += _wrong_counters(account, entry)
    return account


def _misplaced(where: str, offsets: pa.Array, start: int, position: int) -> Iterable[str]:
    """Rows where none should be: twice, before what was verified, or behind the ledger."""
    if len(twice := repeated(offsets)):
        yield f"{where}: {len(twice)} offsets more than once: {_some(twice)}"
    if len(before := offsets.filter(pc.less(offsets, start))):
        yield f"{where}: {len(before)} offsets again that were verified before: {_some(before)}"
    if where == "bronze" and len(ahead := _from(offsets, position)):
        yield f"{where}: {len(ahead)} offsets behind the ledger's position {position}: {_some(ahead)}"


def _unaccounted(key: Key, entry: Entry, rows: Census, letters: Census, probe: Probe | None) -> Iterable[str]:
    """Offsets in neither table that hold a record, and offsets in both."""
    start = rows.verified_to(key, entry.first)
    offsets = pa.concat_arrays([pc.unique(rows.of(key)), pc.unique(letters.of(key))])
    inside = pc.and_(pc.greater_equal(offsets, start), pc.less(offsets, entry.position))
    offsets = offsets.filter(inside)
    offsets = offsets.take(pc.sort_indices(offsets))
    if len(both := repeated(offsets)):
        yield f"{len(both)} offsets in bronze and among the dead letters: {_some(both)}"
    absent = missing(offsets, start, entry.position)
    allowed = entry.skipped + entry.lost
    if length(absent) > allowed:
        yield (
            f"{length(absent)} offsets are nowhere, {allowed} of them explained as skipped or lost: "
            + ", ".join(f"{a}..{b - 1}" for a, b in absent[:SHOWN])
        )
    elif absent and probe is not None:
        # The ledger says that no record is there. The brokers know.
        held = [offset for interval in absent for offset in probe(*key, interval)]
        if held:
            yield f"{len(held)} offsets hold a record, but were skipped: {_some(pa.array(held))}"


def _wrong_replays(replayed: pa.Array | None, letters: pa.Array) -> Iterable[str]:
    """Rows that say they were made of dead letters, twice or of none."""
    if replayed is None:
        return
    if len(twice := repeated(replayed)):
        yield f"bronze: {len(twice)} offsets replayed more than once: {_some(twice)}"
    if len(strange := replayed.filter(pc.invert(pc.is_in(replayed, letters)))):
        yield f"bronze: {len(strange)} rows were replayed of no dead letter: {_some(strange)}"


def _wrong_counters(account: Account, entry: Entry) -> Iterable[str]:
    """Where the ledger's numbers do not add up, or say something else than what was counted."""
    if entry.position - entry.first != entry.delivered + entry.skipped + entry.lost:
        yield (
            f"ledger: {entry.first}..{entry.position} is {entry.position - entry.first} offsets, but delivered "
            f"{entry.delivered} + skipped {entry.skipped} + lost {entry.lost} do not add up to it"
        )
    if account.bronze != entry.rows:
        yield f"ledger counts {entry.rows} rows, the table holds {account.bronze}"
    if (letters := account.dead_letters + account.replayed) != entry.dead_letters:
        yield f"ledger counts {entry.dead_letters} dead letters, the table holds {letters}"


def _from(offsets: pa.Array, position: int) -> pa.Array:
    return offsets.filter(pc.greater_equal(offsets, position))


def _some(offsets: Sequence[int] | pa.Array) -> str:
    shown = ", ".join(str(offset) for offset in offsets[:SHOWN])
    return shown + (", …" if len(offsets) > SHOWN else "")
