"""Trying dead letters again with today's contract. What passes now becomes a row, once, and keeps its origin.

The dead letter stays where it is. That it was replayed is said by the row, which has its coordinates and the time of
the replay; the audit counts such a pair once, as replayed. A letter of a stream is sent to its topic again instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, IsNull, NotNull
from pyiceberg.table import Table

from lakehouse.adapters.iceberg.catalog import ensure_table, find_table
from lakehouse.adapters.iceberg.filters import equal
from lakehouse.contracts.arrow import arrow_schema, in_schema
from lakehouse.contracts.contract import Contract
from lakehouse.contracts.lineage import ERASED_AT, INGESTED_AT, REPLAYED_AT
from lakehouse.contracts.replay import REPLAY
from lakehouse.contracts.validation import Validator, Verdict
from lakehouse.ledger.commit import append, until_won
from lakehouse.ledger.dead_letters import is_among
from lakehouse.ledger.origin import DELIVERY, KAFKA, Origin, is_delivery
from lakehouse.ledger.state import REPLAYED, read_replayed

_UTC = pa.timestamp("us", tz="UTC")
_TRIED = pa.schema([("row", pa.int64()), ("error_type", pa.string()), ("error_message", pa.string())])
Judge = Callable[[list[bytes | None]], list[tuple[str, str] | None]]
"""Says of records what is wrong with them: kind of failure and reason, or None."""
Send = Callable[[pa.Table], None]
"""Sends the records of some dead letters to the topic they came from."""
_REASONS = pa.schema([("error_type", pa.string()), ("dead_letters", pa.int64())])


@dataclass(frozen=True)
class Replay:
    """What came of a replay, or would."""

    accepted: int
    """Dead letters that became rows, or were sent to their stream again."""
    refused: int
    """Dead letters that still do not pass."""
    already: int
    """Dead letters that an earlier replay had made rows of."""
    erased: int
    """Dead letters whose record was erased on request: there is nothing to try again."""
    reasons: pa.Table
    """``error_type`` and ``dead_letters`` of the refused, most first."""


def replay(
    catalog: Catalog, contract: Contract, parts: Iterable[pa.Table], *, run_id: str, is_dry_run: bool = False
) -> Replay:
    """Hold dead letters of one source against a contract, and land those that pass now, a part at a time.

    Args:
        catalog: Where the tables are.
        contract: Today's.
        parts: Rows of the dead letters' table, all of one source; each part lands in a commit of its own.
        run_id: For the evidence.
        is_dry_run: Write nothing.

    Raises:
        LedgerConflictError: other writers won every race.
    """
    validator = Validator(contract)
    return _total(_replay_part(catalog, validator, part, run_id, is_dry_run) for part in parts)


def send_again(
    catalog: Catalog,
    contract: Contract,
    parts: Iterable[pa.Table],
    judge: Judge,
    send: Send,
    *,
    run_id: str,
    is_dry_run: bool = False,
) -> Replay:
    """Let a stream judge its dead letters again, and send those that pass now to its topic.

    The stream lands them there as any record, once an event id; the letters stay, and the log says that they were
    sent. One that was cut off before it said so sends once more: the stream finds the repeat.

    Args:
        catalog: Where the log is.
        contract: Today's.
        parts: Rows of the dead letters' table, all of one source.
        judge: The stream's own parser.
        send: Sends them, and returns when the brokers have them.
        run_id: For the evidence.
        is_dry_run: Send and write nothing.

    Raises:
        LakehouseError: the parser fails, or the brokers do not take them.
    """
    sent = replayed_ids(catalog)

    def part_again(letters: pa.Table) -> Replay:
        known = _not_erased(letters)
        left = known.filter(pc.invert(pc.is_in(known["dead_letter_id"], sent)))
        refused = judge(left["original_payload"].to_pylist())
        passing = left.filter(pa.array([reason is None for reason in refused], pa.bool_()))
        failing = pa.Table.from_pylist(
            [{"row": row, "error_type": r[0], "error_message": r[1]} for row, r in enumerate(refused) if r], _TRIED
        )
        if not is_dry_run:
            if passing.num_rows:
                send(passing)
            _write_down(catalog, contract, left, failing, datetime.now(UTC), run_id)
        return _outcome(letters, left, failing, passing.num_rows)

    return _total(map(part_again, parts))


def _total(parts: Iterable[Replay]) -> Replay:
    done = list(parts)
    reasons = pa.concat_tables([_REASONS.empty_table(), *(part.reasons for part in done)])
    counted = reasons.group_by("error_type").aggregate([("dead_letters", "sum")]).rename_columns(_REASONS.names)
    return Replay(
        accepted=sum(part.accepted for part in done),
        refused=sum(part.refused for part in done),
        already=sum(part.already for part in done),
        erased=sum(part.erased for part in done),
        reasons=counted.sort_by([("dead_letters", "descending")]),
    )


def _replay_part(catalog: Catalog, validator: Validator, letters: pa.Table, run_id: str, is_dry_run: bool) -> Replay:
    contract = validator.contract
    source = letters["source"][0].as_py()
    origin = DELIVERY if is_delivery(source) else KAFKA
    table = ensure_table(catalog, contract)
    now = datetime.now(UTC)

    def land() -> tuple[pa.Table, pa.Table, Verdict, int]:
        known = _not_erased(letters)
        is_done = _is_replayed(table, origin, source, known)
        done, left = known.filter(is_done), known.filter(pc.invert(is_done))
        verdict = validator.validate(left["original_payload"])
        rows = _rows(contract, origin, left, verdict, now)
        if rows.num_rows and not is_dry_run:
            total = str(read_replayed(table.properties) + rows.num_rows)
            append(table, rows, {REPLAYED: total}, {"lakehouse.run-id": run_id, "lakehouse.replayed": source})
        return done, left, verdict, rows.num_rows

    done, left, verdict, accepted = until_won(table, land)
    if not is_dry_run:
        if done.num_rows:
            # A replay that was ended after its rows has not said so.
            done = done.filter(pc.invert(pc.is_in(done["dead_letter_id"], replayed_ids(catalog))))
        _write_down(catalog, contract, pa.concat_tables([left, done]), verdict.refused, now, run_id)
    return _outcome(letters, left, verdict.refused, accepted)


def _outcome(letters: pa.Table, left: pa.Table, refused: pa.Table, accepted: int) -> Replay:
    counted = refused.group_by("error_type").aggregate([("row", "count")])
    reasons = counted.rename_columns(_REASONS.names)
    known = _not_erased(letters).num_rows
    return Replay(accepted, refused.num_rows, known - left.num_rows, letters.num_rows - known, reasons)


def _not_erased(letters: pa.Table) -> pa.Table:
    return letters.filter(pc.is_null(letters[ERASED_AT.name]))


def replayed_ids(catalog: Catalog) -> pa.Array:
    """Ids of the dead letters of which the log says that they became rows."""
    log = find_table(catalog, REPLAY.table)
    if log is None:
        return pa.array([], pa.string())
    became_rows = IsNull("error_type")  # type: ignore[call-arg,arg-type]
    return (
        log.scan(row_filter=became_rows, selected_fields=("dead_letter_id",))
        .to_arrow()["dead_letter_id"]
        .combine_chunks()
    )


def _is_replayed(table: Table, origin: Origin, source: str, letters: pa.Table) -> pa.ChunkedArray:
    """Which letters are rows already. Reads files with replays only: all others have no time of a replay."""
    replayed = And(NotNull(REPLAYED_AT.name), equal(origin.source, source))  # type: ignore[call-arg,arg-type]
    found = table.scan(row_filter=replayed, selected_fields=origin.position).to_arrow()
    known = {partition: offsets.to_pylist() for partition, offsets in origin.by_partition(found).items()}
    return is_among(origin.partitions(letters), origin.offsets(letters), known)


def _rows(contract: Contract, origin: Origin, letters: pa.Table, verdict: Verdict, now: datetime) -> pa.Table:
    accepted = verdict.accepted
    origins = letters.take(accepted["row"])
    columns = {name: accepted[name] for name in accepted.column_names}
    given: Sequence[str | None] = (origin.source, origin.partition, origin.offset, origin.timestamp)
    columns |= {name: origins[name] for name in given if name}
    moment = pa.repeat(pa.scalar(now, _UTC), accepted.num_rows)
    columns |= {INGESTED_AT.name: moment, REPLAYED_AT.name: moment}
    return in_schema(contract, columns, accepted.num_rows)


def _write_down(
    catalog: Catalog, contract: Contract, letters: pa.Table, refused: pa.Table, now: datetime, run_id: str
) -> None:
    """Keep the attempts. They are a log, not a ledger: what was cut off here is written down by the next replay.

    Args:
        catalog: Where the log is.
        contract: The one of the attempts.
        letters: What was tried; may be empty.
        refused: ``row`` among the letters, ``error_type`` and ``error_message`` of those that fail again.
        now: Time of the attempts, UTC.
        run_id: For the evidence.
    """
    if not letters.num_rows:
        return
    tried = pa.table({"row": pa.arange(0, letters.num_rows)}).join(refused.select(_TRIED.names), "row").sort_by("row")
    count = letters.num_rows
    attempts = pa.table(
        [
            letters["dead_letter_id"],
            letters["source"],
            pa.repeat(pa.scalar(contract.fingerprint), count),
            tried["error_type"],
            tried["error_message"],
            pa.repeat(pa.scalar(now, _UTC), count),
            pa.repeat(pa.scalar(run_id), count),
        ],
        schema=arrow_schema(REPLAY),
    )
    ensure_table(catalog, REPLAY).append(attempts)
