"""`mtg.card_statistics` of PostgreSQL, brought to what gold says: in one transaction, so readers never see a half.

All of gold is read, a row a set and rarity: it is as large as that, whatever its history. Trino reads it, because
PyIceberg does not know the deletions that Flink writes, until maintenance has put them into the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from lakehouse.adapters.iceberg.catalog import connect, find_table
from lakehouse.adapters.postgres.client import copy_rows, open_postgres
from lakehouse.adapters.trino.query import query
from lakehouse.domains.mtg.schema import ensure_schema
from lakehouse.domains.mtg.serving import MOVE
from lakehouse.domains.mtg.statistics import STATISTICS
from lakehouse.naming import MTG_STATISTICS

if TYPE_CHECKING:
    from lakehouse.settings import Settings

COLUMNS = (
    *STATISTICS.key,
    *("cards", "average_mana_value", "median_mana_value", "colors", "prices", "movers", "version"),
)
"""Of both tables, by the same names."""
_VALUES = COLUMNS[len(STATISTICS.key) : -1]
STAGING = f"""
create temporary table new_statistics on commit drop as select {", ".join(COLUMNS)} from mtg.card_statistics
with no data
"""
# A statistic names its set, which may not have been loaded yet: it is taken when it has.
FOREIGN = "delete from new_statistics as new where not exists (select from mtg.sets where set_code = new.set_code)"
UPSERT = f"""
insert into mtg.card_statistics as old ({", ".join(COLUMNS)})
select {", ".join(f"trim_scale({c})" if c.endswith("mana_value") else c for c in COLUMNS)} from new_statistics
on conflict ({", ".join(STATISTICS.key)}) do update set
    {", ".join(f"{name} = excluded.{name}" for name in (*_VALUES, "version"))}, updated_at = now()
where excluded.version >= old.version
    and ({", ".join(f"excluded.{name}" for name in (*_VALUES, "version"))})
    is distinct from ({", ".join(f"old.{name}" for name in (*_VALUES, "version"))})
"""


@dataclass(frozen=True)
class Taken:
    """What a load did."""

    changed: int = 0
    """Rows that were added or changed."""
    foreign: int = 0
    """Rows of sets that PostgreSQL does not hold."""


def load_statistics(settings: Settings) -> Taken:
    """Bring PostgreSQL to what gold says; of each set and rarity the highest version stays.

    A job that began without its state says less, in a lower version, until it has taken all that bronze holds.

    Raises:
        LakehouseError: the catalog, Trino or PostgreSQL does not answer.
    """
    ensure_schema(settings)
    table = find_table(connect(settings), MTG_STATISTICS)
    newest = table.current_snapshot() if table else None
    if newest is None:
        return Taken()
    # What is committed from here on may be among the rows, and is taken again.
    _, rows = query(settings, f"select {', '.join(COLUMNS)} from {MTG_STATISTICS.sql}")  # noqa: S608
    with open_postgres(settings, "mtg statistics") as connection, connection, connection.cursor() as cursor:
        cursor.execute(STAGING)
        if rows:
            columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
            copy_rows(cursor, "new_statistics", pa.table(columns))
        cursor.execute(FOREIGN)
        foreign = int(cursor.rowcount)
        cursor.execute(UPSERT)
        changed = int(cursor.rowcount)
        cursor.execute(MOVE, (str(MTG_STATISTICS), newest.snapshot_id))
        return Taken(changed, foreign)


def taken_snapshot(settings: Settings) -> int | None:
    """The snapshot of gold that PostgreSQL has taken; None where it has none.

    Raises:
        LakehouseError: PostgreSQL does not answer.
    """
    with open_postgres(settings, "mtg sensor") as connection, connection.cursor() as cursor:
        cursor.execute("select to_regclass('mtg.positions') is not null")
        if cursor.fetchone() != (True,):
            return None
        cursor.execute("select snapshot_id from mtg.positions where source = %s", (str(MTG_STATISTICS),))
        found = cursor.fetchone()
        return int(found[0]) if found else None
