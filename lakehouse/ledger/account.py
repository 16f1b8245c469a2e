"""The account of one source and partition: what is there, held against what the ledger says, gap by gap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.ledger.census import Census, Key
from lakehouse.ledger.offsets import Interval, length, missing, repeated, within
from lakehouse.ledger.state import Entry

Probe = Callable[[str, int, Interval], Mapping[int, datetime]]
"""Asks the brokers which offsets of an interval hold a committed record, and since when: topic, partition, interval."""

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
    gone: list[Interval] = field(default_factory=list)
    """Of a stream: offsets that are nowhere and that the topic holds no more; `acknowledge-lost` counts them."""
    gaps: list[str] = field(default_factory=list)
    """What is wrong, in words; empty when the account closes."""
    window: str | None = None
    """Of an API: what was asked for. The position is the number of items that it said there are."""

    @property
    def name(self) -> str:
        """Source and partition, or window, for people."""
        if self.window is not None:
            return f"{self.source} {self.window}"
        return self.source if self.partition is None else f"{self.source}[{self.partition}]"

    @property
    def closes(self) -> bool:
        """Whether every offset up to the position is accounted for, once."""
        return not self.gaps


@dataclass
class Report:
    """All accounts and the verdict."""

    accounts: list[Account]
    erased: dict[str, int] = field(default_factory=dict)
    """Rows by table whose personal data was erased on request. They keep their coordinates, so they are in the
    accounts like all others."""

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
        return {
            "verdict": self.verdict,
            "accounts": [asdict(account) for account in self.accounts],
            "erased": self.erased,
        }


def draw_up(
    source: str, partition: int, entry: Entry | None, rows: Census, letters: Census, probe: Probe | None
) -> Account:
    """Draw up the account of a partition of a source, up to the ledger's position.

    Args:
        source: Name of the topic or delivery.
        partition: Its partition.
        entry: What the ledger says; None when it says nothing.
        rows: Coordinates in bronze.
        letters: Coordinates of the dead letters.
        probe: Asks the brokers about missing offsets; None where there is nobody to ask.
    """
    key = (source, partition)
    account = Account(source, partition, bronze=rows.rows(key))
    if entry is None:
        if account.bronze:
            account.gaps.append("rows with coordinates, but no ledger speaks of them")
        return account
    # A letter may be ahead of the ledger: it is committed first. It is counted when its batch is, and when it was
    # replayed, then as that.
    account.replayed = rows.replays(key)
    account.dead_letters = letters.rows(key) - len(from_position(letters.of(key), entry.position)) - account.replayed
    account.first, account.position = entry.first, entry.position
    account.skipped, account.lost = entry.skipped, entry.lost
    account.gaps += misplaced("bronze", rows.of(key), rows.verified_to(key, entry.first))
    account.gaps += misplaced("dead letters", letters.of(key), letters.verified_to(key, entry.first))
    if len(ahead := from_position(rows.of(key), entry.position)):
        account.gaps.append(
            f"bronze: {len(ahead)} offsets behind the ledger's position {entry.position}: {some(ahead)}"
        )
    account.gaps += _unaccounted(key, entry, rows, letters, probe)
    account.gaps += _wrong_replays(rows.replayed.get(key), letters.of(key))
    account.gaps += _wrong_counters(account, entry)
    return account


def misplaced(where: str, offsets: pa.Array, start: int) -> Iterable[str]:
    """Rows where none should be: twice, or before what was verified."""
    if len(twice := repeated(offsets)):
        yield f"{where}: {len(twice)} offsets more than once: {some(twice)}"
    if len(before := offsets.filter(pc.less(offsets, start))):
        yield f"{where}: {len(before)} offsets again that were verified before: {some(before)}"


def _unaccounted(key: Key, entry: Entry, rows: Census, letters: Census, probe: Probe | None) -> Iterable[str]:
    """Offsets in neither table that hold a record, and offsets in both."""
    start = rows.verified_to(key, entry.first)
    offsets = pa.concat_arrays([pc.unique(rows.of(key)), pc.unique(letters.of(key))])
    offsets = within(offsets, (start, entry.position))
    offsets = offsets.take(pc.sort_indices(offsets))
    if len(both := repeated(offsets)):
        yield f"{len(both)} offsets in bronze and among the dead letters: {some(both)}"
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
            yield f"{len(held)} offsets hold a record, but were skipped: {some(pa.array(held))}"


def _wrong_replays(replayed: pa.Array | None, letters: pa.Array) -> Iterable[str]:
    """Rows that say they were made of dead letters, twice or of none."""
    if replayed is None:
        return
    if len(twice := repeated(replayed)):
        yield f"bronze: {len(twice)} offsets replayed more than once: {some(twice)}"
    if len(strange := replayed.filter(pc.invert(pc.is_in(replayed, letters)))):
        yield f"bronze: {len(strange)} rows were replayed of no dead letter: {some(strange)}"


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


def from_position(offsets: pa.Array, position: int) -> pa.Array:
    """Offsets at or after a position."""
    return offsets.filter(pc.greater_equal(offsets, position))


def some(offsets: Sequence[int] | pa.Array) -> str:
    """The first of the offsets, for a message."""
    shown = ", ".join(str(offset) for offset in offsets[:SHOWN])
    return shown + (", …" if len(offsets) > SHOWN else "")
