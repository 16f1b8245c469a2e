"""What was taken of MTGJSON's builds, as `bronze.mtg_builds` remembers it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyiceberg.expressions import And

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.adapters.iceberg.filters import among, at_most, begins_with
from lakehouse.adapters.iceberg.history import ALL_ROWS
from lakehouse.contracts.arrow import arrow_schema
from lakehouse.domains.mtg.contract import BUILD_RECORD
from lakehouse.domains.mtg.source import PRICE_FILES, Build, MtgJson
from lakehouse.domains.mtg.spool import Part
from lakehouse.ledger.commit import append, until_won

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.expressions import BooleanExpression


def taken_rows(
    catalog: Catalog, client: MtgJson, columns: Sequence[str], row_filter: BooleanExpression = ALL_ROWS
) -> list[dict[str, Any]]:
    """What was taken from a client's server; another one's builds are others, whatever their days and versions.

    Args:
        catalog: Where bronze is.
        client: Of the server.
        columns: Wanted ones; `source_url` comes with them.
        row_filter: Which rows.
    """
    from_there = And(row_filter, begins_with("source_url", client.url))
    scan = ensure_table(catalog, BUILD_RECORD).scan(from_there, selected_fields=(*columns, "source_url"))
    return scan.to_arrow().to_pylist()  # type: ignore[no-any-return]


def has_prices_before(catalog: Catalog, client: MtgJson, build: Build) -> bool:
    """Whether there are prices up to the day before a build: those of nights that were missed are in `ALL_PRICES`."""
    rows = taken_rows(catalog, client, ("build_date", "last_date"), among("part", PRICE_FILES))
    # A day after that of its build is a mistake of the file.
    days = [min(row["last_date"], row["build_date"]) for row in rows if row["last_date"]]
    return bool(days) and build.date - max(days) <= timedelta(days=1)


def parts_with_cards(catalog: Catalog, names: Sequence[str], build: Build) -> set[str]:
    """Which of some sets had cards in a build that was taken, of whatever server, up to the day of this one."""
    before = And(among("part", names), at_most("build_date", build.date.isoformat()))
    rows = ensure_table(catalog, BUILD_RECORD).scan(before, selected_fields=("part", "items")).to_arrow().to_pylist()
    return {row["part"] for row in rows if row["items"]}


def write_down(catalog: Catalog, build: Build, parts: Sequence[Part]) -> None:
    """Say that parts of a build were taken."""
    table = ensure_table(catalog, BUILD_RECORD)
    now = datetime.now(UTC)
    rows: list[dict[str, Any]] = [
        {
            "build_date": build.date,
            "build_version": build.version or None,
            "part": part.name,
            "items": part.items,
            "declared_items": part.declared_items,
            "first_date": part.first_date and date.fromisoformat(part.first_date),
            "last_date": part.last_date and date.fromisoformat(part.last_date),
            "source_url": part.source.url,
            "source_sha256": part.source.sha256,
            "fetched_at": part.source.fetched_at,
            "taken_at": now,
        }
        for part in parts
    ]
    written = pa.Table.from_pylist(rows, schema=arrow_schema(BUILD_RECORD))

    def write() -> None:
        table.refresh()
        append(table, written, {}, {})

    until_won(table, write)
