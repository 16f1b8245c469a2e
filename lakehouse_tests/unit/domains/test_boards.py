"""Periods of boards."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.adapters.dbt.project import DBT_PROJECT
from lakehouse.domains.players.boards import ALL_TIME, SESSION_SECONDS, Period, begin_of, board_key, forgotten_on
from lakehouse.domains.players.contract import SCORE_EVENT


@given(st.dates(date(1900, 1, 1), date(2200, 1, 1)))
def test_a_week_begins_on_the_monday_at_or_before_a_day(day: date) -> None:
    begin = begin_of(Period.WEEKLY, day)
    assert begin.isoweekday() == 1
    assert timedelta(0) <= day - begin < timedelta(days=7)
    assert begin_of(Period.DAILY, day) == day
    assert begin_of(Period.ALLTIME, day) == ALL_TIME


@pytest.mark.parametrize(
    ("period", "forgotten"), [("daily", date(2026, 12, 5)), ("weekly", date(2026, 12, 21)), ("alltime", None)]
)
def test_closed_boards_are_kept_for_a_while(period: str, forgotten: date | None) -> None:
    begin = begin_of(Period(period), date(2026, 11, 26))
    assert forgotten_on(Period(period), begin) == forgotten


def test_a_board_has_no_date_in_its_name_while_it_counts() -> None:
    assert board_key("g", Period.DAILY) == "leaderboard:g:daily"
    assert board_key("g", Period.DAILY, date(2026, 11, 26)) == "leaderboard:g:daily:2026-11-26"


def test_gold_has_the_same_sessions_and_scores_as_what_is_served() -> None:
    macros = (DBT_PROJECT / "macros/players.sql").read_text()
    assert f"interval '{SESSION_SECONDS}' second" in macros
    assert f"event_type = '{SCORE_EVENT}'" in macros
