"""What one append costs while the history of the table grows, with our maintenance and without any.

Both sides append the same batches to a table of the same schema and partitioning, in turns, each in a process of its
own: the product's ledgered writer, whose table is maintained every so many commits as the schedule would, and
PyIceberg's plain `table.append`. At 1, 10 and 100 times the history samples of each are measured: CPU of its process
and of all engines. What maintenance itself cost is reported beside, spread over the commits it was for.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pyarrow as pa
from rich.console import Console

from benchmarks import report
from benchmarks.events import events
from benchmarks.lab import Lab, bars, machine, open_lab
from benchmarks.measure import Sample
from benchmarks.worker import contract_for
from lakehouse.adapters.batch import RECORDS, Batch, Range
from lakehouse.ledger.writer import LedgeredWriter
from lakehouse.maintenance.maintain import maintain

LEVELS = (1, 10, 100)
AIMS = {10: 1.10, 100: 1.25}
SAMPLES = 5
APPENDS = 4
"""Appends of a sample: the clocks of the engines tick every 10 ms, which is a tenth of one append."""
TOPIC = "bench-history"


def make_batch(start: int, rows: int) -> Batch:
    """Events as they come from one partition."""
    made = list(events(rows, seed=start))
    now = datetime.now(UTC)
    columns = [
        pa.array([0] * rows, pa.int32()),
        pa.array(range(start, start + rows), pa.int64()),
        pa.array([now] * rows, pa.timestamp("us", tz="UTC")),
        pa.array([event.key for event in made], pa.binary()),
        pa.array([event.value for event in made], pa.binary()),
    ]
    return Batch(TOPIC, "bench", pa.table(columns, schema=RECORDS), {0: Range(start, start + rows)})


def run(base: int, rows: int, every: int, *, running: bool, console: Console) -> Sample:
    """The whole benchmark."""
    started = machine()
    with open_lab(console, running=running) as lab, bars(console) as progress, ExitStack() as after:
        contract = contract_for(lab.table("bench_history"))
        plain = after.enter_context(open_plain(lab, lab.table("bench_history_plain")))
        writer = LedgeredWriter(lab.catalog, contract, TOPIC, run_id="benchmark")

        def append(numbers: Iterable[int]) -> list[float]:
            """The same batches for both sides, made before the clocks run; CPU seconds of each side."""
            batches = [make_batch(number * rows, rows) for number in numbers]
            now = datetime.now(UTC)
            plain.load(writer._rows(batch, writer._validate(batch), now) for batch in batches)
            ours = cpu_of(lab, lambda: [writer.append(batch) for batch in batches])
            return [ours, cpu_of(lab, plain.append, plain.process)]

        commits = 0
        upkeep = 0.0
        found: dict[str, dict[int, list[float]]] = {"lakehouse": {}, "pyiceberg": {}}
        task = progress.add_task("commits", total=base * LEVELS[-1])
        for level in LEVELS:
            while commits < base * level:
                append([commits])
                commits += 1
                if commits % every == 0:
                    upkeep += cpu_of(lab, lambda: maintain(lab.settings, lab.catalog, [contract.table]))
                progress.update(task, completed=commits)
            samples = []
            for _ in range(SAMPLES):
                samples.append([cpu / APPENDS for cpu in append(range(commits, commits + APPENDS))])
                commits += APPENDS
            found["lakehouse"][level], found["pyiceberg"][level] = (list(side) for side in zip(*samples, strict=True))
            medians = {name: statistics.median(levels[level]) for name, levels in found.items()}
            progress.console.print(f"{level:>4} ×: " + ", ".join(f"{n} {m:.3f} CPU s" for n, m in medians.items()))
        table = lab.catalog.load_table(contract.table.identifier)
        exact = table.scan(selected_fields=("kafka_offset",)).to_arrow().num_rows == commits * rows
        settings = {name: getattr(lab.settings, name) for name in ("snapshots_kept", "small_files_kept")}
    medians_of = {name: {str(n): statistics.median(s) for n, s in levels.items()} for name, levels in found.items()}
    growth = {
        name: {level: levels[str(level)] / levels[str(LEVELS[0])] for level in LEVELS[1:]}
        for name, levels in medians_of.items()
    }
    aims = [
        {
            "aim": f"an append at {level} × the history costs at most {bound:g} × "
            f"(PyIceberg without maintenance: {growth['pyiceberg'][level]:.1f} ×)",
            "measured": round(growth["lakehouse"][level], 2),
            "met": growth["lakehouse"][level] <= bound,
        }
        for level, bound in AIMS.items()
    ]
    return {
        "benchmark": "history",
        "machine": started,
        "method": " ".join((__doc__ or "").split()),
        "scale": f"1 × is {base} commits of {rows} rows; maintained every {every} commits, "
        f"median of {SAMPLES} samples of {APPENDS} appends.",
        "settings": settings,
        "median_cpu_seconds": medians_of,
        "growth": {name: {str(n): round(value, 2) for n, value in levels.items()} for name, levels in growth.items()},
        "maintenance_cpu_seconds_per_commit": round(upkeep / commits, 4),
        "samples": found,
        "aims": [*aims, {"aim": "every row is there once", "measured": exact, "met": exact}],
    }


@dataclass(frozen=True)
class Plain:
    """The process of the peer."""

    process: psutil.Popen
    folder: Path

    def load(self, batches: Iterable[pa.Table]) -> None:
        """Hand over what the next `append` commits, a commit a batch."""
        paths = []
        for number, batch in enumerate(batches):
            path = self.folder / f"{number}.arrow"
            with pa.ipc.new_file(path, batch.schema) as file:
                file.write_table(batch)
            paths.append(str(path))
        self._say(" ".join(paths), "ready")

    def append(self) -> None:
        """Commit."""
        self._say("", "done")

    def _say(self, line: str, answer: str) -> None:
        print(line, file=self.process.stdin, flush=True)  # noqa: T201
        said = self.process.stdout.readline().strip()
        if said != answer:
            raise RuntimeError(f"the peer ended: {said}")


@contextmanager
def open_plain(lab: Lab, table: str) -> Iterator[Plain]:
    """Start the peer."""
    folder = lab.folder / "plain"
    folder.mkdir()
    command = [sys.executable, str(Path(__file__).with_name("plain_append.py")), table]
    process = psutil.Popen(command, stdin=-1, stdout=-1, text=True, env=lab.environment())
    with process:
        yield Plain(process, folder)
        process.stdin.close()


def cpu_of(lab: Lab, work: Callable[[], object], process: psutil.Process | None = None) -> float:
    """CPU seconds of this process, or of the given one, of those it starts and of all engines while work is done."""

    def spent() -> float:
        times = process.cpu_times() if process else os.times()
        return float(sum(times[:4])) + sum(lab.engines().values())

    before = spent()
    work()
    return spent() - before


def main() -> None:
    """Read the flags, run, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=int, default=10, help="commits that are 1 × (default: 10)")
    parser.add_argument("--rows", type=int, default=200, help="rows a commit (default: 200)")
    parser.add_argument("--every", type=int, default=50, help="commits between two rounds of maintenance (default: 50)")
    parser.add_argument("--running", action="store_true", help="use the running stack instead of one of its own")
    arguments = parser.parse_args()
    console = Console()
    result = run(arguments.base, arguments.rows, arguments.every, running=arguments.running, console=console)
    report.publish("history", result, console)


if __name__ == "__main__":
    main()
