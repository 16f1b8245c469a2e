"""What it costs to process 90 days of silver and gold again in one run, against building these days from nothing.

Events of 90 days are landed once, and both are done once to warm the engines. Then, in turns: all tables of silver and
gold are dropped and the job builds them, and a backfill of all the days runs over what is there. Both are runs of the
same job, with all its tests; CPU is that of the run's processes and of all engines, median of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
from datetime import UTC, datetime, timedelta

from rich.console import Console

from benchmarks import report
from benchmarks.history import cpu_of
from benchmarks.lab import bars, machine, open_lab
from benchmarks.measure import Sample
from lakehouse.adapters.trino.query import query
from lakehouse.domains.disorder import Shares
from lakehouse.job import backfill, run_job
from lakehouse.naming import PGR_EVENTS, TABLES, Domain, Layer
from lakehouse.produce import produce
from lakehouse.settings import Settings
from lakehouse.stack.dagster import Dagster

DAYS = 90
AIM = 1.2
BUILT = [table for table in TABLES if table.domain is Domain.PGR and table.layer is not Layer.BRONZE]


def run(events: int, rounds: int, *, console: Console) -> Sample:
    """The whole benchmark."""
    started = machine()
    with open_lab(console, running=False) as lab:
        Dagster().configure(lab.settings)
        produce(lab.settings, console, Domain.PGR, events, seed=1, shares=Shares(0, 0, 0), days=DAYS - 1)
        last = datetime.now(UTC).date()
        first = last - timedelta(days=DAYS - 1)

        def build() -> None:
            run_job(lab.settings, "pgr_daily")

        def again() -> None:
            backfill(lab.settings, "pgr_daily", first, last, on_step=lambda done, total: None)

        samples: dict[str, list[float]] = {"rebuild": [], "backfill": []}
        with bars(console) as progress:
            task = progress.add_task("runs", total=2 + 2 * rounds)
            for warming in (build, again):
                warming()
                progress.advance(task)
            rows = count(lab.settings, PGR_EVENTS.sql)
            for _ in range(rounds):
                for table in BUILT:
                    query(lab.settings, f"drop table {table.sql}")
                samples["rebuild"].append(cpu_of(lab, build))
                progress.advance(task)
                samples["backfill"].append(cpu_of(lab, again))
                progress.advance(task)
        exact = count(lab.settings, PGR_EVENTS.sql) == rows
    medians = {name: round(statistics.median(found), 2) for name, found in samples.items()}
    ratio = medians["backfill"] / medians["rebuild"]
    return {
        "benchmark": "backfill",
        "machine": started,
        "method": " ".join((__doc__ or "").split()),
        "scale": f"{rows:,} events over {DAYS} days, median of {rounds}.",
        "median_cpu_seconds": medians,
        "samples": samples,
        "aims": [
            {
                "aim": f"a backfill of {DAYS} days costs at most {AIM:g} × the CPU of building them",
                "measured": round(ratio, 2),
                "met": ratio <= AIM,
            },
            {"aim": "silver holds as many events as before", "measured": exact, "met": exact},
        ],
    }


def count(settings: Settings, table: str) -> int:
    """Rows of a table."""
    _, rows = query(settings, f"select count(*) from {table}")
    return int(rows[0][0])


def main() -> None:
    """Read the flags, run, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="events to land (default: 200,000)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: 3)")
    arguments = parser.parse_args()
    console = Console()
    report.publish("backfill", run(arguments.events, arguments.rounds, console=console), console)


if __name__ == "__main__":
    main()
