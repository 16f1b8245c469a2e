"""What is read of silver for PostgreSQL, from tables on a catalog in a folder."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.domains.mtg.lake import count_days, unread
from lakehouse.domains.mtg.tables import PRICE
from lakehouse_tests.cards import Price
from lakehouse_tests.silver_of_cards import price_rows, silver_table


def price(uuid: str, day: date) -> Price:
    return Price(uuid, "paper", "shop", "retail", "normal", "USD", day, Decimal("1.00"))


def test_the_last_days_are_those_before_the_newest_that_has_come(catalog: SqlCatalog) -> None:
    table = ensure_table(catalog, PRICE)
    days = [date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3), date(2199, 1, 1)]
    table.append(silver_table(PRICE, price_rows(price(f"u-{n}", day) for n in range(2) for day in days)))
    found = unread(table, None)
    assert found is not None
    assert count_days(found, kept_days=2) == {date(2026, 3, 2): 2, date(2026, 3, 3): 2}
