"""Row filters. PyIceberg's expressions take a column and a value, but its annotations hide it: said once, here."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from pyiceberg.expressions import (
    BooleanExpression,
    EqualTo,
    GreaterThanOrEqual,
    In,
    LessThan,
    LessThanOrEqual,
    StartsWith,
)


def equal(column: str, value: str | int | date) -> BooleanExpression:
    """Rows whose column has the value."""
    return EqualTo(column, value)  # type: ignore[call-arg,arg-type]


def at_least(column: str, value: str | int) -> BooleanExpression:
    """Rows whose column has the value or a greater one."""
    return GreaterThanOrEqual(column, value)  # type: ignore[call-arg,arg-type]


def less(column: str, value: str | int) -> BooleanExpression:
    """Rows whose column has a lesser value."""
    return LessThan(column, value)  # type: ignore[call-arg,arg-type]


def among(column: str, values: Collection[str] | Collection[int]) -> BooleanExpression:
    """Rows whose column has one of the values."""
    return In(column, values)  # type: ignore[call-arg,arg-type]


def begins_with(column: str, text: str) -> BooleanExpression:
    """Rows whose column begins with a text."""
    return StartsWith(column, text)  # type: ignore[call-arg,arg-type]


def at_most(column: str, value: str | int) -> BooleanExpression:
    """Rows whose column has the value or a lesser one."""
    return LessThanOrEqual(column, value)  # type: ignore[call-arg,arg-type]
