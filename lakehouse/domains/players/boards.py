"""Boards of scores: the periods they count, and what boards, totals and sessions are called in Redis."""

from __future__ import annotations

from datetime import date, timedelta
from enum import StrEnum


class Period(StrEnum):
    """How long a board counts, in UTC."""

    DAILY = "daily"
    WEEKLY = "weekly"
    """From Monday."""
    ALLTIME = "alltime"


ALL_TIME = date(1970, 1, 1)
"""Begin of the period that never ends."""
LENGTH_DAYS = {Period.DAILY: 1, Period.WEEKLY: 7}
KEPT_DAYS = {Period.DAILY: 8, Period.WEEKLY: 21}
"""How long a score that nothing is added to is remembered by the job that counts; as long Redis has a closed board."""
BOARDS = "leaderboard:"
"""Before the key of each board."""
SESSION_SECONDS = 30 * 60
"""A player who did nothing for so long has left."""


def begin_of(period: Period, day: date) -> date:
    """First day of the period that a day is in."""
    if period is Period.ALLTIME:
        return ALL_TIME
    return day - timedelta(days=day.weekday()) if period is Period.WEEKLY else day


def forgotten_on(period: Period, begin: date) -> date | None:
    """Day on which Redis has a board no more; None: it has it for ever."""
    if period is Period.ALLTIME:
        return None
    return begin + timedelta(days=LENGTH_DAYS[period] + KEPT_DAYS[period])


def board_key(game: str, period: Period, begin: date | None = None) -> str:
    """Sorted set of a board: of the period that is now, or of the one that began on a day."""
    return f"{BOARDS}{game}:{period}" + (f":{begin}" if begin else "")


def turned_key(period: Period) -> str:
    """Text: begin of the period whose boards have no date in their name."""
    return f"serving:{period}"


def statistics_key(player: str) -> str:
    """Hash with a player's totals."""
    return f"player_stats:{player}"


def session_key(player: str) -> str:
    """Text that is there while a player plays: when they did something last."""
    return f"player_session:{player}"
