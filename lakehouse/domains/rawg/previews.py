"""What Dagster shows of gold beside a run: the best known games, and how many came out in each year."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import dagster as dg

from lakehouse.adapters.trino.query import query
from lakehouse.naming import FACT_GAMES
from lakehouse.settings import Settings

BEST_KNOWN = f"""
    select name, cast(date_key as varchar) as released, cast(rating as varchar) as rating, metacritic, added
    from {FACT_GAMES.sql} order by added desc, game_id limit 10
"""
RELEASES = f"""
    select coalesce(cast(year(date_key) as varchar), 'none') as year, count(*) as games
    from {FACT_GAMES.sql} group by 1
"""


def preview(settings: Settings) -> Mapping[str, dg.MetadataValue]:
    """Metadata of a build of the facts: a small table, and a chart."""
    from lakehouse.domains.rawg.overview import chart

    names, rows = query(settings, BEST_KNOWN)
    records = [dg.TableRecord(dict(zip(names, row, strict=True))) for row in rows]
    _, years = query(settings, RELEASES)
    return {
        "best_known": dg.MetadataValue.table(records, schema=_schema(names)),
        "releases_by_year": dg.MetadataValue.md(chart(Counter({year: games for year, games in years}))),
    }


def _schema(names: Sequence[str]) -> dg.TableSchema:
    """Said, so that a table without rows has its columns, too."""
    numbers = {"metacritic", "added"}
    return dg.TableSchema([dg.TableColumn(name, "int" if name in numbers else "string") for name in names])
