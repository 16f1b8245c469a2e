"""Windows: together they have every game once, whatever they are split into."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.domains.rawg.windows import (
    LAST_DAY,
    ROOTS,
    Window,
    month_window,
    released_between,
    updated_between,
)
from lakehouse.errors import LakehouseError

TIED = Window(updated=(date(2019, 1, 9), date(2019, 1, 9)))


def has(window: Window, released: date | None, updated: date) -> bool:
    """Whether a game is one of a window."""
    if window.updated and not window.updated[0] <= updated <= window.updated[1]:
        return False
    if window.is_undated:
        return released is None
    if window.released is None:
        return True
    return released is not None and window.released[0] <= released <= window.released[1]


@given(st.none() | st.dates(), st.dates())
def test_every_game_is_in_one_window_of_all(released: date | None, updated: date) -> None:
    assert sum(has(window, released, updated) for window in ROOTS.values()) == 1


@given(
    st.sampled_from([TIED, month_window(2024, 8), ROOTS["undated"], ROOTS["earlier"], ROOTS["later"]]),
    st.none() | st.dates(),
    st.dates() | st.just(date(2019, 1, 9)),
    st.data(),
)
@settings(deadline=None)
def test_a_split_window_has_the_same_games_each_of_them_once(
    window: Window, released: date | None, updated: date, data: st.DataObject
) -> None:
    for _ in range(12):
        parts = window.split()
        if not parts:
            assert window.updated is not None
            assert window.updated[0] == window.updated[1]
            return
        assert sum(has(part, released, updated) for part in parts) == has(window, released, updated)
        assert len({part.name for part in (*parts, window)}) == len(parts) + 1
        window = data.draw(st.sampled_from(parts))


def test_names_say_what_was_asked_for() -> None:
    assert month_window(2024, 8).name == "released:2024-08"
    assert TIED.name == "updated:2019-01-09"
    assert [part.name for part in TIED.split()] == [
        "updated:2019-01-09+released:0001-01-01..9999-12-31",
        "updated:2019-01-09+released:none",
    ]
    assert ROOTS["undated"].name == "released:none"
    assert ROOTS["later"].released == (date(2040, 1, 1), LAST_DAY)


def test_months_and_days_are_asked_for_in_order() -> None:
    assert [window.name for window in released_between("2023-12", "2024-02")] == [
        "released:2023-12",
        "released:2024-01",
        "released:2024-02",
    ]
    assert len(released_between("earlier", "undated")) == len(ROOTS)
    assert [window.name for window in updated_between(date(2026, 1, 1), date(2026, 1, 2))] == [
        "updated:2026-01-01",
        "updated:2026-01-02",
    ]


@pytest.mark.parametrize(("first", "last"), [("2024-13", "2024-13"), ("2024-02", "2024-01"), ("x", "2024-01")])
def test_months_that_are_none_are_refused_in_words(first: str, last: str) -> None:
    with pytest.raises(LakehouseError, match="month|after"):
        released_between(first, last)
