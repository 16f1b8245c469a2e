"""The product's way of Magic's cards in a process of its own: ``python -m benchmarks.mtg_worker HOW``.

- ``load``: from silver to PostgreSQL, as the asset does it.
- ``path``: the newest build of the server that the settings name: download, topics, bronze, silver by Spark, and load.
- ``bronze``: of that way download, topics and bronze.
"""

from __future__ import annotations

import sys
import time
from importlib import import_module

from benchmarks.child import Child, peak_mb
from lakehouse import settings as settings_module
from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.settings import Settings

LOAD, PATH, BRONZE = "load", "path", "bronze"
_LOADING = ("alembic.command", "duckdb", "lakehouse.domains.mtg.serving")
_TAKING = ("ijson", "lakehouse.adapters.kafka.drain", "lakehouse.adapters.kafka.produce", "lakehouse.domains.mtg.pull")
_SPARK = ("pyspark.sql.connect.dataframe", "lakehouse.adapters.spark.workspace", "lakehouse.domains.mtg.silver")
IMPORTS = {LOAD: _LOADING, BRONZE: _TAKING, PATH: (*_TAKING, *_SPARK, *_LOADING)}
"""What each way imports where it uses it; imports are not what is measured."""


def take(settings: Settings, steps: dict[str, float]) -> int:
    """Everything of the newest build, into bronze; returns how many messages it made."""
    from lakehouse.domains.mtg.pull import Wanted, land_all, pull

    catalog, start = connect(settings), time.perf_counter()
    pulled = pull(settings, catalog, Wanted(None, prices=True), run_id="benchmark")
    steps["pull"] = time.perf_counter() - start
    land_all(settings, catalog, "benchmark")
    steps["bronze"] = time.perf_counter() - start - steps["pull"]
    return sum(sent.total for sent in pulled.sent.values())


def make_silver(settings: Settings, steps: dict[str, float]) -> None:
    """What is new in bronze."""
    from lakehouse.adapters.spark.session import open_session
    from lakehouse.adapters.spark.workspace import Workspace
    from lakehouse.domains.mtg import silver

    start = time.perf_counter()
    with open_session(settings) as session:
        work = Workspace(session, connect(settings), "benchmark")
        for build in (silver.build_sets, silver.build_cards, silver.build_prices):
            build(work)
    steps["silver"] = time.perf_counter() - start


def main() -> None:
    """Go that way."""
    how, settings, steps, more = sys.argv[1], settings_module.load(), dict[str, float](), dict[str, float]()
    for name in IMPORTS[how]:
        import_module(name)
    child, rows = Child(), 0
    if how != LOAD:
        rows = more["messages"] = take(settings, steps)
        more["bronze_peak_mb"] = round(peak_mb(), 1)
    if how == PATH:
        make_silver(settings, steps)
    if how != BRONZE:
        from lakehouse.domains.mtg.serving import load

        start = time.perf_counter()
        rows = sum(load(settings).changed.values())
        steps["load"] = time.perf_counter() - start
    child.done(rows, 1, steps={name: round(seconds, 2) for name, seconds in steps.items()}, **more)


if __name__ == "__main__":
    main()
