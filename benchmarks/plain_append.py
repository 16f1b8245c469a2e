"""The peer of `history.py`: PyIceberg's own append, in a process that imports nothing of `lakehouse`.

Reads lines: the paths of Arrow files, which it loads and answers with `ready`; then an empty line, upon which it
appends each in a commit of its own and answers with `done`.
"""

from __future__ import annotations

import os
import sys

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog


def main() -> None:
    """Serve until the input ends."""
    catalog = SqlCatalog("lake", uri=os.environ["BENCH_CATALOG_URI"], warehouse=os.environ["BENCH_WAREHOUSE"])
    table = catalog.load_table(("bronze", sys.argv[1]))
    loaded: list[pa.Table] = []
    for line in sys.stdin:
        if line.strip():
            loaded = [pa.ipc.open_file(path).read_all() for path in line.split()]
            print("ready", flush=True)  # noqa: T201
        else:
            for rows in loaded:
                table.append(rows)
            print("done", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
