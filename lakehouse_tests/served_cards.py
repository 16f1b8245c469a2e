"""The schema `mtg` of PostgreSQL, read by a client that is not the product's, and held against a recount."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lakehouse.settings import Settings
from lakehouse_tests.cards import OF_CARDS, OF_SETS, PARTS, Price, Story
from lakehouse_tests.stores import open_database

KEPT_DAYS = 30


@dataclass
class Served:
    """The serving database."""

    settings: Settings

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with open_database(self.settings) as connection:
            cursor = connection.cursor()
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def by_key(self, table: str, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Rows of a table, by its first column."""
        rows = self.sql(f"select {', '.join(columns)} from mtg.{table}")
        return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}


def check(served: Served, story: Story, prices: Sequence[Price]) -> None:
    """Hold every table that a load fills against what builds have told."""
    sets = (*OF_SETS, "release_date", "vanished_on")
    assert served.by_key("sets", sets) == story.served_sets()
    cards = (*OF_CARDS, "mana_value", "is_reprint", "set_code", "valid_from", "vanished_on")
    assert served.by_key("cards", cards) == story.served_cards()
    for part, column in PARTS.items():
        assert set(served.sql(f"select uuid, {column}, position from mtg.card_{part}")) == story.served_part(part)
    legalities = set(served.sql("select uuid, format, status from mtg.card_legalities"))
    assert legalities == story.served_legalities()
    found = served.sql(f"select {', '.join(Price._fields)} from mtg.card_prices")
    assert set(found) == set(map(tuple, story.served_prices(prices, KEPT_DAYS)))
