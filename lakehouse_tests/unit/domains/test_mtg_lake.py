"""What is read of silver for PostgreSQL, from tables on a catalog in a folder."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.domains.mtg.lake import Unread, count_days, read_prices, unread
from lakehouse.domains.mtg.tables import PRICE
from lakehouse_tests.cards import Price
from lakehouse_tests.silver_of_cards import price_rows, silver_table


def price(uuid: str, day: date) -> Price:
    return Price(uuid, "paper", "shop", "retail", "normal", "USD", day, Decimal("1.00"))


def everything(table: Table) -> Unread:
    found = unread(table, None)
    assert found is not None
    return found


def test_the_last_days_are_those_before_the_newest_that_has_come(catalog: SqlCatalog) -> None:
    table = ensure_table(catalog, PRICE)
    days = [date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3), date(2199, 1, 1)]
    table.append(silver_table(PRICE, price_rows(price(f"u-{n}", day) for n in range(2) for day in days)))
    assert count_days(everything(table), kept_days=2) == {date(2026, 3, 2): 2, date(2026, 3, 3): 2}


def test_files_of_days_that_are_no_longer_served_are_not_opened(catalog: SqlCatalog) -> None:
    table = ensure_table(catalog, PRICE)
    days = [date(2026, 3, day) for day in range(1, 6)]
    table.append(silver_table(PRICE, price_rows(price("u", day) for day in days)))
    found = everything(table)
    for file in found.files:
        path = Path(urlsplit(file.file.file_path).path)
        if path.parent.name not in [f"price_date={day}" for day in days[-2:]]:
            path.unlink()
    served = [part.rows["price_date"].to_pylist() for part in read_prices(found, count_days(found, kept_days=2), ["u"])]
    assert served == [[day] for day in days[-2:]]
