"""The description of a data set: what a record must look like, written once.

Everything else that knows a column (the Arrow and Iceberg schemas, the validation, the dbt source file) is rendered
from a `Contract`. No engine is imported here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from lakehouse.naming import TableName

ID_LENGTH = 100
"""Characters that an id, or a name, may have."""
EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Bounds of a believable time."""


class Type(StrEnum):
    """Logical types of columns."""

    STRING = "string"
    IDENTIFIER = "identifier"
    """Text; a record may carry it as a whole number, whose digits it is then."""
    BINARY = "binary"
    INT = "int"
    LONG = "long"
    DOUBLE = "double"
    DECIMAL = "decimal"
    """18 digits, 6 of them behind the point: money."""
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    """UTC, microseconds."""
    JSON_OBJECT = "json"
    """Text of one JSON object; a record may carry it as an object or as a string that holds one."""


class Transform(StrEnum):
    """Partition transforms."""

    IDENTITY = "identity"
    DAY = "day"


@dataclass(frozen=True)
class Column:
    """One column of a table and, where a record carries it, one field of the record."""

    name: str
    type: Type
    description: str
    required: bool = False
    """In a record: refused without it. In the table: not null."""
    max_length: int | None = None
    """Characters; longer values are refused."""
    known_values: tuple[str, ...] = ()
    """Documented values. Others are accepted and counted by a check."""
    unit: str | None = None
    is_personal: bool = False
    path: str | None = None
    """Where a record carries it, if not under its own name; a dot leads into an object, as in ``data.score``."""
    bounds: tuple[int, int] | None = None
    """Least and greatest value; others are refused."""
    needed_for: tuple[str, str] | None = None
    """An earlier field and its value in the records that must carry this one; of others it is not read."""
    derived: str | None = None
    """SQL over the typed columns, for when the record does not carry a value; in the dialect of the validator."""


@dataclass(frozen=True)
class Rule:
    """A condition over the typed columns under which a record is refused."""

    error_type: str
    field: str
    condition: str
    """SQL in the dialect of the validator, true for a bad record."""
    message: str


@dataclass(frozen=True)
class Contract:
    """A data set: its fields, the lineage columns added on the way in, its partitioning and its rules.

    Field and column names are identifiers from code, never user input.
    """

    name: str
    table: TableName
    version: int
    description: str
    fields: tuple[Column, ...]
    """What a record carries."""
    lineage: tuple[Column, ...]
    """What ingestion adds."""
    partition_by: tuple[tuple[str, Transform], ...]
    event_id: str | None = None
    event_time: str | None = None
    raw_payload: str | None = None
    """Lineage column that keeps the record's text as received."""
    key: tuple[str, ...] = ()
    """Columns, all of them required, whose values say which row it is: a row that is written takes the place of the
    one with the same. Empty where rows are only added, or a job of ours merges them."""
    rules: tuple[Rule, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns of the table, in order."""
        return (*self.fields, *self.lineage)

    @property
    def documents(self) -> tuple[str, ...]:
        """Names of the fields for JSON, in order."""
        return tuple(column.name for column in self.fields if column.type is Type.JSON_OBJECT)

    @property
    def fingerprint(self) -> str:
        """Changes whenever the contract does."""
        return f"{self.name}/v{self.version}/{hashlib.sha256(repr(self).encode()).hexdigest()[:12]}"
