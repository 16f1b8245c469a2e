"""Reading what is new in a table with Spark, and writing so that the commit says what was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lakehouse.adapters.iceberg.history import READ, Mode, Read
from lakehouse.naming import TableName

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_PROPERTY = "spark.sql.iceberg.snapshot-property."
"""Settings of a session with this prefix go into the summary of every snapshot that it commits."""


def rows(spark: SparkSession, read: Read) -> DataFrame:
    """The rows that a planned read asks for; in mode `NOTHING` there are none to ask for."""
    if read.mode is Mode.CHANGES:
        options = {"start-snapshot-id": str(read.start), "end-snapshot-id": str(read.end)}
        return spark.read.options(**options).table(read.table.spark)
    return as_of(spark, read.table, read.end)


def as_of(spark: SparkSession, name: TableName, snapshot_id: int | None) -> DataFrame:
    """A table as it was at a snapshot."""
    return spark.read.option("versionAsOf", str(snapshot_id)).table(name.spark)


@contextmanager
def committing(spark: SparkSession, reads: Mapping[TableName, int | None], **said: str) -> Iterator[None]:
    """What is committed within the block says which snapshots it was made of, and what else is given."""
    properties = {f"{_PROPERTY}{READ}{name}": str(snapshot) for name, snapshot in reads.items()}
    properties |= {f"{_PROPERTY}lakehouse.{name}": value for name, value in said.items()}
    for name, value in properties.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name in properties:
            spark.conf.unset(name)
