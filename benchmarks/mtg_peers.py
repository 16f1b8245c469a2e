"""The peers of the load of PostgreSQL: programs that read files of MTGJSON. Nothing of `lakehouse` is imported.

Both read a file as a whole with `json.load`, and fill the same tables, with the same indexes and keys.

- ``usual``: a statement a row, a transaction a card with all that hangs on it, and one a card's prices.
- ``batched``: `execute_values` with a page of 1,000 rows for each table, a transaction a set.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extras import execute_values

from benchmarks.child import Child

CARD = (
    *("uuid", "set_code", "number", "name", "face_name", "side", "layout", "rarity", "type_line", "mana_cost"),
    *("mana_value", "power", "toughness", "loyalty", "text", "artist", "edhrec_rank", "is_reprint", "valid_from"),
    *("colors", "color_identity", "finishes", "availability"),
)
MEMBERS = (
    *("uuid", "setCode", "number", "name", "faceName", "side", "layout", "rarity", "type", "manaCost"),
    *("manaValue", "power", "toughness", "loyalty", "text", "artist", "edhrecRank"),
)
LISTS = ("colors", "colorIdentity", "finishes", "availability")
SET = (
    *("set_code", "name", "set_type", "release_date", "block", "parent_code", "base_set_size", "total_set_size"),
    *("keyrune_code", "mtgo_code", "is_online_only", "is_foil_only", "is_partial_preview"),
)
SET_MEMBERS = (
    *("code", "name", "type", "releaseDate", "block", "parentCode", "baseSetSize", "totalSetSize"),
    *("keyruneCode", "mtgoCode", "isOnlineOnly", "isFoilOnly", "isPartialPreview"),
)
PRICE = ("uuid", "channel", "provider", "price_type", "finish", "currency", "price_date", "price")
KEYS = {"sets": ("set_code",), "cards": ("uuid",), "card_prices": PRICE[:-1], "card_legalities": ("uuid", "format")}
PARTS = {"types": "type", "subtypes": "subtype", "supertypes": "supertype", "keywords": "keyword"}
Row = tuple[str, tuple[str, ...], tuple[Any, ...]]
"""Table, columns, values."""


def rows_of_card(card: dict[str, Any], built: str) -> Iterator[Row]:
    """A card, and all that hangs on it."""
    values = tuple(card.get(name) for name in MEMBERS) + (card.get("isReprint", False), built)
    yield "cards", CARD, values + tuple(card.get(name) for name in LISTS)
    for part, column in PARTS.items():
        for position, element in enumerate(card.get(part, ()), start=1):
            yield f"card_{part}", ("uuid", column, "position"), (card["uuid"], element, position)
    for format_, status in card["legalities"].items():
        yield "card_legalities", ("uuid", "format", "status"), (card["uuid"], format_, status)


def rows_of_prices(uuid: str, channels: dict[str, Any]) -> Iterator[Row]:
    """All prices of a card."""
    for channel, providers in channels.items():
        for provider, told in providers.items():
            for kind in ("retail", "buylist"):
                for finish, days in told.get(kind, {}).items():
                    for day, price in days.items():
                        key = (uuid, channel, provider, kind, finish, told["currency"], day)
                        yield "card_prices", PRICE, (*key, price)


def upsert(table: str, columns: tuple[str, ...], values: str) -> str:
    """Statement that puts rows in the place of those that have their key."""
    key = KEYS.get(table) or columns[:2]
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    return (
        f"insert into mtg.{table} ({', '.join(columns)}) values {values} "
        f"on conflict ({', '.join(key)}) do update set {changes}, updated_at = now()"
    )


def one_by_one(connection: Any, rows: Iterable[Row]) -> int:
    """A statement a row, all in one transaction."""
    count = 0
    with connection, connection.cursor() as cursor:
        for table, columns, values in rows:
            cursor.execute(upsert(table, columns, f"({', '.join(['%s'] * len(columns))})"), values)
            count += 1
    return count


def in_pages(connection: Any, rows: Iterable[Row]) -> int:
    """A page of rows a statement, all in one transaction."""
    tables: dict[tuple[str, tuple[str, ...]], list[tuple[Any, ...]]] = {}
    for table, columns, values in rows:
        tables.setdefault((table, columns), []).append(values)
    with connection, connection.cursor() as cursor:
        for (table, columns), found in tables.items():
            execute_values(cursor, upsert(table, columns, "%s"), found, page_size=1_000)
    return sum(map(len, tables.values()))


def main() -> None:
    """Read all files of a folder."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    connection = psycopg2.connect("")
    child, count = Child(), 0

    def take(things: Iterable[Iterable[Row]]) -> int:
        if kind == "usual":
            return sum(one_by_one(connection, rows) for rows in things)
        return in_pages(connection, chain.from_iterable(things))

    for path in sorted(folder.glob("sets/*.json")):
        with path.open() as file:
            document = json.load(file)
        one, built = document["data"], document["meta"]["date"]
        count += take([[("sets", SET, tuple(one.get(name) for name in SET_MEMBERS))]])
        count += take(rows_of_card(card, built) for card in one["cards"])
        child.progress(count)
    with (folder / "AllPrices.json").open() as file:
        prices = json.load(file)["data"]
    count += take(rows_of_prices(uuid, channels) for uuid, channels in prices.items())
    child.done(count, 0)


if __name__ == "__main__":
    main()
