"""Contracts rendered to Iceberg: schema, partitioning, and the comparison with a table that already exists."""

from __future__ import annotations

from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform, IdentityTransform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)

from lakehouse.contracts.contract import Column, Contract, Transform, Type

ICEBERG_TYPES: dict[Type, IcebergType] = {
    Type.STRING: StringType(),
    Type.IDENTIFIER: StringType(),
    Type.BINARY: BinaryType(),
    Type.INT: IntegerType(),
    Type.LONG: LongType(),
    Type.DOUBLE: DoubleType(),
    Type.DECIMAL: DecimalType(18, 6),
    Type.BOOLEAN: BooleanType(),
    Type.DATE: DateType(),
    Type.TIMESTAMP: TimestamptzType(),
    Type.JSON_OBJECT: StringType(),
}


def iceberg_schema(contract: Contract) -> Schema:
    """Schema of the contract's table; field ids follow the order of the columns."""
    return Schema(
        *(
            NestedField(
                index, column.name, ICEBERG_TYPES[column.type], required=column.required, doc=column.description
            )
            for index, column in enumerate(contract.columns, start=1)
        ),
        identifier_field_ids=[
            index for index, column in enumerate(contract.columns, start=1) if column.name in contract.key
        ],
    )


def iceberg_partition_spec(contract: Contract) -> PartitionSpec:
    """Partition spec of the contract's table."""
    ids = {column.name: index for index, column in enumerate(contract.columns, start=1)}
    fields = []
    for position, (name, transform) in enumerate(contract.partition_by):
        by_day = transform is Transform.DAY
        fields.append(
            PartitionField(
                source_id=ids[name],
                field_id=1000 + position,
                transform=DayTransform() if by_day else IdentityTransform(),
                name=f"{name}_day" if by_day else name,
            )
        )
    return PartitionSpec(*fields)


def missing_columns(contract: Contract, stored: Schema) -> list[Column]:
    """Columns that the contract has and the stored table does not."""
    known = {field.name for field in stored.fields}
    return [column for column in contract.columns if column.name not in known]


def incompatibilities(contract: Contract, stored: Schema) -> list[str]:
    """What adding optional columns cannot mend, in words; empty when the table can be evolved to the contract."""
    problems = []
    columns = {column.name: column for column in contract.columns}
    for field in stored.fields:
        column = columns.get(field.name)
        if column is None:
            if field.required:
                problems.append(f"{field.name}: required in the table, gone from the contract")
            continue
        if field.field_type != ICEBERG_TYPES[column.type]:
            problems.append(
                f"{field.name}: {field.field_type} in the table, {ICEBERG_TYPES[column.type]} in the contract"
            )
        if field.required != column.required:
            problems.append(
                f"{field.name}: {_word(field.required)} in the table, {_word(column.required)} in the contract"
            )
    problems += [
        f"{column.name}: a new column must be optional, the contract requires it"
        for column in missing_columns(contract, stored)
        if column.required
    ]
    return problems


def _word(required: bool) -> str:
    return "required" if required else "optional"
