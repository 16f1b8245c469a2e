"""Taking in what comes once and whole, a file or a table that a program hands over, each record of it once.

While a delivery is under way its position is a property of the table its rows go to, moved by the commits of its rows.
When the last record is accounted for, it is written down among the deliveries, and only then the property is removed:
properties stay few, whatever the number of files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And
from pyiceberg.table import Table

from lakehouse.adapters.batch import Batch
from lakehouse.adapters.iceberg.catalog import ensure_table, find_table
from lakehouse.adapters.iceberg.filters import equal
from lakehouse.contracts.arrow import arrow_schema
from lakehouse.contracts.contract import Contract
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.contracts.delivery import DELIVERY_RECORD
from lakehouse.errors import LakehouseError
from lakehouse.ledger.commit import append, until_won
from lakehouse.ledger.origin import DELIVERY, is_delivery
from lakehouse.ledger.state import Entry, property_name, read_entries, read_sources
from lakehouse.ledger.writer import LedgeredWriter
from lakehouse.naming import TableName

SHOWN_HASH = 16
"""Hexadecimal digits of the content's hash in a source's name."""


@dataclass(frozen=True)
class Parcel:
    """What is to be taken in: its identity, and its records in an order that is always the same."""

    name: str
    sha256: str
    batches: Callable[[str, int], Iterable[Batch]]
    """Batches of the source of that name, from a record's number on; a range may start before it."""

    @property
    def source(self) -> str:
        """Name in the tables. The ``@`` tells it from a topic, whose name cannot have one."""
        return source_name(self.name, self.sha256)


@dataclass(frozen=True)
class Outcome:
    """What became of a delivery."""

    source: str
    rows: int
    dead_letters: int
    is_repeat: bool
    """It had been taken in before, and nothing was written."""


def source_name(name: str, sha256: str) -> str:
    """Name of a delivery in the tables."""
    return f"{name}@{sha256[:SHOWN_HASH]}"


def deliver(
    catalog: Catalog,
    contract: Contract,
    parcel: Parcel,
    *,
    run_id: str,
    defaults: Mapping[str, str] | None = None,
    on_records: Callable[[int], None] = lambda records: None,
) -> Outcome:
    """Land every record of a parcel as a row or a dead letter, unless its content was taken in before.

    May be repeated or ended at any point, and run twice at once: the tables come out the same.

    Args:
        catalog: Where the tables are.
        contract: What a record must look like, and the table it goes to.
        parcel: What is to be taken in.
        run_id: For the evidence.
        defaults: Values of text fields for records that carry none.
        on_records: Called with the number of records accounted for so far.

    Raises:
        LakehouseError: the parcel cannot be read; what was landed of it stays, and the next attempt goes on from there.
    """
    deliveries = Deliveries(catalog)
    known = deliveries.find(parcel.sha256, contract.table)
    if known is None:
        # What was begun under another name is completed under that one.
        begun = _under_way_as(ensure_table(catalog, contract), parcel.sha256)
        parcel = replace(parcel, name=begun.rpartition("@")[0]) if begun else parcel

        def is_taken(table: Table) -> bool:
            is_complete = deliveries.find(parcel.sha256, contract.table) is not None
            return is_complete or _under_way_as(table, parcel.sha256) is not None

        writer = LedgeredWriter(
            catalog,
            contract,
            parcel.source,
            run_id=run_id,
            origin=DELIVERY,
            defaults=defaults,
            is_taken=is_taken,
        )
        before = writer.entries().get(0)
        for _ in writer.append_all(parcel.batches(parcel.source, before.position if before else 0)):
            if entry := writer.entries().get(0):
                on_records(entry.position - entry.first)
        entry = writer.entries().get(0)
        if entry is not None or not is_taken(ensure_table(catalog, contract)):
            deliveries.record(parcel, contract.table, entry or Entry(parcel.sha256, first=0, position=0), run_id)
    found = known or deliveries.find(parcel.sha256, contract.table)
    if found is None:
        raise LakehouseError(
            f"{parcel.name}: another process is taking in the same content; try again when it has ended"
        )
    for closed in (contract, DEAD_LETTER):
        _close(catalog, closed, found["source_file"])
    return Outcome(found["source_file"], found["accepted_rows"], found["dead_letters"], known is not None)


class Deliveries:
    """The table of deliveries."""

    def __init__(self, catalog: Catalog) -> None:
        """Open the table, created or evolved first."""
        self._table: Table = ensure_table(catalog, DELIVERY_RECORD)

    def find(self, sha256: str, target: TableName) -> dict[str, Any] | None:
        """The delivery of a content to a table."""
        self._table.refresh()
        wanted = And(equal("content_sha256", sha256), equal("target", str(target)))
        found = self._table.scan(row_filter=wanted).to_arrow().to_pylist()
        return found[0] if found else None

    def record(self, parcel: Parcel, target: TableName, entry: Entry, run_id: str) -> None:
        """Write down that a parcel was taken in, once.

        Raises:
            LedgerConflictError: other writers won every race.
        """
        row = {
            "source_file": parcel.source,
            "target": str(target),
            "name": parcel.name,
            "content_sha256": parcel.sha256,
            "first_row": entry.first,
            "end_row": entry.position,
            "accepted_rows": entry.rows,
            "dead_letters": entry.dead_letters,
            "completed_at": datetime.now(UTC),
            "run_id": run_id,
        }
        rows = pa.Table.from_pylist([row], schema=arrow_schema(DELIVERY_RECORD))

        def add_once() -> None:
            if not self.find(parcel.sha256, target):
                append(self._table, rows, {}, {"lakehouse.run-id": run_id})

        until_won(self._table, add_once)


def completed(catalog: Catalog, target: TableName) -> dict[str, Entry]:
    """Accounts of all that was taken in whole for a table, by source."""
    table = find_table(catalog, DELIVERY_RECORD.table)
    if table is None:
        return {}
    columns = ("source_file", "content_sha256", "first_row", "end_row", "accepted_rows", "dead_letters")
    found = table.scan(row_filter=equal("target", str(target)), selected_fields=columns).to_arrow().to_pylist()
    return {
        row["source_file"]: Entry(
            row["content_sha256"],
            first=row["first_row"],
            position=row["end_row"],
            rows=row["accepted_rows"],
            dead_letters=row["dead_letters"],
            skipped=row["end_row"] - row["first_row"] - row["accepted_rows"] - row["dead_letters"],
        )
        for row in found
    }


def find_by_name(catalog: Catalog, contract: Contract, name: str, sha256: str) -> str | None:
    """Source of the same name and another content that was taken in, or is being taken in; None when there is none."""
    named = And(equal("name", name), equal("target", str(contract.table)))
    deliveries = ensure_table(catalog, DELIVERY_RECORD).scan(row_filter=named, selected_fields=("source_file",))
    begun = [source for source in under_way(ensure_table(catalog, contract)) if source.rpartition("@")[0] == name]
    sources = [*begun, *deliveries.to_arrow()["source_file"].to_pylist()]
    return next((source for source in sources if source != source_name(name, sha256)), None)


def under_way(table: Table) -> dict[str, Entry]:
    """Accounts of what is being taken in, by source."""
    sources = sorted(filter(is_delivery, read_sources(table.properties)))
    return {source: read_entries(table.properties, source)[0] for source in sources}


def _under_way_as(table: Table, sha256: str) -> str | None:
    """Name of the source of that content which is being taken in."""
    return next(
        (source for source in under_way(table) if source == source_name(source.rpartition("@")[0], sha256)), None
    )


def _close(catalog: Catalog, contract: Contract, source: str) -> None:
    """Remove what the tables' properties say of a delivery that was written down."""
    table = ensure_table(catalog, contract)
    empty = arrow_schema(contract).empty_table()

    def forget() -> None:
        if read_entries(table.properties, source):
            append(table, empty, {}, {"lakehouse.delivered": source}, remove=[property_name(source, 0)])

    until_won(table, forget)
