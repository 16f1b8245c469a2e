"""Contracts rendered to Arrow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from lakehouse.contracts.contract import Column, Contract, Type

ARROW_TYPES: dict[Type, pa.DataType] = {
    Type.STRING: pa.string(),
    Type.IDENTIFIER: pa.string(),
    Type.BINARY: pa.binary(),
    Type.INT: pa.int32(),
    Type.LONG: pa.int64(),
    Type.DOUBLE: pa.float64(),
    Type.DECIMAL: pa.decimal128(18, 6),
    Type.BOOLEAN: pa.bool_(),
    Type.DATE: pa.date32(),
    Type.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    Type.JSON_OBJECT: pa.string(),
}


def arrow_field(column: Column) -> pa.Field:
    """Arrow field of a column."""
    return pa.field(column.name, ARROW_TYPES[column.type], nullable=not column.required)


def arrow_schema(contract: Contract) -> pa.Schema:
    """Schema of the contract's table: one field a column, in order."""
    return pa.schema([arrow_field(column) for column in contract.columns])


def in_schema(contract: Contract, columns: Mapping[str, Any], count: int) -> pa.Table:
    """A table of the contract's columns, in order; those that are not given are null.

    Args:
        contract: Whose table it is.
        columns: Arrays by name, each of ``count`` values.
        count: Number of rows.
    """
    schema = arrow_schema(contract)
    return pa.table([columns.get(field.name, pa.nulls(count, field.type)) for field in schema], schema=schema)
