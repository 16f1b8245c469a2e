"""Rows of bronze that a later layer refuses, among the dead letters. The rows stay where they are.

A letter of this kind is one of the table that refused it, not of the topic: the record itself is accounted for by its
row in bronze. It is known by the record's coordinate, or by the event's id where SQL wrote the row and it has none, so
whoever judges the row again adds it no second time.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.adapters.iceberg.filters import at_least, equal
from lakehouse.contracts.arrow import in_schema
from lakehouse.contracts.contract import Contract
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.contracts.lineage import INGESTED_AT
from lakehouse.ledger.commit import append, until_won

_UTC = pa.timestamp("us", tz="UTC")


def refuse(catalog: Catalog, contract: Contract, misfits: pa.Table, *, run_id: str) -> int:
    """Add letters for rows that a contract's table refuses.

    Args:
        catalog: Where the tables are.
        contract: Of the table that refuses them.
        misfits: Coordinate, ``event_id``, ``raw_payload`` and ``ingested_at`` of the rows, ``error_type`` and
            ``error_message``.
        run_id: For the evidence.

    Returns:
        How many rows are refused; those that had been before are among them.

    Raises:
        LedgerConflictError: other writers won every race.
    """
    count: int = misfits.num_rows
    if not count:
        return 0
    source = str(contract.table)
    names = ("kafka_topic", "kafka_partition", "kafka_offset")
    coordinates = [misfits[name].cast(pa.string()) for name in names]
    known_by = pc.coalesce(pc.binary_join_element_wise(*coordinates, ":"), misfits["event_id"].cast(pa.string()))
    columns = {
        "dead_letter_id": pc.binary_join_element_wise(pa.scalar(source), known_by, ":"),
        "source": pa.repeat(pa.scalar(source), count),
        "contract": pa.repeat(pa.scalar(contract.fingerprint), count),
        "error_type": misfits["error_type"],
        "error_message": misfits["error_message"],
        "original_payload": misfits["raw_payload"].cast(pa.binary()),
        "failed_at": pa.repeat(pa.scalar(datetime.now(UTC), _UTC), count),
        "run_id": pa.repeat(pa.scalar(run_id), count),
    }
    letters = in_schema(DEAD_LETTER, columns, count)
    table = ensure_table(catalog, DEAD_LETTER)
    within = equal("source", source)
    # A row cannot have been refused before it was there; one that SQL wrote does not say since when it is.
    if not misfits[INGESTED_AT.name].null_count:
        within = And(within, at_least("failed_at", pc.min(misfits[INGESTED_AT.name]).as_py().isoformat()))

    def add_missing() -> int:
        table.refresh()
        known = table.scan(row_filter=within, selected_fields=("dead_letter_id",)).to_arrow()["dead_letter_id"]
        new = letters.filter(pc.invert(pc.is_in(letters["dead_letter_id"], known.cast(pa.string()).combine_chunks())))
        if new.num_rows:
            append(table, new, {}, {"lakehouse.run-id": run_id})
        return count

    return until_won(table, add_missing)
