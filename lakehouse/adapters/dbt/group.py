"""The models of a dbt group, and whether their tables are what dbt would make of their sources.

Then there is nothing for it to do: to find that out by itself it starts, plans each model and merges nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException

from lakehouse.adapters.dbt.project import DBT_PROJECT, ensure_manifest
from lakehouse.adapters.iceberg.catalog import find_table
from lakehouse.adapters.iceberg.history import Mode, plan_read
from lakehouse.naming import Domain, Layer, TableName

BUILT = "lakehouse.built-of"
"""Property of a group's first table: what all its tables were built of last, as JSON."""
PROJECT = "lakehouse"
TODAY = f"macro.{PROJECT}.today"
"""A model that asks for the day is another one on each."""

Snapshots = dict[str, int | None]
"""Newest snapshot by table; None where it has none."""


@dataclass(frozen=True)
class Group:
    """The models of a group, as the manifest has them."""

    domain: Domain
    manifest: Mapping[str, Any]

    @classmethod
    def of(cls, domain: Domain) -> Group:
        """The models of a domain.

        Raises:
            LakehouseError: dbt cannot parse the project.
        """
        return cls(domain, json.loads(ensure_manifest().read_text()))

    def sources(self, catalog: Catalog) -> Snapshots:
        """What the models would read now; to be asked before they are built, for `note_built`."""
        return self._newest(catalog, self._sources)

    def is_built(self, catalog: Catalog) -> bool:
        """Whether sources, tables and code are what they were when the tables were built last."""
        holder = find_table(catalog, self._tables[0])
        noted = json.loads(holder.properties.get(BUILT, "{}")) if holder else {}
        return noted.get("code") == self._code() and all(
            self._is_as_it_was(catalog, name, noted["snapshots"].get(str(name)))
            for name in (*self._sources, *self._tables)
        )

    def note_built(self, catalog: Catalog, sources: Snapshots) -> None:
        """Remember that all tables were built.

        Args:
            catalog: Where they are.
            sources: What `sources` said before.
        """
        holder = find_table(catalog, self._tables[0])
        if holder is None:
            return
        noted = {"code": self._code(), "snapshots": sources | self._newest(catalog, self._tables)}
        # Where another one's commit comes first nothing is remembered: the next run builds again, and finds no news.
        with contextlib.suppress(CommitFailedException), holder.transaction() as transaction:
            transaction.set_properties({BUILT: json.dumps(noted, sort_keys=True)})

    @cached_property
    def _models(self) -> list[Mapping[str, Any]]:
        found = [
            node
            for node in self.manifest["nodes"].values()
            if node["resource_type"] == "model" and node.get("group") == self.domain
        ]
        return sorted(found, key=lambda model: str(model["unique_id"]))

    @cached_property
    def _tables(self) -> list[TableName]:
        return [self._named(model["config"]["schema"], model["alias"]) for model in self._models]

    @cached_property
    def _sources(self) -> list[TableName]:
        """Tables that are read and not made here: sources, and models of other groups."""
        read = {name for model in self._models for name in model["depends_on"]["nodes"]}
        nodes = {**self.manifest["nodes"], **self.manifest["sources"]}
        found = [nodes[name] for name in sorted(read) if nodes[name] not in self._models]
        return [
            self._named(one["config"]["schema"], one["alias"])
            if one["resource_type"] == "model"
            else self._named(one["source_name"], one["name"])
            for one in found
        ]

    def _named(self, schema: str, table: str) -> TableName:
        return TableName(Layer(schema), table, self.domain)

    def _code(self) -> str:
        """Digest of settings, models and all our macros; where a model asks for the day, of that, too."""
        told = [(DBT_PROJECT / "dbt_project.yml").read_text()]
        told += [json.dumps([model["checksum"], model["config"]], sort_keys=True) for model in self._models]
        macros = self.manifest["macros"].values()
        told += sorted(macro["macro_sql"] for macro in macros if macro["package_name"] == PROJECT)
        if any(TODAY in model["depends_on"]["macros"] for model in self._models):
            told.append(f"{datetime.now(UTC):%Y-%m-%d}")
        return hashlib.sha256("\0".join(told).encode()).hexdigest()

    @staticmethod
    def _newest(catalog: Catalog, names: Iterable[TableName]) -> Snapshots:
        tables = ((name, find_table(catalog, name)) for name in names)
        heads = ((name, table.current_snapshot() if table else None) for name, table in tables)
        return {str(name): head.snapshot_id if head else None for name, head in heads}

    @staticmethod
    def _is_as_it_was(catalog: Catalog, name: TableName, snapshot_id: int | None) -> bool:
        """Whether a table has the rows that it had at a snapshot, in whatever files."""
        table = find_table(catalog, name)
        if table is None or snapshot_id is None:
            return False
        return plan_read(name, table, table.current_snapshot(), snapshot_id).mode is Mode.NOTHING
