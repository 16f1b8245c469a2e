"""Contracts rendered to dbt sources: one generated file, so that a column's description is written once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from lakehouse.contracts.contract import Contract
from lakehouse.naming import TRINO_CATALOG, Layer

HEADER = "# Generated from the contracts by `python -m lakehouse.generate`; a test fails when it is stale.\n"


DESCRIPTIONS = {
    Layer.BRONZE: "Tables as ingestion lands them, append-only.",
    Layer.SILVER: "Tables that Spark makes of bronze.",
    Layer.GOLD: "Tables that Flink keeps up to date.",
}


def dbt_sources(layer: Layer, contracts: Iterable[Contract]) -> str:
    """The source file of a layer, as text."""
    source = {
        "name": str(layer),
        "database": TRINO_CATALOG,
        "schema": "{{ var('schema_prefix') }}" + str(layer),
        "description": DESCRIPTIONS[layer],
        "tables": [_table(contract) for contract in contracts],
    }
    text = yaml.safe_dump({"version": 2, "sources": [source]}, sort_keys=False, width=110, allow_unicode=True)
    return HEADER + text


def _table(contract: Contract) -> dict[str, Any]:
    columns = []
    for column in contract.columns:
        known = f" Known values: {', '.join(column.known_values)}." if column.known_values else ""
        tested = {"data_tests": ["not_null"]} if column.name in contract.key else {}
        columns.append({"name": column.name, "description": column.description + known, **tested})
    is_key: Any = {"unique_combination": {"arguments": {"columns": list(contract.key)}}}
    tested = {"data_tests": [is_key]} if contract.key else {}
    return {"name": contract.table.table, "description": contract.description, **tested, "columns": columns}
