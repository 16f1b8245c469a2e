"""What putting small files together brings a reader, and which engine does it cheaper.

Two tables get the same small files, one a commit. One is compacted by the product (Trino's `optimize`), the other is
rewritten by PyIceberg (read all, `overwrite`), its only way. Before and after, Trino scans a text column of every row;
the smallest of three scans counts. CPU is that of this process and of all engines.
"""

from __future__ import annotations

import argparse
import time
from datetime import timedelta

from pyiceberg.table import Table
from rich.console import Console

from benchmarks import report
from benchmarks.history import TOPIC, cpu_of, make_batch
from benchmarks.lab import bars, machine, open_lab
from benchmarks.measure import Sample
from benchmarks.worker import contract_for
from lakehouse.adapters.trino.query import query
from lakehouse.ledger.writer import LedgeredWriter
from lakehouse.maintenance.compaction import compact
from lakehouse.maintenance.expiry import expire
from lakehouse.maintenance.state import measure
from lakehouse.naming import TableName
from lakehouse.settings import Settings

SCANS = 3


def scan(settings: Settings, name: TableName) -> float:
    """Seconds of the fastest full scan."""
    seconds = []
    for _ in range(SCANS):
        began = time.perf_counter()
        query(settings, f"select count(*), sum(length(raw_payload)), max(event_id) from {name.sql}")  # noqa: S608
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def data_files(table: Table) -> int:
    """Files of the newest snapshot, as its commit counted them."""
    newest = table.current_snapshot()
    return int(newest.summary["total-data-files"] or 0) if newest and newest.summary else 0


def run(files: int, rows: int, *, running: bool, console: Console) -> Sample:
    """The whole benchmark."""
    started = machine()
    with open_lab(console, running=running) as lab, bars(console) as progress:
        names = [contract_for(lab.table(f"bench_compaction_{side}")).table for side in ("ours", "theirs")]
        task = progress.add_task("small files", total=files * len(names))
        for name in names:
            writer = LedgeredWriter(lab.catalog, contract_for(name.table), TOPIC, run_id="benchmark")
            table = lab.catalog.load_table(name.identifier)
            commits = written = 0
            while written < files:  # a commit writes a file for each day of its events
                writer.append(make_batch(commits * rows, rows))
                commits += 1
                there = data_files(table.refresh())
                progress.advance(task, there - written)
                written = there
                if commits % 100 == 0:  # a long history would make this slow, and is another question
                    expire(lab.catalog, name, (), kept=10, retention=timedelta(days=7))
        before = {str(name): measure(lab.catalog.load_table(name.identifier)) for name in names}
        slow = {str(name): scan(lab.settings, name) for name in names}
        ours, theirs = names

        def rewrite() -> None:
            table = lab.catalog.load_table(theirs.identifier)
            table.overwrite(table.scan().to_arrow())

        walls, cpus = {}, {}
        for name, work in ((ours, lambda: compact(lab.settings, ours)), (theirs, rewrite)):
            began = time.perf_counter()
            cpus[str(name)] = cpu_of(lab, work)
            walls[str(name)] = time.perf_counter() - began
        after = {str(name): measure(lab.catalog.load_table(name.identifier)) for name in names}
        fast = {str(name): scan(lab.settings, name) for name in names}
        _, counted = query(lab.settings, f"select count(distinct kafka_offset), count(*) from {ours.sql}")  # noqa: S608
    sides = {
        side: {
            "files_before": before[str(name)].files,
            "files_after": after[str(name)].files,
            "scan_seconds_before": round(slow[str(name)], 3),
            "scan_seconds_after": round(fast[str(name)], 3),
            "compaction_seconds": round(walls[str(name)], 2),
            "compaction_cpu_seconds": round(cpus[str(name)], 2),
        }
        for side, name in (("trino_optimize", ours), ("pyiceberg_overwrite", theirs))
    }
    cheaper = sides["pyiceberg_overwrite"]["compaction_cpu_seconds"] / sides["trino_optimize"]["compaction_cpu_seconds"]
    speedup = round(slow[str(ours)] / fast[str(ours)], 1)
    exact = counted[0] == [commits * rows, commits * rows]
    return {
        "benchmark": "compaction",
        "machine": started,
        "method": " ".join((__doc__ or "").split()),
        "scale": f"{written:,} files a table, from {commits:,} commits of {rows} rows.",
        "sides": sides,
        "aims": [
            {"aim": "a full scan at least 10 × faster", "measured": speedup, "met": speedup >= 10},
            {
                "aim": "PyIceberg's rewrite costs more CPU than the engine that is used, times",
                "measured": round(cheaper, 2),
                "met": cheaper >= 1,
            },
            {"aim": "every row is there once", "measured": exact, "met": exact},
        ],
    }


def main() -> None:
    """Read the flags, run, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2_000, help="small files (default: 2,000)")
    parser.add_argument("--rows", type=int, default=100, help="rows a file (default: 100)")
    parser.add_argument("--running", action="store_true", help="use the running stack instead of one of its own")
    arguments = parser.parse_args()
    console = Console()
    result = run(arguments.files, arguments.rows, running=arguments.running, console=console)
    report.publish("compaction", result, console)


if __name__ == "__main__":
    main()
