"""Days of the conversions made anew: on a branch of each table, audited there, and only then for everyone to see."""

from __future__ import annotations

import getpass
import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
from pyiceberg.table.snapshots import ancestors_of
from pyspark.sql import functions as sf

from lakehouse.adapters.iceberg.catalog import ensure_table, find_table
from lakehouse.contracts.arrow import arrow_schema
from lakehouse.contracts.contract import Contract
from lakehouse.domains.conversions import gold, silver, tables
from lakehouse.domains.conversions.silver import on_days
from lakehouse.errors import LakehouseError
from lakehouse.naming import (
    CATALOG,
    CONVERSION_EVENTS,
    CONVERSIONS,
    CONVERSIONS_DAILY,
    DIM_USER,
    FACT_CONVERSIONS,
    TableName,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from lakehouse.adapters.spark.workspace import Workspace

IN_ORDER: tuple[Contract, ...] = (
    *(tables.CONVERSION, tables.USER_VERSION, tables.USER, tables.FACT),
    *(tables.DAILY, tables.HOURLY, tables.POPULARITY),
)
"""The tables that a backfill makes, each after those it is made of; so they become visible too."""
ATTEMPTS = 3
TOLERANCE = 0.5
"""Share by which the number of conversions of a day may change."""
_BRANCH = "backfill_"
FAILED, SWAPPING, OVERTAKEN, DONE = "failed", "swapping", "overtaken", "done"

Step = Callable[[str], None]


@dataclass(frozen=True)
class Audit:
    """A question asked of the branches."""

    name: str
    problem: str | None
    """What is wrong; None where nothing is."""


@dataclass(frozen=True)
class Difference:
    """Conversions of a day as everyone sees them and as they are on the branch."""

    day: date
    before: int
    after: int


@dataclass(frozen=True)
class Backfill:
    """One backfill, and how far it is."""

    backfill_id: str
    first_day: date
    last_day: date
    state: str
    audits: list[Audit] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    @property
    def branch(self) -> str:
        """Name of the branch of each table."""
        return f"{_BRANCH}{self.backfill_id}"

    @property
    def problems(self) -> list[str]:
        """What the audits found."""
        return [f"{audit.name}: {audit.problem}" for audit in self.audits if audit.problem]


def run_backfill(
    work: Workspace, first: date, last: date, *, tolerance: float = TOLERANCE, on_step: Step = lambda step: None
) -> Backfill:
    """Make days of silver and gold anew from bronze, and let everyone see them when they pass their audits.

    What follows on other days, such as versions of users, is made anew as well. Repeating it is harmless.

    Args:
        work: Where, as everyone sees it.
        first: First day (UTC).
        last: Last day, included.
        tolerance: Share by which the number of conversions of a day may change.
        on_step: Told what is being done.

    Raises:
        LakehouseError: an audit failed, which leaves the tables as they were and the branches to look at; a table
            was never made; or others went on writing to them.
    """
    roll_forward(work)
    if missing := [str(contract.table) for contract in IN_ORDER if work.head(contract.table) is None]:
        raise LakehouseError(f"there is nothing to make anew: {', '.join(missing)} has no rows yet")
    days = [str(first + timedelta(days=n)) for n in range((last - first).days + 1)]
    for _ in range(ATTEMPTS):
        backfill = Backfill(uuid.uuid4().hex[:12], first, last, SWAPPING)
        there = replace(work, branch=backfill.branch)
        _create_branches(work, backfill)
        _build(there, days, on_step)
        on_step("auditing the branches")
        found = differences(work, there, days)
        backfill = replace(backfill, audits=list(audit(there, days, found, tolerance)), differences=found)
        if backfill.problems:
            write_down(work, replace(backfill, state=FAILED))
            raise LakehouseError(
                "the audit failed, the tables are as they were:\n  "
                + "\n  ".join(backfill.problems)
                + f"\nWhat was made is on branch {backfill.branch} of {', '.join(str(c.table) for c in IN_ORDER)}"
            )
        write_down(work, backfill)
        on_step("moving the tables")
        if _swap(work, backfill):
            return replace(backfill, state=DONE)
    raise LakehouseError(f"others went on writing to the tables: given up after {ATTEMPTS} attempts, try again later")


def roll_forward(work: Workspace) -> None:
    """Complete the swap of a backfill that was ended in it: its audits had passed, and part of it may be visible."""
    for unfinished in _unfinished(work):
        if not _swap(work, unfinished):
            run_backfill(work, unfinished.first_day, unfinished.last_day)


def audit(there: Workspace, days: list[str], found: list[Difference], tolerance: float) -> Iterable[Audit]:
    """Ask what must hold of the branches.

    Args:
        there: The branches.
        days: That were made anew.
        found: What changes by day.
        tolerance: Share by which the number of conversions of a day may change.
    """
    bronze = there.head(CONVERSION_EVENTS)
    events = there.at(CONVERSION_EVENTS, bronze.snapshot_id if bronze else None)
    sensible = silver.judge(on_days(events, days)).where("reason is null").agg(sf.count_distinct("event_id"))
    rows = on_days(_now(there, CONVERSIONS), days)
    facts = on_days(_now(there, FACT_CONVERSIONS), days)
    users = _now(there, DIM_USER)
    counts = (_number(sensible), rows.count(), facts.count())
    yield Audit(
        "row counts",
        None
        if len(set(counts)) == 1
        else f"{counts[0]:,} sensible events in bronze, {counts[1]:,} rows in silver, {counts[2]:,} facts",
    )
    for name, frame, key in (
        (CONVERSIONS, rows, "event_id"),
        (FACT_CONVERSIONS, facts, "event_id"),
        (DIM_USER, users, "user_key"),
    ):
        twice = _number(frame.agg(sf.count("*") - sf.count_distinct(key)))
        yield Audit(f"{key} is unique in {name}", f"{twice:,} rows too many" if twice else None)
    lost = facts.join(users, "user_key", "leftanti").count()
    yield Audit("every fact has its user", f"{lost:,} facts have none" if lost else None)
    for column in (c for contract in (tables.CONVERSION, tables.USER) for c in contract.fields if c.known_values):
        frame = users if column in tables.USER.fields else rows
        strange = frame.where(~sf.col(column.name).isin(*column.known_values)).count()
        yield Audit(f"{column.name} has a known value", f"{strange:,} rows have another" if strange else None)
    jumps = [
        f"{d.day} {d.before:,} → {d.after:,}"
        for d in found
        if d.before and abs(d.after - d.before) > tolerance * d.before
    ]
    yield Audit(f"no day changes by more than {tolerance:.0%}", ", ".join(jumps) or None)


def differences(main: Workspace, there: Workspace, days: list[str]) -> list[Difference]:
    """Conversions by day, as everyone sees them and on the branch."""

    def by_day(work: Workspace) -> dict[date, int]:
        counted = on_days(_now(work, CONVERSIONS_DAILY), days, "date_key").select("date_key", "conversions")
        return {row["date_key"]: row["conversions"] for row in counted.toArrow().to_pylist()}

    before, after = by_day(main), by_day(there)
    return [Difference(day, before.get(day, 0), after.get(day, 0)) for day in sorted({*before, *after})]


def write_down(work: Workspace, backfill: Backfill) -> None:
    """Say in the log how far a backfill is: who asked for it, when, what it found, and what becomes of the tables."""
    row = {
        "backfill_id": backfill.backfill_id,
        "state": backfill.state,
        "first_day": backfill.first_day,
        "last_day": backfill.last_day,
        "written_at": datetime.now(UTC),
        "written_by": getpass.getuser(),
        "run_id": work.run_id,
        "problems": "\n".join(backfill.problems) or None,
        "audits": json.dumps({audit.name: audit.problem for audit in backfill.audits}),
        "differences": json.dumps({str(d.day): [d.before, d.after] for d in backfill.differences}),
    }
    log = ensure_table(work.catalog, tables.BACKFILL)
    log.append(pa.Table.from_pylist([row], arrow_schema(tables.BACKFILL)))


def _build(there: Workspace, days: list[str], on_step: Step) -> None:
    steps: list[tuple[TableName, Callable[[], object]]] = [
        (CONVERSIONS, lambda: silver.build_conversions(there, days)),
        (tables.USER_VERSION.table, lambda: silver.build_users(there)),
        (DIM_USER, lambda: gold.build_dim_user(there)),
        (FACT_CONVERSIONS, lambda: gold.build_fact(there)),
    ]
    steps += [(mart.table, lambda mart=mart: gold.build_mart(there, mart)) for mart in IN_ORDER[4:]]  # type: ignore[misc]
    for name, build in steps:
        on_step(f"building {name} on its branch")
        build()


def _create_branches(work: Workspace, backfill: Backfill) -> None:
    for contract in IN_ORDER:
        table = work.catalog.load_table(contract.table.identifier)
        table.manage_snapshots().create_branch(_head(work, contract.table), backfill.branch).commit()


def _swap(work: Workspace, backfill: Backfill) -> bool:
    """Move every table to its branch, where it has not moved yet.

    Returns:
        Whether all have; not where one has gone another way meanwhile: then the days have to be made once more.
    """
    for contract in IN_ORDER:
        table = work.catalog.load_table(contract.table.identifier)
        if backfill.branch not in table.refs():
            continue
        branch = table.snapshot_by_name(backfill.branch)
        if _head(work, contract.table) not in {s.snapshot_id for s in ancestors_of(branch, table.metadata)}:
            _drop_branches(work, backfill)
            write_down(work, replace(backfill, state=OVERTAKEN))
            return False
        procedure = f"CALL {CATALOG}.system.fast_forward('{contract.table}', 'main', '{backfill.branch}')"
        work.spark.sql(procedure).collect()
        table.refresh()
        table.manage_snapshots().remove_branch(backfill.branch).commit()
    write_down(work, replace(backfill, state=DONE))
    return True


def drop_failed(work: Workspace) -> None:
    """Drop the branches that backfills with a failed audit left to be looked at."""
    for contract in IN_ORDER:
        if table := find_table(work.catalog, contract.table):
            for name in [name for name in table.refs() if name.startswith(_BRANCH)]:
                table.manage_snapshots().remove_branch(name).commit()


def _drop_branches(work: Workspace, backfill: Backfill) -> None:
    for contract in IN_ORDER:
        table = work.catalog.load_table(contract.table.identifier)
        if backfill.branch in table.refs():
            table.manage_snapshots().remove_branch(backfill.branch).commit()


def _unfinished(work: Workspace) -> list[Backfill]:
    """Backfills of which the log says that they were moving the tables, and not that they had."""
    log = find_table(work.catalog, tables.BACKFILL.table)
    rows = log.scan().to_arrow().sort_by("written_at").to_pylist() if log is not None else []
    newest = {row["backfill_id"]: row for row in rows}
    return [
        Backfill(row["backfill_id"], row["first_day"], row["last_day"], SWAPPING)
        for row in newest.values()
        if row["state"] == SWAPPING
    ]


def _head(work: Workspace, name: TableName) -> int:
    snapshot = work.head(name)
    if snapshot is None:
        raise LakehouseError(f"{name} has no rows yet")
    return snapshot.snapshot_id


def _now(work: Workspace, name: TableName) -> DataFrame:
    return work.at(name, _head(work, name))


def _number(frame: DataFrame) -> int:
    row = frame.first()
    return int(row[0]) if row is not None else 0
