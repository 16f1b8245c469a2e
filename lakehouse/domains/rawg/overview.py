"""What Dagster shows of the games: some of them, and how many came out a year; and whether RAWG has as many."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.adapters.iceberg.catalog import connect, find_table
from lakehouse.adapters.iceberg.filters import among
from lakehouse.contracts.pull import CLOSED
from lakehouse.domains.rawg.api import API
from lakehouse.domains.rawg.contract import SEEN
from lakehouse.domains.rawg.ingest import asking
from lakehouse.domains.rawg.lake import current_versions
from lakehouse.domains.rawg.windows import ROOTS, Window
from lakehouse.ledger.pulls import Pulls
from lakehouse.naming import RAWG_GAMES

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from lakehouse.settings import Settings

SHOWN_GAMES = 10
SHOWN_YEARS = 40
WIDTH = 40
"""Characters of the longest bar."""
COMPARED = 5
"""Windows for which the API is asked how many games they have, a request each; two of those without a date."""


@dataclass(frozen=True)
class Comparison:
    """A window of release: how many games the API says it has, and how many are held."""

    window: str
    said: int
    held: int
    """Games that are there, and items that were refused."""


def describe_games(settings: Settings) -> dict[str, Any]:
    """Metadata: number of games, a small table of those updated last, a chart of releases by year."""
    table = find_table(connect(settings), RAWG_GAMES)
    if table is None:
        return {}
    games = _games(table)
    years = Counter(str(year) if year else "none" for year in pc.year(games["release_date"]).to_pylist())
    newest = games.sort_by([("updated_at", "descending")]).slice(0, SHOWN_GAMES)["game_id"].to_pylist()
    return {
        "dagster/row_count": _count(table),
        "games": games.num_rows,
        "releases_by_year": dg.MetadataValue.md(chart(years)),
        **({"updated_last": _preview(table, newest)} if newest else {}),
    }


def chart(years: Counter[str]) -> str:
    """Numbers by year as a bar chart in Markdown; the newest years, and games without one last."""
    shown = sorted(years)[-SHOWN_YEARS:]
    most = max(years.values(), default=1)
    lines = [f"{year:>5} {'█' * max(1, round(WIDTH * years[year] / most))} {years[year]:,}" for year in shown]
    return "```\n" + "\n".join(lines) + "\n```"


def compare_counts(settings: Settings) -> list[Comparison]:
    """Ask the API how many games the windows of release have that were read last, the largest of a run first.

    Raises:
        LakehouseError: the catalog or the API does not answer, the key is refused or the budget spent.
    """
    catalog = connect(settings)
    table = find_table(catalog, RAWG_GAMES)
    newest = Pulls(catalog, API.source).newest(["outcome", "said", "refused"])
    ended = {
        window: (pull["completed_at"], pull["said"], pull["refused"], root)
        for root in ROOTS.values()
        if (pull := newest.get(window := root.name)) and pull["outcome"] == CLOSED
    }
    chosen = sorted(ended, key=lambda window: ended[window][:2], reverse=True)[:COMPARED]
    if table is None or not chosen:
        return []
    games = _games(table)
    with asking(settings, catalog) as client:
        return [
            Comparison(window, client.size(root), _held(games, root) + refused)
            for window in chosen
            for *_, refused, root in [ended[window]]
        ]


def _count(table: Table) -> int:
    snapshot = table.current_snapshot()
    said = snapshot.summary if snapshot else None
    return int(said["total-records"] or 0) if said else 0


def _games(table: Table) -> pa.Table:
    """Current versions of the games that are there."""
    current = current_versions(table, ("release_date", "change"))
    return current.filter(pc.equal(current["change"], SEEN))


def _held(games: pa.Table, window: Window) -> int:
    days = games["release_date"]
    if window.released is None:
        return int(days.null_count)
    first, last = (pa.scalar(day, pa.date32()) for day in window.released)
    return int(pc.sum(pc.and_(pc.greater_equal(days, first), pc.less_equal(days, last))).as_py() or 0)


def _preview(table: Table, game_ids: list[int]) -> dg.TableMetadataValue:
    shown = current_versions(table, ("raw_payload",), among("game_id", game_ids)).sort_by(
        [("updated_at", "descending")]
    )
    said = [msgspec.json.decode(text) for text in shown["raw_payload"].to_pylist() if text]
    fields = ("id", "name", "released", "updated", "rating", "metacritic", "added")
    records = [dg.TableRecord({name: str(game.get(name, "")) for name in fields}) for game in said]
    return dg.MetadataValue.table(records, schema=dg.TableSchema([dg.TableColumn(name) for name in fields]))
