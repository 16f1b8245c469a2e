"""dbt models over a bronze table that a test fills by SQL, on a real Trino, in schemas that nobody else uses."""

from __future__ import annotations

import json
import re
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.table import Table
from trino.dbapi import connect

from lakehouse.settings import PROJECT
from lakehouse_tests.conftest import Stack

DBT_PROJECT = PROJECT / "dbt_project"

Row = dict[str, Any]
Rows = dict[tuple[Any, ...], Row]
"""Rows of a table by their key."""
Contents = dict[str, Rows]
"""Rows of each table."""


@dataclass(frozen=True)
class Models:
    """The models of a domain, and the table that they read."""

    domain: str
    bronze: str
    columns: Mapping[str, str]
    """Of the bronze table, with their types in SQL."""
    partitioning: tuple[str, ...]
    keys: Mapping[str, tuple[str, ...]]
    """Columns of the key of each table that is made."""


class Warehouse:
    """One bronze table and the models over it, under a schema prefix nobody else uses."""

    def __init__(self, connection: Any, models: Models, workdir: Path, prefix: str | None = None) -> None:
        self.models = models
        self.prefix = f"test_{uuid.uuid4().hex[:8]}_" if prefix is None else prefix
        self._connection = connection
        self._workdir = workdir
        self._manifest: Any = None
        self._log: list[str] = []

    def create(self) -> None:
        """Make the bronze table, and read the project once for all runs."""
        self.sql("create schema {p}bronze")
        columns = ", ".join(f"{name} {kind}" for name, kind in self.models.columns.items())
        partitioning = ", ".join(f"'{column}'" for column in self.models.partitioning)
        self.sql(f"create table {self.bronze} ({columns}) with (partitioning = array[{partitioning}])")
        self.dbt("parse")

    def drop(self) -> None:
        """Remove all schemas."""
        for layer in ("bronze", "silver", "gold"):
            self.sql(f"drop schema if exists {{p}}{layer} cascade")

    @property
    def bronze(self) -> str:
        """The table, as `sql` takes it."""
        return f"{{p}}bronze.{self.models.bronze}"

    def sql(self, statement: str) -> list[list[Any]]:
        """Run one statement; `{p}` stands for the schema prefix."""
        cursor = self._connection.cursor()
        cursor.execute(statement.replace("{p}", self.prefix))
        return list(cursor.fetchall())

    def rows(self, table: str) -> list[Row]:
        """All rows of a table, as dicts."""
        cursor = self._connection.cursor()
        cursor.execute(f"select * from {self.prefix}{table}")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def table(self, table: str) -> Table:
        """A table as PyIceberg has it."""
        from lakehouse.adapters.iceberg.catalog import connect
        from lakehouse.settings import load

        return connect(load()).load_table(f"{self.prefix}{table}")

    def landed(self) -> list[Row]:
        """All rows of the bronze table."""
        return self.rows(f"bronze.{self.models.bronze}")

    def land(self, events: list[Row]) -> None:
        """Append events to bronze in one commit."""
        columns = self.models.columns
        values = ", ".join("(" + ", ".join(literal(event.get(name)) for name in columns) + ")" for event in events)
        self.sql(f"insert into {self.bronze} values {values}")

    def contents(self) -> Contents:
        """What the tables hold, by key; also proves that the keys are keys."""
        found = {}
        for table, key in self.models.keys.items():
            rows = self.rows(table)
            found[table] = {tuple(row[name] for name in key): row for row in rows}
            assert len(found[table]) == len(rows), f"{table}: {key} is no key"
        return found

    def snapshots(self) -> list[list[Any]]:
        """Snapshots of each table."""
        tables = (table.replace(".", '."') for table in self.models.keys)
        return [self.sql(f'select snapshot_id from {{p}}{table}$snapshots" order by 1') for table in tables]

    def reads(self) -> dict[str, list[str]]:
        """How each model read its source, run by run, as `plan_read` logs it."""
        found: dict[str, list[str]] = defaultdict(list)
        for schema, table, mode in re.findall(rf'"{self.prefix}(\w+)"\."(\w+)" reads (\w+) of', "\n".join(self._log)):
            found[f"{schema}.{table}"].append(mode)
        return dict(found)

    def _note(self, event: Any) -> None:
        self._log.append(event.info.msg)

    def run(self, *arguments: str, **variables: str) -> None:
        """Run the models of the domain."""
        self.dbt("run", "--select", f"group:{self.models.domain}", *arguments, **variables)

    def dbt(self, *arguments: str, **variables: str) -> None:
        """Run dbt in this process and insist that it succeeds."""
        from dbt.cli.main import dbtRunner

        values = {"schema_prefix": self.prefix, **variables}
        runner = dbtRunner(manifest=None if variables else self._manifest, callbacks=[self._note])
        result: Any = runner.invoke(
            [
                *arguments,
                "--vars",
                json.dumps(values),
                "--project-dir",
                str(DBT_PROJECT),
                "--profiles-dir",
                str(DBT_PROJECT),
                "--target-path",
                str(self._workdir / "target"),
                "--log-level-file",
                "none",
                "--quiet",
            ]
        )
        if result.exception:
            raise result.exception
        if arguments[0] == "parse":
            self._manifest = result.result
        assert result.success, [f"{r.node.name}: {r.message}" for r in result.result if r.status in {"error", "fail"}]


def open_warehouse(stack: Stack, models: Models, workdir: Path, prefix: str | None = None) -> Iterator[Warehouse]:
    """A warehouse of its own for a test, removed after it; with the prefix "" the tables of the stack, which stay."""
    settings = stack.settings
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRINO_HOST", settings.trino_address)
        patch.setenv("TRINO_PORT", str(settings.trino_port))
        patch.setenv("TRINO_USER", settings.trino_user)
        connection = connect(  # type: ignore[no-untyped-call]
            host=settings.trino_address,
            port=settings.trino_port,
            user=settings.trino_user,
            catalog="iceberg",
            timezone="UTC",
        )
        made = Warehouse(connection, models, workdir, prefix)
        try:
            if made.prefix:
                made.create()
            else:
                made.dbt("parse")
            yield made
        finally:
            if made.prefix:
                made.drop()
            connection.close()


def literal(value: Any) -> str:
    """A value in SQL."""
    match value:
        case None:
            return "null"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case datetime():
            return f"timestamp '{value:%Y-%m-%d %H:%M:%S.%f} UTC'"
        case date():
            return f"date '{value}'"
    return str(value)


def without_audit(rows: Rows) -> Rows:
    """Rows without the columns that say who wrote them."""
    return {key: {n: v for n, v in row.items() if not n.startswith("_audit_")} for key, row in rows.items()}


def assert_equals(found: Contents, wanted: Contents) -> None:
    """Each table holds the rows that it should, whoever wrote them."""
    assert found.keys() == wanted.keys()
    for table, want in wanted.items():
        have = without_audit(found[table])
        assert have.keys() == want.keys(), table
        for key, row in want.items():
            assert have[key] == row, (table, key)


def assert_untouched_rows_stay(before: Contents, after: Contents) -> None:
    """A row that says the same as before was not written again."""
    for table, rows in before.items():
        old, new = without_audit(rows), without_audit(after[table])
        for key in old.keys() & new.keys():
            if old[key] == new[key]:
                assert rows[key] == after[table][key], f"{table}: {key} was written again"
