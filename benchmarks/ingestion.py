"""What a row of a CSV file costs, against the usual way and against a reader that only reads; and what a replay costs.

``python -m benchmarks.ingestion`` is the full run, 1,000,000 rows and 3 rounds; ``--rows 50000 --rounds 1`` a quick
one.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from benchmarks import report
from benchmarks.events import Produced
from benchmarks.lab import Lab, bars, machine, open_lab
from benchmarks.measure import Sample, judge, medians, run_child
from benchmarks.microbatch import NUMBERS
from lakehouse.domains.pgr.source import service_events

OURS, PANDAS, DUCKDB = "lakehouse", "pandas_trino", "duckdb"
REFUSED, REPLAYED = "lakehouse_all_refused", "lakehouse_replay"
SLOW_ROWS = 5_000
"""Rows of the file that the slow peer inserts."""

METHOD = (
    "One CSV file of service events as the generator makes them, the attributes as quoted JSON. A round is one process "
    "and an empty table; rounds are interleaved, after a discarded one. Measured from the moment imports and "
    "connections are done to the last commit, the first look at the file (its hash) included. CPU is user + system of "
    "the process and of Kafka, PostgreSQL with all its backends, and Trino, idle work included. Peak memory is VmHWM; "
    "ten times the file is the same rows ten times over. The slow peer inserts the first rows only: rates "
    "are compared. For the replay a file of a fifth of the rows is refused as a whole by a stricter contract, then all "
    "of its dead letters are replayed under today's; the rate it is compared with is that of the same file taken in. "
    "Exact means: the multiset of event ids in the table is that of the file, judged by a script that imports nothing "
    "of the product."
)


@dataclass(frozen=True)
class CsvFile:
    """A file, and the file of its ids that tables are judged by."""

    path: Path
    produced: Produced


def make_csv(folder: Path, name: str, rows: int, progress: Progress) -> CsvFile:
    """A file of service events."""
    path, ids = folder / f"{name}.csv", folder / f"{name}.ids"
    task = progress.add_task(f"writing {path.name}", total=rows)
    with path.open("w", newline="") as file, ids.open("w") as id_file:
        events = _records(rows)
        first = next(events)
        writer = csv.DictWriter(file, list(first))
        writer.writeheader()
        for event in itertools.chain([first], events):
            writer.writerow(event)
            id_file.write(event["event_id"] + "\n")
            progress.advance(task)
    progress.remove_task(task)
    return CsvFile(path, Produced("", rows, 0, path.stat().st_size / rows, ids, ids))


def repeat(file: CsvFile, times: int) -> Path:
    """The file's rows so many times over, below one header."""
    path = file.path.with_name("tenfold.csv")
    with path.open("wb") as target:
        for number in range(times):
            with file.path.open("rb") as source:
                header = source.readline()
                target.write(header if number == 0 else b"")
                while block := source.read(2**20):
                    target.write(block)
    return path


def measure(lab: Lab, name: str, file: CsvFile, progress: Progress, title: str) -> Sample:
    """One contender, one empty table, one verdict."""
    rows = file.produced.rows
    limit = min(SLOW_ROWS, rows) if name == PANDAS else rows
    table = lab.table(f"bench_{name}")
    try:
        if name == OURS:
            sample = _child(lab, ["benchmarks.file_worker", "ingest", str(file.path), table], limit, progress, title)
        else:
            arguments = ["benchmarks.file_peers", name, str(file.path), table, str(limit)]
            sample = _child(lab, arguments, limit, progress, title)
        if name == DUCKDB:
            sample["verdict"] = {"exact": sample["rows"] == rows, "files": 0, "snapshots": 0}
        else:
            sample["verdict"] = judge(lab, table, file.produced, expected=limit)
    finally:
        lab.drop_table(table)
    return sample


def measure_replay(lab: Lab, file: CsvFile, progress: Progress) -> dict[str, Sample]:
    """The file refused as a whole, then replayed."""
    lab.forget_dead_letters()
    table = lab.table("bench_replay")
    samples = {}
    try:
        for name, action in ((REFUSED, "refuse"), (REPLAYED, "replay")):
            arguments = ["benchmarks.file_worker", action, str(file.path), table]
            samples[name] = _child(lab, arguments, file.produced.rows, progress, name.replace("_", " "))
        samples[REPLAYED]["verdict"] = judge(lab, table, file.produced)
        samples[REFUSED]["verdict"] = {"exact": samples[REFUSED]["rows"] == 0, "files": 0, "snapshots": 0}
    finally:
        lab.drop_table(table)
        lab.forget_dead_letters()
    return samples


def run(rows: int, rounds: int, *, console: Console) -> Sample:
    """The whole benchmark, in a stack of its own: it drops the dead letters."""
    started = machine()
    with open_lab(console, running=False) as lab, bars(console) as progress:
        file = make_csv(lab.folder, "events", rows, progress)
        small = make_csv(lab.folder, "fifth", rows // 5, progress)
        samples: dict[str, list[Sample]] = {}
        for name in (OURS, PANDAS, DUCKDB):
            measure(lab, name, small, progress, f"warm-up, {name}")
        for number in range(1, rounds + 1):
            for name in (OURS, PANDAS, DUCKDB):
                sample = measure(lab, name, file, progress, f"round {number}, {name}")
                samples.setdefault(name, []).append(sample)
            samples.setdefault("lakehouse_a_fifth", []).append(measure(lab, OURS, small, progress, "a fifth"))
            for name, sample in measure_replay(lab, small, progress).items():
                samples.setdefault(name, []).append(sample)
        table = lab.table("bench_tenfold")
        arguments = ["benchmarks.file_worker", "ingest", str(repeat(file, 10)), table]
        tenfold = _child(lab, arguments, rows * 10, progress, "ten times the file")
    return {
        "benchmark": "ingestion",
        "machine": started,
        "method": METHOD,
        "rows": rows,
        "rounds": rounds,
        "mean_event_bytes": file.produced.mean_bytes,
        "contenders": {name: {"title": _TITLES[name], **_summary(found)} for name, found in samples.items()},
        "tenfold": tenfold,
    }


_TITLES = {
    OURS: "lakehouse: CSV with validation, dead letters, account",
    PANDAS: "(a) pandas read_csv, Trino INSERT of 1,000 rows",
    DUCKDB: "(b) DuckDB's CSV reader, nothing written",
    "lakehouse_a_fifth": "lakehouse, a fifth of the rows",
    REFUSED: "lakehouse, every row of it refused",
    REPLAYED: "lakehouse, these dead letters replayed",
}


def judge_aims(result: Sample) -> list[Sample]:
    """Each aim, what was measured and whether it is met."""
    found = {name: contender["median"] for name, contender in result["contenders"].items()}

    def ratio(name: str, peer: str, number: str = "rows_per_cpu_second") -> float:
        return round(float(found[name][number] / found[peer][number]), 3)

    # What a process does once weighs on a small file.
    rates = {
        result["rows"]: found[OURS]["rows_per_cpu_second"],
        result["tenfold"]["rows"]: result["tenfold"]["rows_per_cpu_second"],
    }
    replay = min(ratio(REPLAYED, "lakehouse_a_fifth", number) for number in ("rows_per_second", "rows_per_cpu_second"))
    growth = round(result["tenfold"]["peak_mb"] / found[OURS]["peak_mb"], 2)
    exact = all(contender["exact"] for contender in result["contenders"].values())
    faster, limit = ratio(OURS, PANDAS), ratio(OURS, DUCKDB)
    return [
        *(
            {"aim": f"150,000 rows per CPU second, {rows:,} in a file", "measured": rate, "met": rate >= 150_000}
            for rows, rate in rates.items()
        ),
        {"aim": "× pandas and Trino, rows per CPU second", "measured": faster, "met": faster >= 1},
        {"aim": "× DuckDB's reader alone, rows per CPU second (the limit)", "measured": limit, "met": True},
        {"aim": "memory flat: peak with 10 × the file at most 1.1 ×", "measured": growth, "met": growth <= 1.1},
        {"aim": "replay at half the rate of ingestion or better", "measured": replay, "met": replay >= 0.5},
        {"aim": "exact in every round", "measured": exact, "met": exact},
    ]


def _records(rows: int) -> Iterator[dict[str, Any]]:
    for _, value in service_events(rows):
        event = json.loads(value or b"")
        attributes = event["attributes_json"]
        yield event | {"attributes_json": attributes if isinstance(attributes, str) else json.dumps(attributes)}


def _child(lab: Lab, arguments: list[str], total: int, progress: Progress, title: str) -> Sample:
    task = progress.add_task(title, total=total)
    sample = run_child(lab, arguments, lambda rows: progress.update(task, completed=rows))
    progress.remove_task(task)
    progress.console.print(
        f"{title}: {sample['rows_per_second']:,.0f} rows/s, {sample['rows_per_cpu_second']:,.0f} rows/CPU s, "
        f"{sample['peak_mb']:.0f} MB"
    )
    return sample


def _summary(samples: list[Sample]) -> Sample:
    return {
        "median": medians(samples, NUMBERS) | {name: samples[-1]["verdict"][name] for name in ("files", "snapshots")},
        "exact": all(sample["verdict"]["exact"] for sample in samples),
        "samples": samples,
    }


def main() -> None:
    """Read the flags, run, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the file (default: 1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each contender (default: 3)")
    parser.add_argument("--name", default="ingestion", help="name of the result file (default: ingestion)")
    arguments = parser.parse_args()
    console = Console()
    result = run(arguments.rows, arguments.rounds, console=console)
    result["aims"] = judge_aims(result)
    report.publish(arguments.name, result, console)


if __name__ == "__main__":
    main()
