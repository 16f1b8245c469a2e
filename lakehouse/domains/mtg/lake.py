"""What silver says of the Magic cards, as PostgreSQL takes it: what is new since a snapshot, a part at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import And
from pyiceberg.types import DateType

from lakehouse.adapters.iceberg.filters import among, at_least, equal, less
from lakehouse.adapters.iceberg.history import ALL_ROWS, Mode, files_added, files_at, plan_read, read_files, since
from lakehouse.domains.mtg.contract import BUILD_AHEAD, PRICE_AHEAD
from lakehouse.naming import MTG_CARD_VERSIONS, MTG_PRICE_ROWS

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import FileScanTask, Table
    from pyiceberg.table.snapshots import Snapshot

SHARES = tuple(pairwise((None, *"123456789abcdef", None)))
"""The cards in sixteen parts, by where their ids begin and end."""
WHOLE = ((None, None),)
MANY = 100_000
"""Rows that are read at once; of more, those of a share of the cards."""
EPOCH = date(1970, 1, 1)
FEW = 1_000
"""Cards that a scan names; for more it takes all."""

CARD_COLUMNS = (
    *("uuid", "set_code", "number", "name", "face_name", "side", "layout", "rarity", "type_line", "mana_cost"),
    *("mana_value", "power", "toughness", "loyalty", "text", "artist", "edhrec_rank", "legalities"),
    *("colors", "color_identity", "finishes", "availability", "types", "subtypes", "supertypes", "keywords"),
)
SET_COLUMNS = (
    *("set_code", "release_date", "block", "parent_code", "base_set_size", "total_set_size", "keyrune_code"),
    *("mtgo_code", "is_online_only", "is_foil_only", "is_partial_preview"),
)
PRICE_COLUMNS = ("uuid", "channel", "provider", "price_type", "finish", "price_date", "price")
"""Columns of silver that are served as they are."""

SETS = f"""
select {", ".join(SET_COLUMNS)}, coalesce(name, set_code) as name, type as set_type,
    case when is_deleted then build_date end as vanished_on
from held
"""
# Midnight UTC, read as such: the engine has zones in an extension only.
CARDS = f"""
select {", ".join(CARD_COLUMNS)}, coalesce(is_reprint, false) as is_reprint,
    make_timestamp(epoch_us(valid_from))::date as valid_from,
    case when not is_current then make_timestamp(epoch_us(valid_to))::date end as vanished_on
from held
qualify row_number() over (partition by uuid order by valid_from desc) = 1
order by uuid
"""
LAST_VERSIONS = """
select uuid, max(make_timestamp(epoch_us(valid_from))::date) as valid_from from held group by uuid
"""
PRICES = f"select {', '.join(PRICE_COLUMNS)}, coalesce(currency, '') as currency from held"


@dataclass(frozen=True)
class Unread:
    """What a table of silver holds that was not read yet."""

    table: Table
    snapshot_id: int
    """Up to which it is read now."""
    files: Sequence[FileScanTask]
    is_whole: bool
    """Whether these are all of its rows."""

    def rows(self, columns: Sequence[str], row_filter: BooleanExpression = ALL_ROWS) -> pa.Table:
        """Some columns of the rows."""
        return read_files(self.table, self.files, columns, row_filter)


def unread(table: Table | None, seen: int | None) -> Unread | None:
    """What there is of a table since a snapshot, or ever; None where there is nothing."""
    newest = table.current_snapshot() if table else None
    if table is None or newest is None or newest.snapshot_id == seen:
        return None
    new = files_at(table, newest, seen) if seen else None
    return whole(table, newest) if new is None else Unread(table, newest.snapshot_id, new, is_whole=False)


def unread_prices(table: Table | None, seen: int | None) -> Unread | None:
    """The same of prices, which are added and hardly ever changed: where some were changed or removed, all of them."""
    newest = table.current_snapshot() if table else None
    if table is None or newest is None or newest.snapshot_id == seen:
        return None
    if plan_read(MTG_PRICE_ROWS, table, newest, seen).mode is Mode.ALL:
        return whole(table, newest)
    new = files_added(table, since(table, newest, seen) or ())
    return Unread(table, newest.snapshot_id, new, is_whole=False)


def whole(table: Table, snapshot: Snapshot) -> Unread:
    """All that a table held at a snapshot."""
    return Unread(table, snapshot.snapshot_id, files_at(table, snapshot) or (), is_whole=True)


def read_sets(sets: Unread) -> Iterator[pa.Table]:
    """Sets as `serving.take_cards` takes them."""
    return _asked(SETS, [sets.rows((*SET_COLUMNS, "name", "type", "is_deleted", "build_date"))])


def read_cards(cards: Unread, uuids: Sequence[str] = ()) -> Iterator[pa.Table]:
    """The last version of each card as `serving.take_cards` takes it, a share of the cards at a time if many.

    Args:
        cards: Silver.
        uuids: Only these need to be among them; none: all.
    """
    columns = (*CARD_COLUMNS, "is_reprint", "valid_from", "valid_to", "is_current")
    count = sum(file.file.record_count for file in cards.files)
    wanted = _among(uuids)
    return _asked(CARDS, (cards.rows(columns, And(wanted, _between(*bounds))) for bounds in _shares(count)))


def all_if_deleted(cards: Unread, seen: int | None) -> Unread | None:
    """All cards, where versions were deleted since a snapshot: of these no file tells, so the others have to."""
    newest = cards.table.snapshot_by_id(cards.snapshot_id)
    if newest is None or cards.is_whole or plan_read(MTG_CARD_VERSIONS, cards.table, newest, seen).mode is not Mode.ALL:
        return None
    return whole(cards.table, newest)


def read_last_versions(cards: Unread) -> Iterator[pa.Table]:
    """Each card, and the day on which its last version began."""
    return _asked(LAST_VERSIONS, [cards.rows(("uuid", "valid_from"))])


def count_days(prices: Unread, kept_days: int) -> dict[date, int]:
    """How many prices, at most, there are of each day that is no further back from the newest."""
    found = Counter[date]()
    for file in prices.files:
        first, last = _days(prices.table, file)
        if first == last:
            found[first] += file.file.record_count
        else:
            counts = pc.value_counts(read_files(prices.table, [file], ("price_date",))["price_date"])
            found.update({one["values"]: one["counts"] for one in counts.to_pylist()})
    # A mistake, a price of a day that has not come, must not make all others old.
    come = [day for day in found if day <= datetime.now(UTC).date() + timedelta(days=BUILD_AHEAD + PRICE_AHEAD)]
    return {day: found[day] for day in sorted(come) if day > max(come) - timedelta(days=kept_days)}


def _days(table: Table, file: FileScanTask) -> tuple[date, date]:
    """First and last day of the prices in a file, by what the table knows of it; else any days."""
    column = table.schema().find_field("price_date").field_id
    first, last = (bounds.get(column) for bounds in (file.file.lower_bounds or {}, file.file.upper_bounds or {}))
    if first is None or last is None:
        return date.min, date.max
    return _day(first), _day(last)


def _day(bound: bytes) -> date:
    return EPOCH + timedelta(days=int(from_bytes(DateType(), bound)))


@dataclass(frozen=True)
class Prices:
    """Some prices: those of one day, and of the cards between two ids; None is no bound."""

    day: date
    first: str | None
    end: str | None
    rows: pa.Table
    """Columns as `serving.PRICES`."""


def read_prices(prices: Unread, days: Mapping[date, int], cards: Sequence[str] = ()) -> Iterator[Prices]:
    """Prices as `serving.take_prices` takes them: a day at a time, or a share of the cards where a day has many.

    Args:
        prices: Silver.
        days: Wanted days, and how many prices these have.
        cards: Only these need to be among them; none: all.
    """
    of_cards = _among(cards)
    wanted = [(day, *bounds) for day, count in days.items() for bounds in _shares(count)]
    columns = (*PRICE_COLUMNS, "currency")
    held = (
        _of_day(prices, day).rows(columns, And(equal("price_date", day), of_cards, _between(first, end)))
        for day, first, end in wanted
    )
    for (day, first, end), rows in zip(wanted, _asked(PRICES, held), strict=True):
        yield Prices(day, first, end, rows)


def _of_day(prices: Unread, day: date) -> Unread:
    """The files that may have prices of a day."""
    days = ((file, *_days(prices.table, file)) for file in prices.files)
    return replace(prices, files=[file for file, first, last in days if first <= day <= last])


def _shares(count: int) -> Sequence[tuple[str | None, str | None]]:
    return SHARES if count > MANY else WHOLE


def _among(uuids: Sequence[str]) -> BooleanExpression:
    return among("uuid", uuids) if 0 < len(uuids) <= FEW else ALL_ROWS


def _between(first: str | None, end: str | None) -> BooleanExpression:
    return And(at_least("uuid", first) if first else ALL_ROWS, less("uuid", end) if end else ALL_ROWS)


def _asked(query: str, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """What a query says of each of some tables."""
    import duckdb

    with duckdb.connect() as engine:
        for table in tables:
            engine.register("held", table)
            yield engine.sql(query).to_arrow_table()
            pa.default_memory_pool().release_unused()
