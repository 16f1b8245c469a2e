"""Contracts rendered to Arrow."""

from __future__ import annotations

import pyarrow as pa

from lakehouse.contracts.contract import Column, Contract, Type

ARROW_TYPES: dict[Type, pa.DataType] = {
    Type.STRING: pa.string(),
    Type.BINARY: pa.binary(),
    Type.INT: pa.int32(),
    Type.LONG: pa.int64(),
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
