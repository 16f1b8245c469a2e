"""Row filters. PyIceberg's expressions take a column and a value, but its annotations hide it: said once, here."""

from __future__ import annotations

from pyiceberg.expressions import BooleanExpression, EqualTo, GreaterThanOrEqual, LessThanOrEqual


def equal(column: str, value: str | int) -> BooleanExpression:
    """Rows whose column has the value."""
    return EqualTo(column, value)  # type: ignore[call-arg,arg-type]


def at_least(column: str, value: str | int) -> BooleanExpression:
    """Rows whose column has the value or a greater one."""
    return GreaterThanOrEqual(column, value)  # type: ignore[call-arg,arg-type]


def at_most(column: str, value: str | int) -> BooleanExpression:
    """Rows whose column has the value or a lesser one."""
    return LessThanOrEqual(column, value)  # type: ignore[call-arg,arg-type]
