"""Which messages a build makes due: what changed and nothing else, whatever order builds are taken in."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.naming import DEAD_LETTERS, MTG_CARDS, MTG_PRICES, MTG_SETS, TableName
from lakehouse_tests.catalogs import sqlite_catalog
from lakehouse_tests.magic import Json, Lake, build, card

CARDS = ("a", "b", "c")
SETS = ("ONE", "TWO")
History = dict[int, dict[str, dict[str, int]]]
"""By day the sets of its build, each with the text of its cards."""


@pytest.fixture
def lake(catalog: SqlCatalog, tmp_path: Path) -> Lake:
    return Lake(catalog, tmp_path)


def rows(lake: Lake, table: TableName) -> list[Json]:
    found = lake.catalog.load_table(table.identifier).scan().to_arrow().to_pylist()
    return sorted(found, key=lambda row: row["kafka_offset"])


def test_the_first_build_is_all_news_and_the_same_again_is_none(lake: Lake) -> None:
    sets = {"ONE": [card("a"), card("b", power="1+*")], "TKN": []}
    due = lake.take(1, sets)
    assert [(m["set_code"], m.get("uuid"), m["is_deleted"]) for m in due] == [
        ("ONE", None, False),
        ("TKN", None, False),
        ("ONE", "a", False),
        ("ONE", "b", False),
    ]
    assert due[3]["card"] == card("b", power="1+*")
    assert (due[0]["build_date"], due[0]["build_version"]) == ("2026-01-01", "5.3.0+20260101")
    assert lake.take(1, sets) == lake.take(2, sets) == []
    assert len(rows(lake, MTG_SETS)) == len(rows(lake, MTG_CARDS)) == 2


def test_only_what_changed_is_said_and_a_volatile_member_leaves_the_content_hash(lake: Lake) -> None:
    lake.take(1, {"ONE": [card("a", edhrecRank=1), card("b")]})
    (ranked,) = lake.take(2, {"ONE": [card("a", edhrecRank=2), card("b")]})
    (changed,) = lake.take(3, {"ONE": [card("a", edhrecRank=2, text="new"), card("b")]})
    hashes = [row["content_hash"] for row in rows(lake, MTG_CARDS) if row["uuid"] == "a"]
    assert (ranked["volatile"], changed["card"]["text"]) == ({"edhrecRank": 2}, "new")
    assert [one == hashes[0] for one in hashes] == [True, True, False]


def test_members_in_another_order_are_no_change(lake: Lake) -> None:
    lake.take(1, {"ONE": [card("a")]})
    assert lake.take(2, {"ONE": [dict(reversed(card("a").items()))]}) == []


def test_a_card_that_vanished_is_told_gone_once_and_can_come_back(lake: Lake) -> None:
    lake.take(1, {"ONE": [card("a"), card("b")]})
    (gone,) = lake.take(2, {"ONE": [card("b")]})
    assert gone == {
        "uuid": "a",
        "set_code": "ONE",
        "build_date": "2026-01-02",
        "build_version": build(2).version,
        "is_deleted": True,
    }
    assert lake.take(3, {"ONE": [card("b")]}) == []
    (back,) = lake.take(4, {"ONE": [card("a"), card("b")]})
    assert (back["uuid"], back["is_deleted"]) == ("a", False)


def test_sets_that_were_not_looked_at_lose_nothing(lake: Lake) -> None:
    lake.take(1, {"ONE": [card("a")], "TWO": [card("b")]})
    assert lake.take(2, {"ONE": [card("a")]}) == []


def test_a_set_that_all_printings_no_longer_has_is_gone_with_its_cards(lake: Lake) -> None:
    lake.take(1, {"ONE": [card("a")], "TWO": [card("b")]}, all_sets=True)
    due = lake.take(2, {"ONE": [card("a")]}, all_sets=True)
    assert [(m["set_code"], m.get("uuid"), m["is_deleted"]) for m in due] == [("TWO", None, True), ("TWO", "b", True)]


def test_a_card_that_moves_to_another_set_is_changed_and_not_gone(lake: Lake) -> None:
    lake.take(1, {"ONE": [card("a", setCode="ONE")], "TWO": []}, all_sets=True)
    (moved,) = lake.take(2, {"ONE": [], "TWO": [card("a", setCode="TWO")]}, all_sets=True)
    assert (moved["set_code"], moved["is_deleted"]) == ("TWO", False)


def test_what_is_no_card_or_is_told_of_twice_becomes_a_dead_letter_with_all_it_says(lake: Lake) -> None:
    lake.take(1, {"ONE": [card("a"), {"name": "nobody"}, "no object", card("a", text="other")]})
    assert [row["uuid"] for row in rows(lake, MTG_CARDS)] == ["a"]
    letters = lake.catalog.load_table(DEAD_LETTERS.identifier).scan().to_arrow()
    assert letters["error_type"].to_pylist() == ["MISSING_FIELD"] * 3
    told = b"".join(letters["original_payload"].to_pylist())
    assert all(word in told for word in (b"nobody", b"no object", b"other"))


def test_a_killed_run_is_completed_by_the_next(lake: Lake) -> None:
    cards = [card("a"), card("b"), card("c")]
    lake.take(1, {"ONE": cards}, lands=1)
    assert [m["uuid"] for m in lake.take(1, {"ONE": cards})] == ["b", "c"]
    assert lake.take(1, {"ONE": cards}) == []


# Prices


def offers(price: float, day: str = "2026-01-01", **more: Any) -> Json:
    return {"paper": {"shop": {"currency": "EUR", "retail": {"foil": {day: price}}, "buylist": {}} | more}}


def test_prices_are_said_by_card_and_day_and_any_level_may_be_missing(lake: Lake) -> None:
    told = {
        "a": offers(0.1) | {"mtgo": {"other": {"retail": {"etched": {"2026-01-01": 5, "2026-01-02": 6}}}}},
        "b": {"paper": {}},
        "c": {"paper": {"shop": {"rental": {"normal": {"2026-01-01": 1.5}}}}},
        "d": {"mtgo": None},
    }
    due = lake.take(2, prices=told)
    assert [(m["uuid"], m["price_date"], len(m["prices"])) for m in due] == [
        ("a", "2026-01-01", 2),
        ("a", "2026-01-02", 1),
        ("c", "2026-01-01", 1),
    ]
    assert due[0]["prices"] == [
        {"channel": "mtgo", "provider": "other", "price_type": "retail", "finish": "etched", "price": 5},
        {
            "channel": "paper",
            "provider": "shop",
            "price_type": "retail",
            "finish": "foil",
            "price": 0.1,
            "currency": "EUR",
        },
    ]
    assert lake.take(2, prices=told) == []


def test_of_prices_that_cannot_be_placed_nothing_is_lost(lake: Lake) -> None:
    lake.take(1, prices={"a": offers(1.0, "yesterday") | {"mtgo": ["?"]}, "b": offers(1.0)})
    assert [row["uuid"] for row in rows(lake, MTG_PRICES)] == ["b"]
    letters = lake.catalog.load_table(DEAD_LETTERS.identifier).scan().to_arrow()["original_payload"].to_pylist()
    assert any(b"yesterday" in letter for letter in letters)
    assert any(b"?" in letter for letter in letters)


def test_a_price_that_an_older_build_says_otherwise_does_not_outlive_the_newer_one(lake: Lake) -> None:
    lake.take(1, prices={"a": offers(1.0)})
    assert lake.take(5, prices={"a": offers(1.0)}) == []
    due = lake.take(3, prices={"a": offers(2.0)})
    assert [(m["build_date"], m["prices"][0]["price"]) for m in due] == [("2026-01-05", 1.0), ("2026-01-03", 2.0)]


# Any order


@contextmanager
def opened() -> Iterator[Lake]:
    with tempfile.TemporaryDirectory() as folder, sqlite_catalog(Path(folder)) as catalog:
        yield Lake(catalog, Path(folder))


TEXTS = st.integers(0, 1)
LISTED = st.dictionaries(st.sampled_from(CARDS), TEXTS)


@st.composite
def histories(draw: st.DrawFn) -> tuple[History, list[tuple[int, int | None]]]:
    """Builds, and the order in which they are taken, some again, some not to the end."""
    days = draw(st.lists(st.integers(1, 6), min_size=2, max_size=4, unique=True))
    # A card is in one set: which one is the same in all builds.
    history: History = {}
    for day in days:
        codes = draw(st.sets(st.sampled_from(SETS), min_size=1))
        history[day] = {code: {f"{code}-{n}": text for n, text in draw(LISTED).items()} for code in sorted(codes)}
    again = draw(st.lists(st.tuples(st.sampled_from(days), st.one_of(st.none(), st.integers(0, 2))), max_size=2))
    order = draw(st.permutations([*((day, None) for day in days), *again]))
    return history, order


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories())
def test_whatever_order_builds_are_taken_in_each_day_looks_as_its_build_said(
    told: tuple[History, list[tuple[int, int | None]]],
) -> None:
    history, order = told
    with opened() as lake:
        for day, lands in order:
            sets = {code: [card(u, text=text) for u, text in listed.items()] for code, listed in history[day].items()}
            lake.take(day, sets, lands=lands)
        known = rows(lake, MTG_CARDS)
    for day, sets_of_day in history.items():
        for code, listed in sets_of_day.items():
            assert state(known, day, code) == listed


def state(known: list[Json], day: int, code: str) -> dict[str, int]:
    """Cards of a set as they were on a day, by the rows of bronze alone."""
    newest: dict[str, Json] = {}
    for row in sorted(known, key=lambda row: (row["build_date"], row["kafka_offset"])):
        if row["build_date"] <= build(day).date and row["set_code"] == code:
            newest[row["uuid"]] = row
    return {
        uuid: json.loads(row["raw_payload"])["card"]["text"] for uuid, row in newest.items() if not row["is_deleted"]
    }
