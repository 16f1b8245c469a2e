"""Landing batches of records in a bronze table, each record once, whatever is killed or run twice.

Dead letters first, rows and ledger second, in two commits. A repeat decides by coordinates: what is a dead letter
stays one, and only the rest become rows. A batch starts where the table says, so a stale or repeated one shrinks to
what is missing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from lakehouse.adapters.batch import RECORDS, Batch, Range
from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.adapters.kafka.client import TopicState
from lakehouse.contracts.arrow import in_schema
from lakehouse.contracts.contract import Contract
from lakehouse.contracts.validation import Validator, Verdict
from lakehouse.errors import LedgerGapError
from lakehouse.ledger.commit import append, current_snapshot_id, until_won
from lakehouse.ledger.dead_letters import Coordinates, DeadLetters, is_among, to_letters
from lakehouse.ledger.origin import KAFKA, Origin
from lakehouse.ledger.state import Entry, read_entries, to_properties

T = TypeVar("T")


@dataclass(frozen=True)
class Commit:
    """What one batch added to the table."""

    rows: int
    dead_letters: int
    skipped: int
    snapshot_id: int | None
    positions: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class _Judged:
    """A batch, and its records in the schemas of the two tables that they may go to."""

    batch: Batch
    rows: pa.Table
    letters: pa.Table


class LedgeredWriter:
    """Lands batches of one source in the table of one contract."""

    def __init__(
        self,
        catalog: Catalog,
        contract: Contract,
        source: str,
        *,
        run_id: str,
        origin: Origin = KAFKA,
        defaults: Mapping[str, str] | None = None,
        is_taken: Callable[[Table], bool] = lambda table: False,
    ) -> None:
        """Open the tables, created or evolved first.

        Args:
            catalog: Where the tables are.
            contract: What a record must look like, and the table it goes to.
            source: Name of the topic or delivery.
            run_id: For the evidence in snapshots and dead letters.
            origin: What kind of source it is.
            defaults: Values of text fields for records that carry none.
            is_taken: Asked while the ledger in the table knows nothing of the source: whether its records have been, or
                are being, accounted for all the same.
        """
        self.contract = contract
        self._source = source
        self._origin = origin
        self._run_id = run_id
        self._is_taken = is_taken
        self._validator = Validator(contract, defaults)
        self._table: Table = ensure_table(catalog, contract)
        self._dead_letters = DeadLetters(catalog, source, origin)

    def entries(self) -> dict[int, Entry]:
        """The ledger as it was when the table was last read."""
        return read_entries(self._table.properties, self._source)

    def start(self, state: TopicState) -> dict[int, int]:
        """Positions to read from, after making sure that the topic is the one the ledger speaks of.

        Raises:
            LedgerGapError: records are gone that were not read, or the topic is another one.
        """
        self._table.refresh()
        return start_positions(self._source, self.entries(), state)

    def append(self, batch: Batch) -> Commit:
        """Land a batch: every record becomes a row or a dead letter, unless it is one already.

        Raises:
            LedgerConflictError: other writers won every race.
        """
        return self._commit(self._judge(batch))

    def append_all(self, batches: Iterable[Batch]) -> Iterator[Commit]:
        """Land one batch after the other, as `append` does. The next is read and validated while one is committed.

        Raises:
            LedgerConflictError: other writers won every race.
        """
        for judged in _ahead(map(self._judge, batches)):
            yield self._commit(judged)
            # Arrow keeps what is freed for the next batch, which two threads at once make several times as much.
            pa.default_memory_pool().release_unused()

    def _judge(self, batch: Batch) -> _Judged:
        now = datetime.now(UTC)
        verdict = self._validate(batch)
        return _Judged(batch, self._rows(batch, verdict, now), self._letters(batch, verdict, now))

    def _commit(self, judged: _Judged) -> Commit:
        began = time.monotonic()
        return until_won(self._table, lambda: self._land(judged.batch, judged.rows, judged.letters, began))

    def _land(self, batch: Batch, rows: pa.Table, refused: pa.Table, began: float) -> Commit:
        """Commit what the table does not have yet."""
        if refused.num_rows:
            # A letter is never taken back: what a run with another contract landed meanwhile must not become one.
            self._table.refresh()
        entries = self.entries()
        part = batch.after({partition: entry.position for partition, entry in entries.items()})
        if not part.ranges or (not entries and self._is_taken(self._table)):
            return Commit(0, 0, 0, current_snapshot_id(self._table), seconds=time.monotonic() - began)
        if refused.num_rows and not entries and not self._origin.partition:
            # A content may be begun under two names at once; under which one its letters are kept is settled first.
            entries = _openings(part)
            append(self._table, rows.slice(0, 0), to_properties(self._source, entries), self._evidence({}))
        mine = refused.filter(self._is_within(refused, part))
        letters = self._dead_letters.add(mine, {p: read.start for p, read in part.ranges.items()}, self._run_id)
        fresh = self._missing(rows, part, letters)
        moved = self._advance(entries, part, fresh)
        append(self._table, fresh, to_properties(self._source, moved), self._evidence(part.ranges))
        return self._report(entries, moved, began)

    def _validate(self, batch: Batch) -> Verdict:
        if batch.cells is None:
            return self._validator.validate(batch.records["value"])
        return self._validator.validate_cells(batch.cells, batch.records["value"])

    def _rows(self, batch: Batch, verdict: Verdict, now: datetime) -> pa.Table:
        """Accepted records in the schema of the table."""
        accepted = verdict.accepted
        records = batch.records.select(["partition", "offset", "timestamp"]).take(accepted["row"])
        columns: dict[str, Any] = {name: accepted[name] for name in accepted.column_names}
        columns |= self._origin.columns(batch, records)
        columns["ingested_at"] = pa.repeat(pa.scalar(now, pa.timestamp("us", tz="UTC")), accepted.num_rows)
        return in_schema(self.contract, columns, accepted.num_rows)

    def _letters(self, batch: Batch, verdict: Verdict, now: datetime) -> pa.Table:
        """Refused records in the schema of the dead letters; one that came as cells is kept as JSON."""
        records = batch.records.take(verdict.refused["row"])
        if batch.cells is not None:
            cells = batch.cells.take(verdict.refused["row"])
            text = self._validator.as_json(cells, with_defaults=True).cast(pa.binary())
            records = records.set_column(4, RECORDS.field("value"), pc.coalesce(records["value"], text))
        columns = self._origin.columns(batch, records)
        return to_letters(
            batch.source, records, columns, verdict.refused, self.contract, failed_at=now, run_id=self._run_id
        )

    def _missing(self, rows: pa.Table, part: Batch, letters: Coordinates) -> pa.Table:
        """Rows within the part's ranges that are no dead letters."""
        is_letter = is_among(self._origin.partitions(rows), self._origin.offsets(rows), letters)
        is_missing = pc.and_not(self._is_within(rows, part), is_letter)
        return rows if pc.all(is_missing).as_py() else rows.filter(is_missing)

    def _is_within(self, rows: pa.Table, part: Batch) -> pa.ChunkedArray:
        partitions, offsets = self._origin.partitions(rows), self._origin.offsets(rows)
        inside = pa.chunked_array([pa.repeat(pa.scalar(False), rows.num_rows)])
        for partition, read in part.ranges.items():
            here = pc.and_(pc.greater_equal(offsets, read.start), pc.less(offsets, read.end))
            inside = pc.or_(inside, pc.and_(here, pc.equal(partitions, partition)))
        return inside

    def _advance(self, entries: Mapping[int, Entry], part: Batch, fresh: pa.Table) -> dict[int, Entry]:
        read, openings = part.counts(), _openings(part)
        landed = {i["values"].as_py(): i["counts"].as_py() for i in pc.value_counts(self._origin.partitions(fresh))}
        moved = {}
        for partition, range_ in part.ranges.items():
            entry = entries.get(partition, openings[partition])
            rows = landed.get(partition, 0)
            moved[partition] = entry.advance(range_.end, rows=rows, dead_letters=read.get(partition, 0) - rows)
        return moved

    def _evidence(self, landed: Mapping[int, Range]) -> dict[str, str]:
        ranges = {str(partition): [read.start, read.end] for partition, read in landed.items()}
        return {"lakehouse.run-id": self._run_id, "lakehouse.ranges": json.dumps({self._source: ranges})}

    def _report(self, before: Mapping[int, Entry], after: Mapping[int, Entry], began: float) -> Commit:
        def gained(name: str) -> int:
            return sum(getattr(e, name) - (getattr(before[p], name) if p in before else 0) for p, e in after.items())

        return Commit(
            rows=gained("rows"),
            dead_letters=gained("dead_letters"),
            skipped=gained("skipped"),
            snapshot_id=current_snapshot_id(self._table),
            positions={partition: entry.position for partition, entry in after.items()},
            seconds=time.monotonic() - began,
        )


def _openings(part: Batch) -> dict[int, Entry]:
    """Accounts of the partitions of a batch as they are before its first record."""
    return {p: Entry(part.source_id, first=read.start, position=read.start) for p, read in part.ranges.items()}


def _ahead(items: Iterable[T]) -> Iterator[T]:
    """The items, each made in a thread while the one before it is in use."""
    waiting = iter(items)
    with ThreadPoolExecutor(1, "ahead") as thread:
        following = thread.submit(next, waiting, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, waiting, None)
            yield item


def start_positions(source: str, entries: Mapping[int, Entry], state: TopicState) -> dict[int, int]:
    """Positions to read a topic from, after making sure that it is the one the ledger speaks of.

    Raises:
        LedgerGapError: records are gone that were not read, or the topic is another one.
    """
    if problems := gaps(source, entries, state):
        raise LedgerGapError(
            "; ".join(problems) + ". Nothing was read. `lakehouse audit` shows "
            "the account; where records are gone for good, `lakehouse acknowledge-lost` lets reading go on."
        )
    return {
        p: entries[p].position if p in entries else first_offset(entries, s.low) for p, s in state.partitions.items()
    }


def first_offset(entries: Mapping[int, Entry], low: int) -> int:
    """Where a partition without an entry begins: at what is there, or at 0 when it was added to a topic we read."""
    return 0 if entries else low


def gaps(topic: str, entries: Mapping[int, Entry], state: TopicState | None) -> list[str]:
    """Why reading cannot go on from the ledger's positions, in words; empty when it can."""
    if state is None:
        return [
            f"{topic}[{partition}]: the topic is gone; {entry.position} was the ledger's position"
            for partition, entry in sorted(entries.items())
        ]
    problems = []
    for partition, entry in sorted(entries.items()):
        bounds = state.partitions.get(partition)
        where = f"{topic}[{partition}]"
        if entry.topic_id != state.topic_id:
            problems.append(f"{where}: the topic was deleted and created again since offset {entry.position} was read")
        elif bounds is None:
            problems.append(f"{where}: the partition is gone; {entry.position} was the ledger's position")
        elif bounds.low > entry.position:
            problems.append(f"{where}: offsets {entry.position} to {bounds.low} were deleted before they were read")
        elif bounds.end < entry.position:
            problems.append(f"{where}: ends at {bounds.end}, the ledger is at {entry.position}: offsets were reset")
    for partition, bounds in sorted(state.partitions.items()):
        if entries and partition not in entries and bounds.low > 0:
            problems.append(f"{topic}[{partition}]: offsets 0 to {bounds.low} were deleted before they were read")
    return problems
