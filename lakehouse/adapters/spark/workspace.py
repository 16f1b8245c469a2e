"""Where a run of Spark reads and writes: the tables as everyone sees them, or a branch of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lakehouse.adapters.iceberg.catalog import ensure_table, find_table
from lakehouse.adapters.iceberg.history import READ, Mode, Read, plan_read, positions
from lakehouse.contracts.contract import Contract
from lakehouse.naming import TableName

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot
    from pyspark.sql import DataFrame, SparkSession

_PROPERTY = "spark.sql.iceberg.snapshot-property."
"""Settings of a session with this prefix go into the summary of every snapshot that it commits."""


@dataclass(frozen=True)
class Workspace:
    """A session, the tables, and who works on them."""

    spark: SparkSession
    catalog: Catalog
    run_id: str
    branch: str | None = None
    """Branch of the tables that have one of this name; the others are only read."""

    def head(self, name: TableName) -> Snapshot | None:
        """The newest snapshot of a table here; None where it has none."""
        table = find_table(self.catalog, name)
        return _head(table, self.branch) if table is not None else None

    def target(self, name: TableName) -> str:
        """A table's name in Spark, for writing here."""
        return f"{name.spark}.branch_{self.branch}" if self.branch else name.spark

    def plan(self, source: TableName, reader: Contract) -> Read:
        """What a table, which is made where it is missing, has not read of a source."""
        return plan_read(source, find_table(self.catalog, source), self.head(source), self.position(source, reader))

    def position(self, source: TableName, reader: Contract) -> int | None:
        """Up to which snapshot of a source a table is complete, as the newest commit that says so does."""
        table = ensure_table(self.catalog, reader)
        return positions(table, _head(table, self.branch)).get(f"{READ}{source}")

    def rows(self, read: Read) -> DataFrame:
        """The rows that a planned read asks for; in mode `NOTHING` there are none to ask for."""
        return self.appended(read.table, read.start, read.end) if read.mode is Mode.CHANGES else self.as_of(read)

    def appended(self, name: TableName, start: int | None, end: int | None) -> DataFrame:
        """The rows that were appended to a table between two snapshots; what replaced others is not among them."""
        options = {"start-snapshot-id": str(start), "end-snapshot-id": str(end)}
        return self.spark.read.options(**options).table(name.spark)

    def as_of(self, read: Read) -> DataFrame:
        """A table as it is at the end of a planned read."""
        return self.at(read.table, read.end)

    def at(self, name: TableName, snapshot_id: int | None) -> DataFrame:
        """A table as it was at a snapshot."""
        return self.spark.read.option("versionAsOf", str(snapshot_id)).table(name.spark)

    @contextmanager
    def committing(self, reads: Mapping[TableName, int | None], **said: str) -> Iterator[None]:
        """What is committed within the block says which snapshots it was made of, and what else is given."""
        known = {name: snapshot for name, snapshot in reads.items() if snapshot is not None}
        properties = {f"{_PROPERTY}{READ}{name}": str(snapshot) for name, snapshot in known.items()}
        properties |= {f"{_PROPERTY}lakehouse.{name}": value for name, value in said.items()}
        for name, value in properties.items():
            self.spark.conf.set(name, value)
        try:
            yield
        finally:
            for name in properties:
                self.spark.conf.unset(name)


def _head(table: Table, branch: str | None) -> Snapshot | None:
    return (table.snapshot_by_name(branch) if branch else None) or table.current_snapshot()
