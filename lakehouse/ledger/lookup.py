"""Looking at dead letters: which there are, and one of them whole."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, BooleanExpression

from lakehouse.adapters.iceberg.filters import at_least, equal
from lakehouse.errors import LakehouseError
from lakehouse.ledger.dead_letters import find_dead_letters

_LISTED = ("dead_letter_id", "source", "error_type", "error_message", "failed_at")


def list_dead_letters(
    catalog: Catalog, *, source: str | None = None, reason: str | None = None, since: datetime | None = None
) -> pa.Table:
    """Dead letters, newest first: id, source, error type and message, time of refusal.

    Args:
        catalog: Where the table is.
        source: Only of this topic.
        reason: Only of this error type.
        since: Only those refused at or after this time.
    """
    table = find_dead_letters(catalog)
    if table is None:
        return pa.table({name: pa.array([], pa.string()) for name in _LISTED})
    wanted: list[BooleanExpression] = []
    if source:
        wanted.append(equal("source", source))
    if reason:
        wanted.append(equal("error_type", reason.upper()))
    if since:
        wanted.append(at_least("failed_at", since.isoformat()))
    scan = table.scan(selected_fields=_LISTED)
    for expression in wanted:
        scan = scan.filter(expression)
    return scan.to_arrow().sort_by([("failed_at", "descending"), ("dead_letter_id", "ascending")])


def count_by_reason(letters: pa.Table) -> list[dict[str, Any]]:
    """Number of dead letters by source and error type, most first."""
    counted = letters.group_by(["source", "error_type"]).aggregate([("dead_letter_id", "count")])
    return [
        {"source": row["source"], "error_type": row["error_type"], "dead_letters": row["dead_letter_id_count"]}
        for row in counted.sort_by([("dead_letter_id_count", "descending")]).to_pylist()
    ]


def show_dead_letter(catalog: Catalog, dead_letter_id: str) -> dict[str, Any]:
    """Everything that is known of one dead letter; payload and key as bytes.

    Raises:
        LakehouseError: there is none of that id.
    """
    table = find_dead_letters(catalog)
    source = dead_letter_id.rsplit(":", 2)[0]
    wanted = And(equal("source", source), equal("dead_letter_id", dead_letter_id))
    found = table.scan(row_filter=wanted).to_arrow().to_pylist() if table is not None else []
    if not found:
        raise LakehouseError(
            f"no dead letter {dead_letter_id}; ids look like pgr-events:0:123, `lakehouse dead-letters list` shows them"
        )
    letter: dict[str, Any] = found[0]
    return letter


def as_json(letter: dict[str, Any]) -> dict[str, Any]:
    """A dead letter as plain data: bytes in base64, times in ISO 8601."""
    plain = {}
    for name, value in letter.items():
        if isinstance(value, bytes):
            plain[f"{name}_base64"] = base64.b64encode(value).decode()
        else:
            plain[name] = value.isoformat() if isinstance(value, datetime) else value
    return plain
