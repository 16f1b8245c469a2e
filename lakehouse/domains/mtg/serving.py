"""The schema `mtg` of PostgreSQL, brought to what silver holds: in one transaction, so readers never see a half.

What comes is copied into temporary tables, and from there put into the tables by one statement each. A row that is as
it was is left alone, with its `updated_at`: so any load may be ended or repeated. What has vanished from MTGJSON stays,
marked, because decks and prices tell of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lakehouse.adapters.iceberg.catalog import connect, find_table
from lakehouse.adapters.postgres.client import copy_rows, open_postgres
from lakehouse.domains.mtg.contract import BUILD_AHEAD, PRICE_AHEAD
from lakehouse.domains.mtg.lake import (
    Prices,
    Unread,
    all_if_deleted,
    count_days,
    read_cards,
    read_last_versions,
    read_prices,
    read_sets,
    unread,
    unread_prices,
)
from lakehouse.domains.mtg.schema import ensure_schema
from lakehouse.naming import MTG_CARD_VERSIONS, MTG_PRICE_ROWS, MTG_SET_STATE

if TYPE_CHECKING:
    import pyarrow as pa
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

    from lakehouse.settings import Settings

LOCK = "lakehouse mtg load"
SOURCES = (MTG_SET_STATE, MTG_CARD_VERSIONS, MTG_PRICE_ROWS)

SETS = (
    *("name", "set_type", "release_date", "block", "parent_code", "base_set_size", "total_set_size"),
    *("keyrune_code", "mtgo_code", "is_online_only", "is_foil_only", "is_partial_preview", "vanished_on"),
)
"""Columns of `mtg.sets` beside its key."""
LISTS = ("colors", "color_identity", "finishes", "availability")
"""Columns of `mtg.cards` that are lists; they come as JSON."""
CARDS = (
    *("set_code", "number", "name", "face_name", "side", "layout", "rarity", "type_line", "mana_cost", "mana_value"),
    *("power", "toughness", "loyalty", "text", "artist", "edhrec_rank", "is_reprint", "valid_from", "vanished_on"),
    *LISTS,
)
"""Columns of `mtg.cards` beside its key."""
PARTS = {"types": "type", "subtypes": "subtype", "supertypes": "supertype", "keywords": "keyword"}
"""JSON lists of a card that have tables `mtg.card_…` of their own, and the column there."""
LEGALITIES = "legalities"
"""JSON object of a card, by format, that has such a table, too."""
PRICES = ("uuid", "channel", "provider", "price_type", "finish", "currency", "price_date", "price")
"""Columns of `mtg.card_prices`; all but the last are its key."""
TABLES = ("sets", "cards", *(f"card_{name}" for name in PARTS), "card_legalities", "card_prices")
"""What a load fills."""

_PLAIN = tuple(name for name in CARDS if name not in LISTS)
_DOCUMENTS = (*LISTS, *PARTS, LEGALITIES)
STAGING = f"""
create temporary table new_sets on commit drop as select set_code, {", ".join(SETS)} from mtg.sets with no data;
create temporary table new_cards on commit drop as
select uuid, {", ".join(_PLAIN)}, {", ".join(f"null::jsonb as {name}" for name in _DOCUMENTS)} from mtg.cards
with no data;
create temporary table new_prices on commit drop as select {", ".join(PRICES)} from mtg.card_prices with no data;
"""
# A version that has ended says nothing where a later one is known: it was put into the history afterwards.
LEAVE_OUT = """
delete from new_cards as new using mtg.cards as old
where old.uuid = new.uuid and new.vanished_on is not null and old.valid_from >= new.vanished_on
"""
NEW_CARDS = "select uuid from new_cards where not exists (select from mtg.cards where uuid = new_cards.uuid)"
UNKNOWN_SETS = """
insert into mtg.sets (set_code, name) select distinct set_code, set_code from new_cards on conflict do nothing
"""
GONE_CARDS = """
update mtg.cards as old set vanished_on = greatest(newest.day, old.valid_from), updated_at = now()
from (select max(valid_from) as day from {known}) as newest
where old.vanished_on is null and newest.day is not null
    and not exists (select from {known} as known where known.uuid = old.uuid)
"""
LAST_VERSIONS = "create temporary table last_versions (uuid text, valid_from date) on commit drop"
OTHER_VERSIONS = """
select uuid from mtg.cards join last_versions as last using (uuid) where cards.valid_from <> last.valid_from
"""
OLD_PRICES = f"""
delete from mtg.card_prices where price_date <= (
    select max(price_date) from mtg.card_prices
    where price_date <= (now() at time zone 'UTC')::date + {BUILD_AHEAD + PRICE_AHEAD}
) - %s::integer
"""

GONE_PRICES = f"""
delete from mtg.card_prices as old
where price_date = %(day)s and (%(first)s is null or uuid collate "C" >= %(first)s)
    and (%(end)s is null or uuid collate "C" < %(end)s)
    and not exists (
        select from new_prices as new where {" and ".join(f"new.{name} = old.{name}" for name in PRICES[:-1])}
    )
"""
MOVE = """
insert into mtg.positions (source, snapshot_id) values (%s, %s)
on conflict (source) do update set snapshot_id = excluded.snapshot_id, loaded_at = now()
"""


@dataclass
class Loaded:
    """What a load did."""

    changed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    """Rows that were added, changed or removed, by table."""
    new_cards: list[str] = field(default_factory=list)
    """Cards that were not there before: of these there may be prices that came before them."""
    foreign_prices: int = 0
    """Prices of cards that are not held, such as those of sets that nobody asked for: they stay in silver."""


def load(settings: Settings) -> Loaded:
    """Bring the schema to what silver holds, by what has changed there since the last load; by all, where that is gone.

    Raises:
        LakehouseError: the catalog or PostgreSQL does not answer.
    """
    ensure_schema(settings)
    catalog, kept_days = connect(settings), settings.mtg_prices_kept_days
    with open_postgres(settings, "mtg load") as connection, connection, connection.cursor() as cursor:
        begin(cursor)
        cursor.execute("select source, snapshot_id from mtg.positions")
        seen = dict(cursor.fetchall())
        tables = {name: find_table(catalog, name) for name in SOURCES}
        sets, cards = (unread(tables[name], seen.get(str(name))) for name in (MTG_SET_STATE, MTG_CARD_VERSIONS))
        prices = unread_prices(tables[MTG_PRICE_ROWS], seen.get(str(MTG_PRICE_ROWS)))
        done = take_cards(
            cursor,
            read_sets(sets) if sets else (),
            read_cards(cards) if cards else (),
            is_whole=bool(cards and cards.is_whole),
        )
        if cards and (every := all_if_deleted(cards, seen.get(str(MTG_CARD_VERSIONS)))):
            take_deleted(cursor, done, every)
        if prices:
            days = count_days(prices, kept_days)
            take_prices(cursor, done, read_prices(prices, days), is_whole=prices.is_whole)
        if done.new_cards and not (prices and prices.is_whole) and (all_prices := unread(tables[MTG_PRICE_ROWS], None)):
            days = count_days(all_prices, kept_days)
            take_prices(cursor, done, read_prices(all_prices, days, done.new_cards))
        drop_old_prices(cursor, done, kept_days)
        for name, source in zip(SOURCES, (sets, cards, prices), strict=True):
            if source:
                cursor.execute(MOVE, (str(name), source.snapshot_id))
    return done


def begin(cursor: Cursor) -> None:
    """Make the temporary tables of a transaction; until it ends, other loads wait."""
    cursor.execute("select pg_advisory_xact_lock(hashtext(%s))", (LOCK,))
    cursor.execute(STAGING)


def take_cards(cursor: Cursor, sets: Iterable[pa.Table], cards: Iterable[pa.Table], *, is_whole: bool) -> Loaded:
    """Bring sets and cards, with all that hangs on them, to what silver says, in a transaction of `begin`.

    Args:
        cursor: Of the transaction.
        sets: In parts: `set_code` and the columns of `SETS`.
        cards: In parts, of each card its last version: `uuid`, the columns of `CARDS`, and what `PARTS` and
            `LEGALITIES` name. Lists and objects are JSON texts; `vanished_on` is the day that the version ended, where
            none came after it.
        is_whole: Whether these are all cards that silver knows: others have vanished.
    """
    done = Loaded()
    for table, parts in (("new_sets", sets), ("new_cards", cards)):
        for part in parts:
            copy_rows(cursor, table, part)
    cursor.execute("analyze new_cards (uuid)")
    if not is_whole:
        cursor.execute(LEAVE_OUT)
    cursor.execute(NEW_CARDS)
    done.new_cards = [uuid for (uuid,) in cursor.fetchall()]
    _take_staged(cursor, done)
    if is_whole:
        done.changed["cards"] += _rows(cursor, GONE_CARDS.format(known="new_cards"))
    return done


def take_deleted(cursor: Cursor, done: Loaded, cards: Unread) -> None:
    """Bring cards whose last version was deleted to the one before it; those that have none have vanished.

    Args:
        cursor: Of the transaction, after `take_cards`.
        done: What the load has done so far; added to.
        cards: All that silver knows.
    """
    cursor.execute(LAST_VERSIONS)
    for part in read_last_versions(cards):
        copy_rows(cursor, "last_versions", part)
    cursor.execute(OTHER_VERSIONS)
    if others := [uuid for (uuid,) in cursor.fetchall()]:
        cursor.execute("truncate new_sets, new_cards")
        for part in read_cards(cards, others):
            copy_rows(cursor, "new_cards", part)
        _take_staged(cursor, done)
    done.changed["cards"] += _rows(cursor, GONE_CARDS.format(known="last_versions"))


def _take_staged(cursor: Cursor, done: Loaded) -> None:
    """Bring sets and cards, with all that hangs on them, to what is staged."""
    staged = f"select set_code, {', '.join(SETS)} from new_sets"
    done.changed["sets"] += _rows(cursor, _upsert("sets", ("set_code",), SETS, staged)) + _rows(cursor, UNKNOWN_SETS)
    done.changed["cards"] += _rows(cursor, _upsert("cards", ("uuid",), CARDS, _cards()))
    for part, column in PARTS.items():
        elements = f"""
            select uuid, element, min(place) from new_cards, jsonb_array_elements_text({part}) with ordinality
                as elements (element, place)
            group by uuid, element
        """
        done.changed[f"card_{part}"] += _take_part(cursor, part, (column, "position"), elements)
    members = "select uuid, key, value from new_cards, jsonb_each_text(legalities)"
    done.changed["card_legalities"] += _take_part(cursor, LEGALITIES, ("format", "status"), members)


def take_prices(cursor: Cursor, done: Loaded, parts: Iterable[Prices], *, is_whole: bool = False) -> None:
    """Take prices of the cards that are held, in a transaction of `begin`, after the cards.

    Args:
        cursor: Of the transaction.
        done: What the load has done so far; added to.
        parts: Staged one after the other; within one no key comes twice.
        is_whole: Whether each part is all that silver has of its day and cards: other prices of these go.
    """
    is_held = "exists (select from mtg.cards where uuid = new_prices.uuid)"
    held = f"select {', '.join(PRICES[:-1])}, trim_scale(price) from new_prices where {is_held}"
    for part in parts:
        copy_rows(cursor, "new_prices", part.rows)
        done.changed["card_prices"] += _rows(cursor, _upsert("card_prices", PRICES[:-1], PRICES[-1:], held))
        if is_whole:
            cursor.execute(GONE_PRICES, {"day": part.day, "first": part.first, "end": part.end})
            done.changed["card_prices"] += cursor.rowcount
        done.foreign_prices += _rows(cursor, f"delete from new_prices where not {is_held}")
        cursor.execute("truncate new_prices")


def drop_old_prices(cursor: Cursor, done: Loaded, kept_days: int) -> None:
    """Let go the prices of days before the last ones; the lake keeps them."""
    cursor.execute(OLD_PRICES, (kept_days,))
    done.changed["card_prices"] += cursor.rowcount


def _cards() -> str:
    """Staged cards, as `mtg.cards` has them."""
    lists = (f"case when {name} is not null then array(select jsonb_array_elements_text({name})) end" for name in LISTS)
    return f"select uuid, {', '.join((*_PLAIN, *lists))} from new_cards"


def _take_part(cursor: Cursor, part: str, columns: tuple[str, str], rows: str) -> int:
    """Bring one of the tables that hang on the cards to what is staged; returns how many of its rows changed.

    Args:
        cursor: Of the transaction.
        part: Column of the staged cards; its table is named after it.
        columns: Which columns of the table are its key, beside the card, and its value.
        rows: Query for card, key and value.
    """
    key, value = columns
    gone = f"""
        delete from mtg.card_{part} as old using new_cards as new
        where old.uuid = new.uuid and not coalesce(new.{part} ? old.{key}, false)
    """
    return _rows(cursor, gone) + _rows(cursor, _upsert(f"card_{part}", ("uuid", key), (value,), rows))


def _upsert(table: str, key: Sequence[str], columns: Sequence[str], rows: str) -> str:
    """Statement that adds rows, and changes those that are others than they were."""
    old, new = (", ".join(f"{name}.{column}" for column in columns) for name in ("old", "excluded"))
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns)
    return f"""
        insert into mtg.{table} as old ({", ".join((*key, *columns))}) {rows}
        on conflict ({", ".join(key)}) do update set {changes}, updated_at = now()
        where ({old}) is distinct from ({new})
    """


def _rows(cursor: Cursor, statement: str) -> int:
    """Run a statement; returns how many rows it touched."""
    cursor.execute(statement)
    return int(cursor.rowcount)
