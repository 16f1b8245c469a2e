"""The calendar as Dagster has dbt make it on a real Trino, held against Python's."""

from __future__ import annotations

import calendar
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pytest

from lakehouse.definitions import defs
from lakehouse.naming import DIM_DATE
from lakehouse_tests.conftest import Stack

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:AssetExecutionContext.op :DeprecationWarning"),  # dagster-dbt asks for it
]

FIRST, LAST = date(1950, 1, 1), date(2099, 12, 31)
DAYS = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
COLUMNS = (
    "date_key",
    "year",
    "quarter",
    "month",
    "month_name",
    "month_start_date",
    "day_of_month",
    "iso_year",
    "iso_week",
    "week_start_date",
    "day_of_week",
    "day_name",
    "is_weekend",
)


def expected(day: date) -> list[Any]:
    """A row in the order of the columns."""
    week = day.isocalendar()
    return [
        day,
        day.year,
        (day.month + 2) // 3,
        day.month,
        calendar.month_name[day.month],
        day.replace(day=1),
        day.day,
        week.year,
        week.week,
        date.fromisocalendar(week.year, week.week, 1),
        day.isoweekday(),
        calendar.day_name[day.weekday()],
        day.isoweekday() in {6, 7},
    ]


def build() -> dg.ExecuteInProcessResult:
    """The calendar alone of the job that makes it."""
    job = defs.resolve_job_def("conversions_gold")
    return job.execute_in_process(asset_selection=[dg.AssetKey(DIM_DATE.key)])


def rows(stack: Stack) -> list[list[Any]]:
    return stack.sql(f"select {', '.join(COLUMNS)} from {DIM_DATE.sql} order by date_key")


def snapshots(stack: Stack) -> list[list[Any]]:
    return stack.sql('select snapshot_id from iceberg.gold."dim_date$snapshots"')


def test_every_day_is_what_python_says_and_a_build_writes_only_what_is_missing(stack: Stack) -> None:
    done = build()
    (made,) = done.get_asset_materialization_events()
    assert made.step_materialization_data.materialization.metadata["dagster/row_count"].value == len(DAYS)
    assert {check.passed for check in done.get_asset_check_evaluations()} == {True}
    names = "select column_name from iceberg.information_schema.columns where table_name = 'dim_date' order by 1"
    assert [name for (name,) in stack.sql(names)] == sorted(COLUMNS)
    assert rows(stack) == [expected(day) for day in DAYS]

    before = snapshots(stack)
    build()
    assert snapshots(stack) == before

    stack.sql(f"delete from {DIM_DATE.sql} where year = 2024 and month = 2")
    stack.sql(f"update {DIM_DATE.sql} set iso_week = 1 where date_key = date '2021-01-01'")
    build()
    assert rows(stack) == [expected(day) for day in DAYS]
    written = stack.sql(
        "select summary['added-records'] from iceberg.gold.\"dim_date$snapshots\" order by committed_at desc limit 1"
    )
    assert written == [["30"]]
