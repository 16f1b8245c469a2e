"""The peers of `ingestion`: the same file, the way it is usually loaded. Nothing of `lakehouse` is imported.

- ``pandas_trino``: pandas' `read_csv`, then an `INSERT … VALUES` with parameters for every 1,000 rows through Trino.
- ``duckdb``: DuckDB's CSV reader into Arrow, every cell as text, on one thread; nothing is written. The limit for
  whoever has to look at each cell.

Neither validates, keeps dead letters or an account.
"""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import trino

from benchmarks.child import Child

ROWS_AN_INSERT = 1_000


def insert_through_trino(path: Path, table: str, limit: int) -> None:
    """The first rows of the file, read by pandas."""
    connection = trino.dbapi.connect(  # type: ignore[no-untyped-call]
        host=os.environ["BENCH_TRINO_HOST"],
        port=int(os.environ["BENCH_TRINO_PORT"]),
        user="benchmark",
        catalog="iceberg",
    )
    child = Child()
    landed = 0
    for part in pd.read_csv(path, nrows=limit, chunksize=ROWS_AN_INSERT, dtype=str, keep_default_na=False):
        columns = ["event_date", "ingested_at", *part.columns]
        one = "(" + ", ".join("?" * len(columns)) + ")"
        statement = f"insert into iceberg.bronze.{table} ({', '.join(columns)}) values "  # noqa: S608
        values = [value for record in part.to_dict("records") for value in _typed(record)]
        cursor = connection.cursor()
        cursor.execute(statement + ", ".join([one] * len(part)), values)
        cursor.fetchall()
        landed += len(part)
        child.progress(landed)
    child.done(landed, landed // ROWS_AN_INSERT)


def _typed(record: dict[Any, str]) -> list[Any]:
    moment = datetime.fromisoformat(record["event_time"]).replace(tzinfo=UTC)
    texts = {name: text or None for name, text in record.items()}
    return [moment.date(), datetime.now(UTC), *(texts | {"event_time": moment}).values()]


def read_with_duckdb(path: Path) -> None:
    """Every cell of the file, a piece at a time."""
    child = Child()
    rows = 0
    with duckdb.connect(config={"threads": 1}) as connection:
        reader = connection.read_csv(str(path), all_varchar=True).to_arrow_reader(50_000)
        for batch in reader:
            rows += batch.num_rows
            child.progress(rows)
    child.done(rows, 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["pandas_trino", "duckdb"])
    parser.add_argument("path", type=Path)
    parser.add_argument("table")
    parser.add_argument("limit", type=int)
    arguments = parser.parse_args()
    if arguments.peer == "pandas_trino":
        insert_through_trino(arguments.path, arguments.table, arguments.limit)
    else:
        read_with_duckdb(arguments.path)
