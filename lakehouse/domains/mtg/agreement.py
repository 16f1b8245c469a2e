"""Whether PostgreSQL says of the Magic cards what silver said at the snapshots that were loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import add
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakehouse.adapters.iceberg.catalog import connect, find_table
from lakehouse.adapters.postgres.client import open_postgres
from lakehouse.domains.mtg.lake import count_days, read_cards, read_prices, whole
from lakehouse.domains.mtg.schema import ensure_schema
from lakehouse.domains.mtg.serving import PARTS
from lakehouse.naming import MTG_CARD_VERSIONS, MTG_PRICE_ROWS

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812
    from pyiceberg.catalog import Catalog

    from lakehouse.domains.mtg.lake import Unread
    from lakehouse.naming import TableName
    from lakehouse.settings import Settings

Row = tuple[Any, ...]

REFERENCES = (
    ("cards", "set_code", "sets"),
    *((f"card_{part}", "uuid", "cards") for part in (*PARTS, "legalities", "prices")),
    ("card_statistics", "set_code", "sets"),
    ("deck_cards", "deck_id", "decks"),
    ("deck_cards", "uuid", "cards"),
)
"""Which column of which table names a row of which other one."""
PRICED = ("channel", "provider", "price_type", "finish", "currency", "price_date")
"""Prices are counted and added up by these."""

CARDS_BY_SET = """
select set_code, count(*) filter (where vanished_on is null), count(*) filter (where vanished_on is not null)
from {cards} group by set_code
"""
PRICES_BY_KIND = f"""
select {", ".join(PRICED)}, count(*), sum(price) from {{prices}} group by {", ".join(PRICED)}
"""
"""For both databases."""


@dataclass(frozen=True)
class Difference:
    """What the two do not agree on."""

    what: str
    served: str
    silver: str


def orphans(settings: Settings) -> dict[str, int]:
    """Rows that name a row of another table that is not there, by table and column; those without any are left out.

    Raises:
        LakehouseError: PostgreSQL does not answer.
    """
    ensure_schema(settings)
    found = {}
    with open_postgres(settings, "mtg check") as connection, connection, connection.cursor() as cursor:
        for table, column, other in REFERENCES:
            cursor.execute(
                f"select count(*) from mtg.{table} as one where {column} is not null "
                f"and not exists (select from mtg.{other} where {column} = one.{column})"
            )
            if count := (cursor.fetchone() or (0,))[0]:
                found[f"{table}.{column}"] = int(count)
    return found


def compare(settings: Settings) -> list[Difference]:
    """Hold cards by set, and prices by their kind and day, against silver at the snapshots that were loaded.

    Raises:
        LakehouseError: PostgreSQL or the catalog does not answer.
    """
    ensure_schema(settings)
    catalog = connect(settings)
    with open_postgres(settings, "mtg check") as connection, connection, connection.cursor() as cursor:
        cursor.execute("set transaction isolation level repeatable read, read only")
        cursor.execute("select source, snapshot_id from mtg.positions")
        loaded = dict(cursor.fetchall())
        cards, prices = (_loaded(catalog, name, loaded) for name in (MTG_CARD_VERSIONS, MTG_PRICE_ROWS))
        differing: list[Difference] = []
        if cards:
            told = _numbers(1, _rows(cursor, CARDS_BY_SET.format(cards="mtg.cards")))
            silver = _of_parts(1, CARDS_BY_SET.format(cards="part"), read_cards(cards))
            differing += _differing("cards", told, silver)
        if prices and (days := count_days(prices, settings.mtg_prices_kept_days)):
            since = f"mtg.card_prices where price_date >= '{min(days)}'"
            told = _numbers(len(PRICED), _rows(cursor, PRICES_BY_KIND.format(prices=since)))
            held = [uuid for (uuid,) in _rows(cursor, "select uuid from mtg.cards")]
            query = PRICES_BY_KIND.format(prices="part semi join held using (uuid)")
            parts = (part.rows for part in read_prices(prices, days))
            differing += _differing("prices", told, _of_parts(len(PRICED), query, parts, held))
    return differing


def _loaded(catalog: Catalog, name: TableName, loaded: Mapping[str, int]) -> Unread | None:
    """A table as it was loaded; None where it was not, or its history no longer goes back so far."""
    table = find_table(catalog, name)
    snapshot = table.snapshot_by_id(loaded[str(name)]) if table and str(name) in loaded else None
    return whole(table, snapshot) if table and snapshot else None


def _rows(cursor: Cursor, query: str) -> list[Row]:
    cursor.execute(query)
    return cursor.fetchall()


def _of_parts(keys: int, query: str, parts: Iterable[pa.Table], held: Sequence[str] = ()) -> dict[Row, Row]:
    """What a query says of all parts together, by its first columns; the others are added up."""
    import duckdb

    with duckdb.connect() as engine:
        engine.register("held", pa.table({"uuid": pa.array(held, pa.string())}))
        return _numbers(keys, (row for part in parts for row in engine.register("part", part).sql(query).fetchall()))


def _numbers(keys: int, rows: Iterable[Row]) -> dict[Row, Row]:
    """Rows by their first columns; the others are added up."""
    found: dict[Row, Row] = {}
    for row in rows:
        key, numbers = row[:keys], row[keys:]
        found[key] = tuple(map(add, found[key], numbers)) if key in found else numbers
    return found


def _differing(what: str, served: dict[Row, Row], silver: dict[Row, Row]) -> list[Difference]:
    return [
        Difference(f"{what} of {' '.join(map(str, key))}", _said(served.get(key)), _said(silver.get(key)))
        for key in sorted({*served, *silver}, key=str)
        if served.get(key) != silver.get(key)
    ]


def _said(numbers: Row | None) -> str:
    return "nothing" if numbers is None else " and ".join(map(str, numbers))
