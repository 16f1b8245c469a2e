"""What a run of Spark made of a table, and how the table says of which snapshot of its source it was made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lakehouse.adapters.iceberg.history import READ, Mode, Read
from lakehouse.adapters.spark.workspace import Workspace
from lakehouse.contracts.contract import Contract
from lakehouse.contracts.lineage import AUDIT, LOADED_AT, SOURCE_SNAPSHOT
from lakehouse.ledger.commit import append, until_won
from lakehouse.naming import TableName

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Built:
    """What a run did to a table."""

    table: TableName
    mode: Mode
    """How much of the source it looked at."""
    rows: int
    """Rows that were added, changed or removed."""
    refused: int = 0
    """Rows that became dead letters."""


def pass_over(work: Workspace, reader: Contract, read: Read) -> None:
    """Say in a commit without rows that there was nothing to take, where none said so: it is not looked at again."""
    if work.branch or read.end is None or work.position(read.table, reader) == read.end:
        return
    table = work.catalog.load_table(reader.table.identifier)

    def say() -> None:
        table.refresh()
        append(table, table.schema().as_arrow().empty_table(), {}, {f"{READ}{read.table}": str(read.end)})

    until_won(table, say)


def audited(frame: DataFrame, work: Workspace, read: Read) -> DataFrame:
    """The rows with the columns that say who made them, when, and of what."""
    from pyspark.sql import functions as sf

    values = {"_audit_run_id": work.run_id, LOADED_AT: datetime.now(UTC), SOURCE_SNAPSHOT: read.end}
    return frame.withColumns({column.name: sf.lit(values[column.name]) for column in AUDIT})
