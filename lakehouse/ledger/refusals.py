"""How much was refused lately, by source, reason and hour."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog

from lakehouse.ledger.history import commits
from lakehouse.ledger.lookup import select_dead_letters
from lakehouse.naming import TableName

WINDOW = timedelta(hours=24)


@dataclass(frozen=True)
class Refusals:
    """A day of dead letters."""

    accepted: int
    """Rows that came in meanwhile, by the tables' own history."""
    by_hour: pa.Table
    """``source``, ``error_type``, ``hour`` (UTC) and ``dead_letters``, the newest hour first."""

    @property
    def refused(self) -> int:
        """Dead letters of the day."""
        return int(pc.sum(self.by_hour["dead_letters"]).as_py() or 0)

    @property
    def share(self) -> float:
        """Share of the day's records that was refused."""
        total = self.accepted + self.refused
        return self.refused / total if total else 0.0


def recent_refusals(catalog: Catalog, tables: Iterable[TableName], now: datetime) -> Refusals:
    """What was refused in the last day, and how many rows came in.

    Args:
        catalog: Where the tables are.
        tables: Bronze tables whose rows count as accepted.
        now: End of the day, with a time zone.
    """
    since = now - WINDOW
    columns = ("source", "error_type", "failed_at")
    letters = select_dead_letters(catalog, since=since, columns=columns)
    hours = pc.floor_temporal(letters["failed_at"], unit="hour")
    counted = letters.select(["source", "error_type"]).append_column("hour", hours)
    grouped = counted.group_by(["source", "error_type", "hour"]).aggregate([([], "count_all")])
    by_hour = grouped.rename_columns(["source", "error_type", "hour", "dead_letters"])
    by_hour = by_hour.sort_by([("hour", "descending"), ("dead_letters", "descending")])
    return Refusals(sum(_added(catalog, name, since) for name in tables), by_hour)


def _added(catalog: Catalog, name: TableName, since: datetime) -> int:
    return sum(commit.added_rows for commit in commits(catalog, name, since) if commit.brings_rows)
