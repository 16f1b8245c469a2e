"""A table follows its contract by adding optional columns, and by nothing else."""

from dataclasses import replace

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.contracts.contract import Column, Type
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.errors import IncompatibleSchemaError

DEPARTMENT = Column("department", Type.STRING, "Department in charge.")


def test_a_new_optional_column_is_added(catalog: SqlCatalog) -> None:
    ensure_table(catalog, SERVICE_EVENT)
    wider = replace(SERVICE_EVENT, fields=(*SERVICE_EVENT.fields, DEPARTMENT))
    assert ensure_table(catalog, wider).schema().find_field("department").doc == "Department in charge."


def test_a_new_required_column_stops_with_the_difference(catalog: SqlCatalog) -> None:
    ensure_table(catalog, SERVICE_EVENT)
    wider = replace(SERVICE_EVENT, fields=(*SERVICE_EVENT.fields, replace(DEPARTMENT, required=True)))
    with pytest.raises(IncompatibleSchemaError, match="department: a new column must be optional"):
        ensure_table(catalog, wider)


def test_another_type_stops_with_the_difference(catalog: SqlCatalog) -> None:
    ensure_table(catalog, SERVICE_EVENT)
    changed = tuple(replace(c, type=Type.LONG) if c.name == "ward_id" else c for c in SERVICE_EVENT.fields)
    with pytest.raises(IncompatibleSchemaError, match="ward_id: string in the table, long in the contract"):
        ensure_table(catalog, replace(SERVICE_EVENT, fields=changed))


def test_tables_are_partitioned_as_the_contract_says(catalog: SqlCatalog) -> None:
    spec = ensure_table(catalog, SERVICE_EVENT).spec()
    assert [field.name for field in spec.fields] == ["event_date", "service"]
