"""The one way into the Iceberg catalog."""

from __future__ import annotations

import contextlib
import functools
import uuid
from typing import TYPE_CHECKING

from pyiceberg.catalog import Catalog, CatalogType, load_catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    RESTError,
    TableAlreadyExistsError,
)
from pyiceberg.table import Table
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from lakehouse.contracts.contract import Column, Contract
from lakehouse.contracts.iceberg import (
    ICEBERG_TYPES,
    iceberg_partition_spec,
    iceberg_schema,
    incompatibilities,
    missing_columns,
)
from lakehouse.errors import IncompatibleSchemaError, LakehouseError
from lakehouse.naming import CATALOG, Layer, TableName
from lakehouse.settings import bucket_and_key, is_s3

if TYPE_CHECKING:
    from lakehouse.settings import Settings

TABLE_PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "write.parquet.compression-level": "1",
    # Ids and payloads hardly repeat: give a column's dictionary up early instead of building it for nothing. Its size
    # is looked at once in so many rows.
    "write.parquet.dict-size-bytes": str(64 * 1024),
    "write.parquet.page-row-limit": "4096",
    # A merge of few rows into many adds files of deleted places, and leaves the others to maintenance.
    "write.merge.mode": "merge-on-read",
    # Every commit writes a metadata file; without these two the old ones would pile up for ever.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


def open_catalog(settings: Settings) -> Catalog:
    """Connect to the catalog and make sure its namespaces exist. A process has one, whoever asks and how often."""
    catalog = _catalog(tuple({**_place(settings), **_s3_properties(settings)}.items()))
    ensure_namespaces(catalog)
    return catalog


def _place(settings: Settings) -> dict[str, str]:
    """Where the catalog is, and what it is."""
    if settings.catalog_address:
        kind = CatalogType.HIVE if settings.is_hive else CatalogType.REST
        where = {"type": kind.value, "uri": settings.catalog_address}
        # A REST catalog has warehouses of its own, by names.
        return where | {"warehouse": settings.warehouse_uri} if settings.is_hive else where
    return {
        "type": CatalogType.SQL.value,
        "uri": settings.catalog_uri,
        "warehouse": settings.warehouse_uri,
        "init_catalog_tables": "true",
        "pool_pre_ping": "true",
    }


@functools.lru_cache
def _catalog(properties: tuple[tuple[str, str], ...]) -> Catalog:
    # A pool that nobody uses any more keeps its connection until cycles are collected: a process that opens one at
    # every tick of a sensor comes to the role's limit.
    return load_catalog(CATALOG, **dict(properties))


def connect(settings: Settings) -> Catalog:
    """`open_catalog` for people: a catalog or a bucket that does not answer is a message, not a stack trace.

    Raises:
        LakehouseError: the catalog or the warehouse's bucket does not answer, or refuses.
    """
    if is_s3(settings.warehouse_uri):
        from lakehouse.adapters.s3.client import require_bucket

        require_bucket(settings, bucket_and_key(settings.warehouse_uri)[0])
    try:
        return open_catalog(settings)
    except SQLAlchemyError as error:
        where = f"{settings.db_address}:{settings.db_port}"
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
    except (RequestException, RESTError) as error:
        where, reason = settings.catalog_address, type(error).__name__
    raise LakehouseError(
        f"the Iceberg catalog does not answer at {where}: {reason}; is it up? `lakehouse status`, `lakehouse up`"
    )


def ensure_namespaces(catalog: Catalog) -> None:
    """Create the namespaces of the layers where they are missing."""
    for layer in Layer:
        try:
            catalog.create_namespace_if_not_exists(str(layer))
        except NamespaceAlreadyExistsError:  # made by someone else in between
            continue


def find_table(catalog: Catalog, name: TableName) -> Table | None:
    """The table as it is, or None while it does not exist."""
    try:
        return catalog.load_table(name.identifier)
    except NoSuchTableError:
        return None


def ensure_table(catalog: Catalog, contract: Contract) -> Table:
    """Load a table, created or evolved to its contract first.

    Raises:
        IncompatibleSchemaError: naming what differs, when adding optional columns cannot mend it.
    """
    table = find_table(catalog, contract.table) or _create(catalog, contract)
    while missing := _missing(contract, table):
        # Someone else may add the same columns, or commit rows, at this moment.
        with contextlib.suppress(CommitFailedException), table.update_schema() as update:
            for column in missing:
                update.add_column(column.name, ICEBERG_TYPES[column.type], doc=column.description)
        table.refresh()
    return table


def _create(catalog: Catalog, contract: Contract) -> Table:
    if isinstance(catalog, RestCatalog):
        return _create_with_snapshot(catalog, contract)
    try:
        return _create_as(catalog, contract, contract.table.table)
    except TableAlreadyExistsError:
        return catalog.load_table(contract.table.identifier)


def _create_as(catalog: Catalog, contract: Contract, name: str) -> Table:
    return catalog.create_table(
        (str(contract.table.layer), name),
        schema=iceberg_schema(contract),
        partition_spec=iceberg_partition_spec(contract),
        properties=TABLE_PROPERTIES,
    )


def _create_with_snapshot(catalog: RestCatalog, contract: Contract) -> Table:
    """A table that has a snapshot when it gets its name.

    Nessie holds a commit against the snapshot that it came after; where there is none, two writers would both be let
    through, the second over the first.
    """
    made = _create_as(catalog, contract, f"{contract.table.table}_{uuid.uuid4().hex}")
    try:
        made.append(made.schema().as_arrow().empty_table())
        catalog.rename_table(made.name(), contract.table.identifier)
    except TableAlreadyExistsError:
        catalog.drop_table(made.name())
    loaded: Table = catalog.load_table(contract.table.identifier)
    return loaded


def _missing(contract: Contract, table: Table) -> list[Column]:
    """Columns to add."""
    if problems := incompatibilities(contract, table.schema()):
        raise IncompatibleSchemaError(
            f"{contract.table} does not fit its contract ({contract.fingerprint}):\n  " + "\n  ".join(problems)
        )
    return missing_columns(contract, table.schema())


def _s3_properties(settings: Settings) -> dict[str, str]:
    if not settings.s3_buckets:
        return {}
    key, secret = settings.s3_keys
    given = {
        "s3.endpoint": settings.s3_url,
        "s3.region": settings.s3_region,
        "s3.access-key-id": key,
        "s3.secret-access-key": secret,
    }
    return {name: value for name, value in given.items() if value}
