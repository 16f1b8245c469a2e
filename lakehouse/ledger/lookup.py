"""Looking at dead letters: which there are, one of them whole, and what became of attempts to replay it."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import BooleanExpression
from pyiceberg.table import DataScan, Table

from lakehouse.adapters.iceberg.catalog import find_table
from lakehouse.adapters.iceberg.filters import among, at_least, equal
from lakehouse.contracts.arrow import arrow_schema
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.contracts.replay import REPLAY
from lakehouse.errors import LakehouseError
from lakehouse.ledger.dead_letters import find_dead_letters
from lakehouse.ledger.replay import replayed_ids

PART_BYTES = 64 * 1024**2
"""Dead letters that are handled at once."""

_LISTED = ("dead_letter_id", "source", "error_type", "error_message", "failed_at")


def list_dead_letters(
    catalog: Catalog, *, source: str | None = None, reason: str | None = None, since: datetime | None = None
) -> pa.Table:
    """Dead letters, newest first: id, source, error type and message, time of refusal, whether it was replayed.

    Args:
        catalog: Where the table is.
        source: Only of this topic or delivery.
        reason: Only of this error type.
        since: Only those refused at or after this time.
    """
    letters = select_dead_letters(catalog, source=source, reason=reason, since=since, columns=_LISTED)
    is_replayed = pc.is_in(letters["dead_letter_id"], replayed_ids(catalog))
    letters = letters.append_column("is_replayed", is_replayed)
    return letters.sort_by([("failed_at", "descending"), ("dead_letter_id", "ascending")])


def select_dead_letters(
    catalog: Catalog,
    *,
    source: str | None = None,
    reason: str | None = None,
    since: datetime | None = None,
    ids: Collection[str] = (),
    columns: tuple[str, ...] = tuple(arrow_schema(DEAD_LETTER).names),
) -> pa.Table:
    """Dead letters that fit all that is given, in no order.

    Args:
        catalog: Where the table is.
        source: Only of this topic or delivery.
        reason: Only of this error type.
        since: Only those refused at or after this time.
        ids: Only these.
        columns: What to read of them.
    """
    table = find_dead_letters(catalog)
    if table is None:
        return arrow_schema(DEAD_LETTER).empty_table().select(columns)
    return _scan(table, source=source, reason=reason, since=since, ids=ids, columns=columns).to_arrow()


def read_dead_letters(
    catalog: Catalog,
    *,
    source: str,
    reason: str | None = None,
    since: datetime | None = None,
    ids: Collection[str] = (),
) -> Iterator[pa.Table]:
    """Dead letters of one source that fit all that is given, whole, in parts that fit into memory."""
    table = find_dead_letters(catalog)
    if table is None:
        return
    waiting: list[pa.RecordBatch] = []
    scan = _scan(table, source=source, reason=reason, since=since, ids=ids, columns=("*",))
    for batch in scan.to_arrow_batch_reader():
        waiting.append(batch)
        if sum(part.nbytes for part in waiting) >= PART_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if any(part.num_rows for part in waiting):
        yield pa.Table.from_batches(waiting)


def _scan(
    table: Table,
    *,
    source: str | None,
    reason: str | None,
    since: datetime | None,
    ids: Collection[str],
    columns: tuple[str, ...],
) -> DataScan:
    wanted: list[BooleanExpression] = []
    if source:
        wanted.append(equal("source", source))
    if reason:
        wanted.append(equal("error_type", reason.upper()))
    if since:
        wanted.append(at_least("failed_at", since.isoformat()))
    if ids:
        wanted += [among("source", {_source_of(id_) for id_ in ids}), among("dead_letter_id", ids)]
    scan = table.scan(selected_fields=columns)
    for expression in wanted:
        scan = scan.filter(expression)
    return scan


def count_by_reason(letters: pa.Table) -> list[dict[str, Any]]:
    """Number of dead letters by source and error type, most first, and how many of them were replayed."""
    groups = letters.group_by(["source", "error_type"])
    counted = groups.aggregate([("dead_letter_id", "count"), ("is_replayed", "sum")])
    return [
        {
            "source": row["source"],
            "error_type": row["error_type"],
            "dead_letters": row["dead_letter_id_count"],
            "replayed": row["is_replayed_sum"],
        }
        for row in counted.sort_by([("dead_letter_id_count", "descending")]).to_pylist()
    ]


def attempts(catalog: Catalog, dead_letter_id: str) -> list[dict[str, Any]]:
    """Attempts to replay a dead letter, oldest first: when, and what was still wrong."""
    log = find_table(catalog, REPLAY.table)
    if log is None:
        return []
    found = log.scan(row_filter=equal("dead_letter_id", dead_letter_id)).to_arrow()
    tried: list[dict[str, Any]] = found.sort_by("attempted_at").to_pylist()
    return tried


def show_dead_letter(catalog: Catalog, dead_letter_id: str) -> dict[str, Any]:
    """Everything that is known of one dead letter; payload and key as bytes.

    Raises:
        LakehouseError: there is none of that id.
    """
    found = select_dead_letters(catalog, ids=[dead_letter_id]).to_pylist()
    if not found:
        raise LakehouseError(
            f"no dead letter {dead_letter_id}; ids look like pgr-events:0:123, `lakehouse dead-letters list` shows them"
        )
    letter: dict[str, Any] = found[0]
    return letter


def _source_of(dead_letter_id: str) -> str:
    return dead_letter_id.rsplit(":", 2)[0]


def as_json(letter: dict[str, Any]) -> dict[str, Any]:
    """A dead letter as plain data: bytes in base64, times in ISO 8601."""
    plain = {}
    for name, value in letter.items():
        if isinstance(value, bytes):
            plain[f"{name}_base64"] = base64.b64encode(value).decode()
        else:
            plain[name] = value.isoformat() if isinstance(value, datetime) else value
    return plain
