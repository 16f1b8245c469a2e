"""The way in for programs: append a table, or records, to a bronze table, each append once.

    from lakehouse.client import Lakehouse

    lake = Lakehouse.connect()
    receipt = lake.append("service_events_raw", events, idempotency_key="2026-11-21/export")
    print(receipt.accepted, receipt.refused)

``events`` is an Arrow table, a pandas or polars frame, or an iterable of dicts. Records that the contract refuses are
among the dead letters, and in the receipt.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, TypeAlias

import pyarrow as pa
from pyiceberg.catalog import Catalog

from lakehouse import settings as settings_module
from lakehouse.adapters.batch import Batch
from lakehouse.adapters.cells import BATCH_ROWS, as_cells, misnamed, numbered, unreadable
from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.contracts.contract import Contract
from lakehouse.domains.feeds import FILES
from lakehouse.errors import LakehouseError
from lakehouse.ledger.deliveries import Parcel, deliver, find_by_name
from lakehouse.ledger.lookup import select_dead_letters

LONGEST_KEY = 200

Records: TypeAlias = pa.Table | Iterable[Mapping[str, Any]]
"""A table, an object with Arrow's stream interface (a pandas or polars frame), or dicts."""


@dataclass(frozen=True)
class Refusal:
    """A record that the contract refused; it is among the dead letters."""

    row: int
    """Its number in the append, from 1."""
    error_type: str
    error_message: str


@dataclass(frozen=True)
class Receipt:
    """What became of an append."""

    source: str
    """Its name in the tables, column ``source_file``."""
    accepted: int
    """Records that are rows now."""
    refused: list[Refusal]
    is_repeat: bool
    """The same had been appended before, and nothing was written."""


class Lakehouse:
    """A connection to the lakehouse that the settings name."""

    def __init__(self, catalog: Catalog) -> None:
        """Use a catalog that is open already; see `connect`."""
        self._catalog = catalog

    @classmethod
    def connect(cls) -> Lakehouse:
        """Connect by the settings: environment, ``.env``, ``lakehouse.toml``.

        Raises:
            LakehouseError: a setting is wrong, or the catalog does not answer.
        """
        return cls(connect(settings_module.load()))

    def append(self, table: str, records: Records, *, idempotency_key: str | None = None) -> Receipt:
        """Append records to a bronze table. Ended or failed, it may be repeated with its key: nothing lands twice.

        Args:
            table: Name of the table, e.g. ``service_events_raw``.
            records: What to append.
            idempotency_key: Names this append. Given again with the same records, nothing is written, and the receipt
                is that of the first time. Without one, every append is a new one.

        Raises:
            LakehouseError: no such table, a key that cannot be one or was used for other records, something that is no
                record, a required column that is missing, or one of a type that cannot be read; nothing was written.
        """
        contract = _contract_of(table)
        key = idempotency_key if idempotency_key is not None else str(uuid.uuid4())
        if not key.strip() or len(key) > LONGEST_KEY or not key.isprintable():
            raise LakehouseError(f"an idempotency key is 1 to {LONGEST_KEY} printable characters, not {key[:40]!r}")
        given = _table(contract, records) if _is_table(records) else _payloads(records)
        digest = hashlib.sha256(f"append {key} ".encode() + _content_hash(given)).hexdigest()
        if other := find_by_name(self._catalog, contract, key, digest):
            raise LakehouseError(
                f"the idempotency key {key!r} was used for other content, which is {other}; give a new key"
            )

        def batches(source: str, start: int) -> Iterator[Batch]:
            for batch in _batches(source, digest, given):
                if batch.ranges[0].end > start:
                    yield batch

        parcel = Parcel(key, digest, batches)
        outcome = deliver(self._catalog, contract, parcel, run_id=f"append-{uuid.uuid4()}")
        refused = []
        if outcome.dead_letters:
            columns = ("source_row", "error_type", "error_message")
            letters = select_dead_letters(self._catalog, source=outcome.source, columns=columns)
            refused = [Refusal(*row.values()) for row in letters.select(columns).sort_by("source_row").to_pylist()]
        return Receipt(outcome.source, outcome.rows, refused, outcome.is_repeat)


def _contract_of(table: str) -> Contract:
    contracts = {FILES.table.table: FILES}
    name = table.removeprefix("bronze.")
    if name not in contracts:
        raise LakehouseError(f"no bronze table {table} takes records; there is {', '.join(contracts)}")
    return contracts[name]


def _is_table(records: Records) -> bool:
    return isinstance(records, pa.Table) or hasattr(records, "__arrow_c_stream__")


def _table(contract: Contract, records: Any) -> pa.Table:
    try:
        found: pa.Table = pa.table(records)
    except pa.ArrowException as error:
        raise LakehouseError(f"cannot append this {type(records).__name__}: {error}") from None
    names = found.column_names
    if problem := unreadable(contract, dict(zip(names, found.schema.types, strict=True))):
        raise LakehouseError(problem)
    if problem := misnamed(contract, names):
        raise LakehouseError(f"{problem}; there is {', '.join(names)}")
    return found.combine_chunks()


def _payloads(records: Any) -> list[bytes]:
    expected = "expected a table, a frame, or a list of dicts"
    if isinstance(records, str | bytes | Mapping) or not isinstance(records, Iterable):
        raise LakehouseError(f"cannot append a {type(records).__name__}; {expected}")
    payloads = []
    for number, record in enumerate(records, start=1):
        if not isinstance(record, Mapping):
            raise LakehouseError(f"record {number} is a {type(record).__name__}; {expected}")
        try:
            payloads.append(json.dumps(record, default=_as_json).encode())
        except TypeError as error:
            raise LakehouseError(f"record {number}: {error}; expected what JSON can hold, or a time") from None
    return payloads


def _as_json(value: Any) -> Any:
    """What JSON has no form for: times, decimals and ids as text, numbers of NumPy as numbers."""
    if isinstance(value, date | Decimal | uuid.UUID):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _content_hash(given: pa.Table | list[bytes]) -> bytes:
    if isinstance(given, list):
        return hashlib.sha256(b"\n".join(given)).digest()
    digest = hashlib.sha256()
    for start in range(0, max(given.num_rows, 1), BATCH_ROWS):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, given.schema) as stream:
            stream.write_table(given.slice(start, BATCH_ROWS))
        digest.update(sink.getvalue())
    return digest.digest()


def _batches(source: str, digest: str, given: pa.Table | list[bytes]) -> Iterator[Batch]:
    for start in range(0, len(given), BATCH_ROWS):
        if isinstance(given, list):
            values = pa.array(given[start : start + BATCH_ROWS], pa.binary())
            yield numbered(source, digest, start + 1, values, None)
            continue
        part = given.slice(start, BATCH_ROWS)
        cells = as_cells(part.columns, part.column_names)
        yield numbered(source, digest, start + 1, pa.nulls(part.num_rows, pa.binary()), cells)
