"""Pulling as the settings say: what the command line and Dagster have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from lakehouse.adapters.iceberg.catalog import connect, find_table
from lakehouse.contracts.pull import CLOSED
from lakehouse.domains.rawg.api import API
from lakehouse.domains.rawg.lake import Landed
from lakehouse.domains.rawg.pull import Pulled, pull
from lakehouse.domains.rawg.source import Client, client_of
from lakehouse.domains.rawg.windows import Window, updated_between
from lakehouse.errors import LakehouseError
from lakehouse.ledger.budget import Budget
from lakehouse.ledger.pulls import Pulls, under_way
from lakehouse.naming import RAWG_GAMES

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from lakehouse.settings import Settings

OVERLAP_DAYS = 2
"""Newest days of those read that are read again: nobody says in which zone RAWG's days are,
and a day's games may be seen late."""
FIRST_LOOK_BACK_DAYS = 7
"""Days that the first daily run looks back, before any was read."""
MOST_DAYS = 90
"""Days of updates that one run reads at most; what is older is for months of release."""


@dataclass(frozen=True)
class Status:
    """How the pulls are doing."""

    month: str
    used: int
    limit: int
    windows: list[dict[str, Any]]
    """Of each window the newest pull: ``pull_window``, ``outcome``, ``said``, ``landed_rows``, ``unchanged``,
    ``refused``, ``requests``, ``completed_at``."""
    under_way: list[dict[str, Any]]
    """Pulls that have begun: ``pull_window``, ``said``, ``seen``, ``page``, ``started_at``."""


def pull_windows(
    settings: Settings,
    windows: Sequence[Window],
    *,
    run_id: str,
    again: bool = False,
    on_landed: Callable[[Landed, Pulled], None] = lambda landed, pulled: None,
    on_window: Callable[[int, int], None] = lambda done, known: None,
) -> Pulled:
    """Pull windows with the key, at the rate and within the budget that the settings say.

    Raises:
        LakehouseError: the catalog or the API does not answer, the key is refused, or the budget is spent. What was
            read is landed; the next run goes on from there.
    """
    catalog = connect(settings)
    with asking(settings, catalog) as client:
        return pull(
            client,
            catalog,
            windows,
            run_id=run_id,
            workers=settings.rawg_workers,
            again=again,
            raw=settings.raw_place,
            flush_seconds=settings.flush_interval_sec,
            on_landed=on_landed,
            on_window=on_window,
        )


@contextmanager
def asking(settings: Settings, catalog: Catalog) -> Iterator[Client]:
    """A client with the key, at the rate and within the budget that the settings say."""
    with closing(_budget(settings, catalog)) as budget:
        yield client_of(settings, budget.take)


def days_to_update(settings: Settings, *, since: date | None = None, until: date | None = None) -> list[Window]:
    """Windows of the days of update that are due, to yesterday: those not read to their end yet, and the newest again.

    Args:
        settings: Where the catalog is.
        since: First day, if another one is wanted: then all days from there.
        until: Last day, if another one is wanted. Today's games go on changing while they are read.

    Raises:
        LakehouseError: the first day is after the last, or the catalog does not answer.
    """
    until = until or datetime.now(UTC).date() - timedelta(days=1)
    if since is not None and since > until:
        raise LakehouseError(f"{since} is after {until}")
    return updated_between(since, until) if since is not None else _due(connect(settings), until)


def _due(catalog: Catalog, until: date) -> list[Window]:
    """Days are read side by side, so one may have failed though later ones were read."""
    newest = Pulls(catalog, API.source).newest()
    table = find_table(catalog, RAWG_GAMES)
    begun = under_way(table.properties, API.source) if table is not None else {}
    outcomes = {window: pull["outcome"] for window, pull in newest.items()} | dict.fromkeys(begun)
    # One that was split has a pull for each part, and one of its own when all of them were read.
    of_day = {window: re.match(r"updated:(\d{4}-\d\d-\d\d)", window) for window in outcomes}
    days = {window: date.fromisoformat(found[1]) for window, found in of_day.items() if found}
    read = {day for window, day in days.items() if outcomes[window] == CLOSED and window == f"updated:{day}"}
    read = {day for day in read if day <= until}
    again = max(read, default=date.max) - timedelta(days=OVERLAP_DAYS - 1)
    first = min([*days.values(), until - timedelta(days=FIRST_LOOK_BACK_DAYS - 1)])
    first = max(first, until - timedelta(days=MOST_DAYS - 1))
    wanted = updated_between(first, until)
    return [one for one in wanted if one.updated and (one.updated[0] not in read or one.updated[0] >= again)]


def status(settings: Settings) -> Status:
    """Requests of the month, and how every window is doing.

    Raises:
        LakehouseError: the catalog does not answer.
    """
    catalog = connect(settings)
    columns = ("outcome", "said", "landed_rows", "unchanged", "refused", "requests", "completed_at")
    newest = Pulls(catalog, API.source).newest(columns)
    table = find_table(catalog, RAWG_GAMES)
    begun = under_way(table.properties, API.source) if table is not None else {}
    return Status(
        month=f"{datetime.now(UTC):%Y-%m}",
        used=_budget(settings, catalog).used(),
        limit=settings.rawg_requests_per_month,
        windows=[{name: pull[name] for name in ("pull_window", *columns)} for _, pull in sorted(newest.items())],
        under_way=[
            {
                "pull_window": window,
                "said": progress.said,
                "seen": len(progress.seen),
                "page": progress.page,
                "started_at": progress.started_at,
            }
            for window, progress in sorted(begun.items())
        ],
    )


def _budget(settings: Settings, catalog: Catalog) -> Budget:
    limit = settings.rawg_requests_per_month
    return Budget(catalog, API.source, limit, advice="; it begins anew next month, or raise rawg_requests_per_month")
