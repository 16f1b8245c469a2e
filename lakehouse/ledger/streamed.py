"""The account of a topic that a stream lands: each of its offsets in bronze, among the repeats or the dead letters.

A stream keeps no ledger beside its rows: that a record was landed is said by a coordinate in one of the three places,
and that one was not by the brokers. It commits to the places one after the other, and what it refuses goes through a
queue, so what came lately may be in none of them for a while: the account goes up to the first such record, and what
is there longer than it may be is named.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.table import Table

from lakehouse.adapters.iceberg.filters import equal
from lakehouse.adapters.kafka.client import PartitionState, TopicState
from lakehouse.errors import LakehouseError
from lakehouse.ledger.account import Account, Probe, from_position, misplaced, some
from lakehouse.ledger.census import Census, Key
from lakehouse.ledger.offsets import Interval, length, missing, repeated, within, without
from lakehouse.ledger.state import Entry, read_entries, to_properties
from lakehouse.ledger.writer import first_offset, gaps
from lakehouse.settings import Settings

LOOK_AHEAD = 1_000
"""Offsets that are looked at in one go for records that wait."""
PATIENCE = 3
"""Checkpoints after which a record must be landed."""


def settled_before(settings: Settings) -> datetime:
    """The time before which what came to a stream must have been landed."""
    return datetime.now(UTC) - timedelta(seconds=PATIENCE * settings.checkpoint_sec)


def write_start(table: Table, topic: str, state: TopicState) -> None:
    """Write down where a stream's account of its topic begins, for partitions that it has not read before.

    Raises:
        LakehouseError: the topic is not the one that was read before.
    """
    entries = read_entries(table.properties, topic)
    if any(entry.topic_id != state.topic_id for entry in entries.values()):
        raise LakehouseError(
            f"{topic} was deleted and created again since it was last read: its offsets begin anew, and the stream "
            f"would pass over as many records as it had read. `lakehouse audit` shows what {table.name()[-1]} holds"
        )
    new = {
        partition: Entry(state.topic_id, first=first, position=first)
        for partition, bounds in state.partitions.items()
        if partition not in entries
        for first in (first_offset(entries, bounds.low),)
    }
    if new:
        with table.transaction() as transaction:
            transaction.set_properties(to_properties(topic, new))


def next_offsets(table: Table, topic: str, snapshot_id: int) -> dict[int, int]:
    """The offset after the last one of each partition of a topic that a table held at a snapshot.

    A stream commits a prefix of every partition, so all before it had been read by then.
    """
    rows = table.scan(
        row_filter=equal("kafka_topic", topic),
        selected_fields=("kafka_partition", "kafka_offset"),
        snapshot_id=snapshot_id,
    ).to_arrow()
    last = rows.group_by("kafka_partition").aggregate([("kafka_offset", "max")])
    return {row["kafka_partition"]: row["kafka_offset_max"] + 1 for row in last.to_pylist()}


@dataclass(frozen=True)
class Landed:
    """The coordinates in the three places, and what waits on its way to the last of them."""

    rows: Census
    duplicates: Census
    letters: Census
    queued: int = 0
    """Refused records that wait in the queue."""

    @property
    def places(self) -> dict[str, Census]:
        """By name."""
        return {"bronze": self.rows, "duplicates": self.duplicates, "dead letters": self.letters}


def stream_accounts(
    topic: str,
    entries: Mapping[int, Entry],
    losses: Mapping[int, Collection[Interval]],
    landed: Landed,
    state: TopicState | None,
    probe: Probe,
    settled_before: datetime,
) -> Iterable[Account]:
    """The accounts of a topic's partitions.

    Args:
        topic: Its name.
        entries: Where each partition began, as written down when the stream was first started.
        losses: Offsets of each partition that were acknowledged as lost.
        landed: What the tables hold of it.
        state: What the brokers know of it; None when it is gone.
        probe: Asks them which offsets hold a record.
        settled_before: What came before this time must have been landed.
    """
    known = {p for census in landed.places.values() for t, p in (*census.offsets, *census.verified) if t == topic}
    reached: dict[int, Entry] = {}
    accounts = []
    for partition in sorted(known | set(entries) | set(state.partitions if state else ())):
        bounds = state.partitions.get(partition) if state else None
        first = entries[partition].first if partition in entries else first_offset(entries, bounds.low if bounds else 0)
        lost = losses.get(partition, ())
        account = _draw_up((topic, partition), first, bounds, lost, landed, probe, settled_before)
        if entries and (bounds or partition in entries):
            topic_id = next(iter(entries.values())).topic_id
            reached[partition] = Entry(topic_id, first=first, position=_reach((topic, partition), first, lost, landed))
        elif partition in known:
            account.gaps.append("rows with coordinates, but no start of the stream was written down")
        accounts.append(account)
    troubles = gaps(topic, reached, state)
    for account in accounts:
        account.gaps += [text for text in troubles if text.startswith(f"{account.name}:")]
    return accounts


def queue_accounts(
    queue: str,
    entries: Mapping[int, Entry],
    letters: int,
    state: TopicState | None,
    probe: Probe,
    settled_before: datetime,
) -> Iterable[Account]:
    """The accounts of a queue of refused records; its dead letters are those of the topic that it serves.

    Args:
        queue: Its name.
        entries: Its ledger, of the table of dead letters.
        letters: How many letters the table holds that came through it.
        state: What the brokers know of it; None when it is gone.
        probe: Asks them which offsets hold a record.
        settled_before: What came before this time must have been landed.
    """
    troubles = gaps(queue, entries, state)
    counted = sum(entry.dead_letters for entry in entries.values())
    for partition in sorted(set(entries) | set(state.partitions if state else ())):
        bounds = state.partitions.get(partition) if state else None
        start = first_offset(entries, bounds.low if bounds else 0)
        entry = entries.get(partition, Entry("", first=start, position=start))
        account = Account(queue, partition, entry.first, entry.position)
        account.duplicates, account.dead_letters = entry.repeats, entry.dead_letters
        account.skipped, account.lost = entry.skipped, entry.lost
        if bounds:
            account.end = bounds.end
            account.in_flight = max(0, bounds.end - max(entry.position, bounds.low))
            if waiting := next(_records((queue, partition), (entry.position, bounds.end), probe), None):
                account.gaps += _too_long(account.in_flight, waiting, settled_before, "Dagster's sensor lands them")
        account.gaps += [text for text in troubles if text.startswith(f"{account.name}:")]
        if letters != counted:
            account.gaps.append(f"ledger counts {counted} dead letters of this queue, the table holds {letters}")
        if entry.position - entry.first != entry.delivered + entry.skipped + entry.lost:
            account.gaps.append("ledger: its numbers do not add up to its position")
        yield account


def _draw_up(
    key: Key,
    first: int,
    bounds: PartitionState | None,
    lost: Collection[Interval],
    landed: Landed,
    probe: Probe,
    settled_before: datetime,
) -> Account:
    account = Account(*key, first=first, end=bounds.end if bounds else None)
    start = landed.rows.verified_to(key, first)
    verified, vanished = _verified(key, first, landed)
    offsets = pa.concat_arrays([pc.unique(census.of(key)) for census in landed.places.values()])
    offsets = offsets.take(pc.sort_indices(offsets))
    for where, census in landed.places.items():
        account.gaps += misplaced(where, census.of(key), census.verified_to(key, first))
    if len(twice := repeated(offsets)):
        account.gaps.append(f"{len(twice)} offsets in two places: {some(twice)}")
    reach = max(start, _reach(key, first, lost, landed))
    holes = without(missing(pc.unique(from_position(offsets, start)), start, reach), lost)
    low, end = (bounds.low, max(bounds.end, reach)) if bounds else (reach, reach)
    unknown = [(max(a, verified), min(b, low)) for a, b in holes if max(a, verified) < min(b, low)]
    held = {offset: at for a, b in holes if b > low for offset, at in probe(*key, (max(a, low), b)).items()}
    late = sorted(offset for offset, at in held.items() if at < settled_before)
    # What waits in the queue has passed the stream, and the queue's own account says for how long it may.
    allowed = max(0, landed.queued - len(late))
    behind = list(islice(_records(key, (reach, end), probe), allowed + 1))
    waiting = behind[0] if behind else None
    account.position = min([*held, waiting[0] if waiting else end])
    account.in_flight = len(held) + (end - reach if waiting else 0)

    def count(census: Census) -> int:
        ahead = from_position(census.of(key), account.position)
        return census.rows(key) - len(ahead)

    account.bronze, account.duplicates, account.dead_letters = map(count, landed.places.values())
    delivered = account.bronze + account.duplicates + account.dead_letters
    account.lost = length(lost) - sum(len(pc.unique(within(offsets, interval))) for interval in lost)
    explained = delivered + account.lost + length(unknown) + vanished
    account.skipped = max(0, account.position - first - explained)
    account.gone = [*unknown, *([(reach, low)] if reach < low else [])]
    if len(late) > landed.queued:
        account.gaps.append(f"{len(late)} offsets hold a record, but are nowhere: {some(late)}")
    if unknown:
        shown = ", ".join(f"{a}..{b - 1}" for a, b in unknown)
        account.gaps.append(f"{length(unknown)} offsets are nowhere, and the topic holds them no more: {shown}")
    if vanished > len(held):
        account.gaps.append(f"{vanished} offsets are nowhere that an earlier audit had verified")
    if waiting and sum(at < settled_before for _, at in behind) > allowed:
        account.gaps += _too_long(end - reach, waiting, settled_before, "`lakehouse stream status`")
    return account


def _reach(key: Key, first: int, lost: Collection[Interval], landed: Landed) -> int:
    """Offset after the last one that is anywhere, or was acknowledged as lost."""
    ends = [first, *(end for _, end in lost)]
    for census in landed.places.values():
        offsets = census.of(key)
        ends += [census.verified_to(key, first), *([offsets[-1].as_py() + 1] if len(offsets) else [])]
    return max(ends)


def _verified(key: Key, first: int, landed: Landed) -> tuple[int, int]:
    """Up to where an earlier audit has verified the places, and how many offsets before that have vanished since.

    Its word is needed where the topic no longer holds the records: only then could it be asked which of the offsets
    hold one.
    """
    marks = [census.audited[key] for census in landed.places.values() if key in census.audited]
    if len({position for _, position in marks}) != 1:
        return first, 0
    position = marks[0][1]
    before = sum(rows for rows, _ in marks)
    now = sum(
        census.rows(key) - len(from_position(census.of(key), position))
        for census in landed.places.values()
        if key in census.audited
    )
    return position, max(0, before - now)


def _records(key: Key, interval: Interval, probe: Probe) -> Iterator[tuple[int, datetime]]:
    """The records of an interval in their order, and when each came; asked for as they are taken."""
    start, end = interval
    for begin in range(start, end, LOOK_AHEAD):
        yield from sorted(probe(*key, (begin, min(begin + LOOK_AHEAD, end))).items())


def _too_long(count: int, waiting: tuple[int, datetime], settled_before: datetime, what: str) -> Iterable[str]:
    if waiting[1] < settled_before:
        since = f"{waiting[1]:%Y-%m-%d %H:%M:%S} UTC"
        yield f"{count:,} records wait since {since}, for more than {PATIENCE} checkpoints: {what}"
