"""What Dagster should know of a table, derived from its name and its contract."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import dagster as dg

from lakehouse.contracts.contract import Column, Contract
from lakehouse.naming import DATA_PLATFORM, Domain, TableName, Topic


def describe(table: TableName) -> dict[str, Any]:
    """Key, group, owners and tags of a table's asset; arguments for ``dg.asset`` or ``dg.AssetSpec``."""
    return {
        "key": dg.AssetKey(table.key),
        "group_name": str(table.domain),
        "owners": [DATA_PLATFORM],
        "tags": {"layer": str(table.layer), "domain": str(table.domain)},
    }


def describe_contract(contract: Contract) -> dict[str, Any]:
    """Like `describe`, with description and column schema from the contract."""
    return {
        **describe(contract.table),
        "description": contract.description,
        "metadata": {"dagster/column_schema": table_schema(contract), "dagster/table_name": contract.table.sql},
        "code_version": str(contract.version),
    }


def describe_served(store: str, name: str, domain: Domain) -> dict[str, Any]:
    """Like `describe`, of a table or a kind of keys in a store that applications read."""
    return {
        "key": dg.AssetKey([store, name]),
        "group_name": str(domain),
        "owners": [DATA_PLATFORM],
        "tags": {"layer": "serving", "domain": str(domain)},
        "kinds": {store},
    }


def topic_spec(topic: Topic, description: str) -> dg.AssetSpec:
    """A Kafka topic as an external asset, so that lineage starts where the records do."""
    return dg.AssetSpec(
        key=dg.AssetKey(topic.asset_key),
        group_name=str(topic.domain),
        owners=[DATA_PLATFORM],
        tags={"layer": "source", "domain": str(topic.domain)},
        kinds={"kafka"},
        description=description,
        metadata={"topic": topic.name, "partitions": topic.partitions, "retention_hours": topic.retention_hours},
    )


def staging_key(contract: Contract) -> dg.AssetKey:
    """Key of the files that are dropped for a contract's table."""
    return dg.AssetKey(["staging", contract.table.table])


def staging_spec(contract: Contract, description: str) -> dg.AssetSpec:
    """Dropped files as an external asset, the second beginning of the lineage."""
    return _source_spec(staging_key(contract), contract, "file", description)


def api_key(contract: Contract) -> dg.AssetKey:
    """Key of the API that a contract's table is pulled from."""
    return dg.AssetKey(["api", contract.table.table])


def api_spec(contract: Contract, description: str) -> dg.AssetSpec:
    """An API as an external asset, so that lineage starts there."""
    return _source_spec(api_key(contract), contract, "api", description)


def _source_spec(key: dg.AssetKey, contract: Contract, kind: str, description: str) -> dg.AssetSpec:
    """Where the records of a contract's table come from, as an external asset."""
    return dg.AssetSpec(
        key=key,
        group_name=str(contract.table.domain),
        owners=[DATA_PLATFORM],
        tags={"layer": "source", "domain": str(contract.table.domain)},
        kinds={kind},
        description=description,
    )


def freshness(*, fail_hours: float, warn_hours: float) -> dg.FreshnessPolicy:
    """Policy of a table that should have been materialised within the last hours."""
    return dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=fail_hours), warn_window=timedelta(hours=warn_hours)
    )


def table_schema(contract: Contract) -> dg.TableSchema:
    """Columns as Dagster shows them."""
    return dg.TableSchema(columns=[_table_column(column) for column in contract.columns])


def _table_column(column: Column) -> dg.TableColumn:
    return dg.TableColumn(
        name=column.name,
        type=str(column.type),
        description=column.description,
        constraints=dg.TableColumnConstraints(nullable=not column.required),
        tags={"personal_data": ""} if column.is_personal else {},
    )
