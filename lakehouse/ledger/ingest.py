"""Taking in a file: its content is the parcel, its hash the identity."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pyiceberg.catalog import Catalog

from lakehouse.adapters.batch import Batch
from lakehouse.adapters.files.parcel import inspect
from lakehouse.adapters.files.read import read
from lakehouse.contracts.contract import Contract
from lakehouse.ledger.deliveries import Outcome, Parcel, deliver

SERVICE = "service"
"""Field that a whole file may have in common."""


def ingest_file(
    catalog: Catalog,
    contract: Contract,
    path: Path,
    *,
    run_id: str,
    service: str | None = None,
    on_bytes: Callable[[int], None] = lambda read: None,
    on_records: Callable[[int], None] = lambda records: None,
) -> Outcome:
    """Land the records of a file, unless its content was taken in before, under whatever name.

    Args:
        catalog: Where the tables are.
        contract: What a record must look like, and the table it goes to.
        path: The file.
        run_id: For the evidence.
        service: Service of records that name none.
        on_bytes: Called while the file is looked at, with the bytes that were.
        on_records: Called while it is landed, with the records that were.

    Raises:
        FileRefusedError: saying why it cannot be taken; nothing of it, or its first records, were landed.
    """
    file = inspect(path, on_bytes)
    defaults = {SERVICE: service} if service else {}

    def batches(source: str, start: int) -> Iterable[Batch]:
        return read(file, contract, source, start, defaults)

    parcel = Parcel(path.name, file.sha256, batches)
    return deliver(catalog, contract, parcel, run_id=run_id, defaults=defaults, on_records=on_records)
