"""PyIceberg's `upsert` of changed users into a table of current ones, in a process of its own that may be ended."""

from __future__ import annotations

import os
import sys

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

if __name__ == "__main__":
    name, path = sys.argv[1:]
    catalog = SqlCatalog("lake", uri=os.environ["BENCH_CATALOG_URI"], warehouse=os.environ["BENCH_WAREHOUSE"])
    table = catalog.load_table(name)
    with pa.memory_map(path) as file:
        changed = pa.ipc.open_file(file).read_all()
    table.upsert(changed, join_cols=["user_id"])
