"""Windows: what one pull asks the API for. By release, by update, or both; split until the API pages through it."""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

from lakehouse.errors import LakehouseError

REACH = 10_000
"""Items of a list that the API gives, whatever number it says the list has."""

FIRST_DAY, LAST_DAY = date.min, date.max
FIRST_MONTH, LAST_MONTH = (1980, 1), (2039, 12)
"""Months that are windows of their own; what was released before and after is one window each."""

BUSY = date(1990, 1, 1), date(2035, 1, 1)
"""Where most games are: halves of a range are about equal within it."""

EARLIER, LATER, UNDATED = "earlier", "later", "undated"

Days = tuple[date, date]
"""First and last day, both included."""


@dataclass(frozen=True)
class Window:
    """Games of some days of release, or without one, and of some days of their last update; None: of any."""

    released: Days | None = None
    is_undated: bool = False
    updated: Days | None = None

    @property
    def name(self) -> str:
        """How ledgers and rows name it: ``released:2024-08``, ``updated:2026-11-25+released:none``."""
        parts = []
        if self.updated:
            parts.append(f"updated:{_span(self.updated)}")
        if self.is_undated:
            parts.append("released:none")
        elif self.released:
            parts.append(f"released:{_span(self.released)}")
        return "+".join(parts)

    @property
    def parameters(self) -> dict[str, str]:
        """Filters and order of the list. Games without a date of release cannot be asked for: they come first."""
        asked = {"ordering": "-released" if self.is_undated else "created"}
        if self.released:
            asked["dates"] = ",".join(day.isoformat() for day in self.released)
        if self.updated:
            asked["updated"] = ",".join(day.isoformat() for day in self.updated)
        return asked

    @property
    def dated(self) -> Window:
        """The other games of an undated window's list."""
        return replace(self, is_undated=False, released=(FIRST_DAY, LAST_DAY))

    def split(self) -> list[Window]:
        """Windows that have all its games, and each of them once; none when it is as narrow as can be.

        By the day that it is about first, then by the other one.
        """
        released_first = self.updated is None or (self.released is not None and self.updated[0] == self.updated[1])
        for field in ("released", "updated") if released_first else ("updated", "released"):
            if field == "released" and self.is_undated:
                continue
            days: Days = getattr(self, field) or (FIRST_DAY, LAST_DAY)
            if field == "released" and self.released is None:
                return [replace(self, released=days), replace(self, is_undated=True)]
            if days[0] < days[1]:
                middle = _middle(*days)
                halves = (days[0], middle), (middle + timedelta(days=1), days[1])
                return [replace(self, **{field: half}) for half in halves]  # type: ignore[arg-type]
        return []


def month_window(year: int, month: int) -> Window:
    """Games of a month of release."""
    return Window(released=(date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1])))


def _middle(first: date, last: date) -> date:
    """A day between two, the last one not included; of ranges without an end one in the time of video games."""
    low, high = max(first, BUSY[0]), min(last, BUSY[1])
    low, high = (low, high) if low < high else (first, last)
    return date.fromordinal((low.toordinal() + high.toordinal()) // 2)


def _root_windows() -> dict[str, Window]:
    found = {EARLIER: Window(released=(FIRST_DAY, date(*FIRST_MONTH, 1) - timedelta(days=1)))}
    for year, month in _months(FIRST_MONTH, LAST_MONTH):
        found[f"{year}-{month:02}"] = month_window(year, month)
    found[LATER] = Window(released=(date(LAST_MONTH[0] + 1, 1, 1), LAST_DAY))
    found[UNDATED] = Window(is_undated=True)
    return found


def _months(first: tuple[int, int], last: tuple[int, int]) -> Iterator[tuple[int, int]]:
    for index in range(first[0] * 12 + first[1] - 1, last[0] * 12 + last[1]):
        yield index // 12, index % 12 + 1


ROOTS = _root_windows()
"""Windows that together have every game once, by name: months of release, before and after these, and undated."""


def released_between(first: str, last: str) -> list[Window]:
    """Windows of some months of release, given as ``2024-01``.

    Raises:
        LakehouseError: saying how months are given.
    """
    names = list(ROOTS)
    for given in (first, last):
        if given not in ROOTS:
            ends = f"{names[1]} to {names[-3]}"
            raise LakehouseError(f"{given}: a month of release is one of {ends}, or {EARLIER}, {LATER}, {UNDATED}")
    start, end = names.index(first), names.index(last)
    if start > end:
        raise LakehouseError(f"{first} is after {last}")
    return [ROOTS[name] for name in names[start : end + 1]]


def updated_between(first: date, last: date) -> list[Window]:
    """Windows of some days of update, both included: one a day, for each is accounted for on its own."""
    days = (last - first).days + 1
    return [Window(updated=(day, day)) for day in (first + timedelta(days=number) for number in range(days))]


def _span(days: Days) -> str:
    first, last = days
    if first == last:
        return first.isoformat()
    if days == month_window(first.year, first.month).released:
        return f"{first:%Y}-{first:%m}"
    return f"{first.isoformat()}..{last.isoformat()}"
