"""Requests that may be made of an API in a month, counted across runs in the lake itself.

A run takes them in blocks before it makes them, and gives back what it did not need. One that is killed leaves its
block counted: the budget is never exceeded, at most not used up.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime

from pyiceberg.catalog import Catalog

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.contracts.arrow import arrow_schema
from lakehouse.contracts.pull import PULL_RECORD
from lakehouse.errors import LakehouseError
from lakehouse.ledger.commit import append, until_won

PREFIX = "lakehouse.requests."
BLOCK = 200


class BudgetError(LakehouseError):
    """There are no requests left for the month."""


class Budget:
    """The requests of a source in the month that is now (UTC). Threads may share one."""

    def __init__(self, catalog: Catalog, source: str, limit: int, *, advice: str = "") -> None:
        """Open the table of pulls, whose property the count is.

        Args:
            catalog: Where the table is.
            source: The API.
            limit: Requests a month.
            advice: What to do when they are used up.
        """
        self._table = ensure_table(catalog, PULL_RECORD)
        self._source, self._limit, self._advice = source, limit, advice
        self._lock = threading.Lock()
        self._month, self._left = "", 0

    def take(self) -> None:
        """Count one request.

        Raises:
            BudgetError: none is left.
        """
        with self._lock:
            month = f"{datetime.now(UTC):%Y-%m}"
            if self._left and month == self._month:
                self._left -= 1
                return
            self._month, self._left = month, 0
            self._left = self._reserve(month) - 1

    def close(self) -> None:
        """Give back what was not needed."""
        with self._lock:
            left, self._left = self._left, 0
            if left:
                self._add(self._month, -left)

    def used(self) -> int:
        """Requests of this month so far, those that a run has taken and not made yet included."""
        self._table.refresh()
        return used_requests(self._table.properties, self._source).get(f"{datetime.now(UTC):%Y-%m}", 0)

    def _reserve(self, month: str) -> int:
        block = self._add(month, BLOCK)
        if not block:
            raise BudgetError(
                f"the budget of {self._limit:,} requests to {self._source} in {month} is used up{self._advice}"
            )
        return block

    def _add(self, month: str, requests: int) -> int:
        """Count so many requests, but no more than there are left; how many that is."""

        def add() -> int:
            self._table.refresh()
            used = used_requests(self._table.properties, self._source).get(month, 0)
            added = min(requests, max(0, self._limit - used))
            if added:
                counted = {f"{PREFIX}{self._source}.{month}": str(used + added)}
                append(self._table, arrow_schema(PULL_RECORD).empty_table(), counted, {})
            return added

        return until_won(self._table, add)


def used_requests(properties: Mapping[str, str], source: str) -> dict[str, int]:
    """Requests by month, as ``2026-11``."""
    start = f"{PREFIX}{source}."
    return {name.removeprefix(start): int(n) for name, n in sorted(properties.items()) if name.startswith(start)}
