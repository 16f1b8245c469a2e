"""Rows a second and a CPU second of the micro-batch worker, against four peers, in one run.

``python -m benchmarks.microbatch`` is the full run, 1,000,000 events and 5 rounds; ``--rows 50000 --rounds 1`` a quick
one.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from rich.console import Console
from rich.progress import Progress

from benchmarks import report
from benchmarks.events import Produced, produce
from benchmarks.lab import Lab, bars, machine, open_lab
from benchmarks.measure import Sample, judge, medians, run_child

NUMBERS = (
    "rows_per_second",
    "rows_per_cpu_second",
    "rows_per_process_cpu_second",
    "seconds",
    "cpu_seconds",
    "peak_mb",
    "startup_cpu",
)
OURS = "lakehouse"
BROKEN_SHARE = 0.05
BROKEN = "lakehouse_5_percent_broken"
LARGE_BACKLOG = "lakehouse_10_times_the_backlog"

METHOD = (
    "All events are in Kafka (3 partitions) before the first round. A round is one process and an empty table of the "
    "same schema, partitioned by day and service. Rounds are interleaved; one discarded round warms up the engines. "
    "Measured from the moment imports and connections are done to the last commit (offsets included); the CPU of the "
    "start is reported beside. CPU is user + system of the process and of the Kafka broker, PostgreSQL with all its "
    "backends, and Trino, idle work included. Peak memory is VmHWM of the process. Slow peers read fewer rows of the "
    "same topic; rates are compared, not totals; ten times the backlog is one round, for its memory. "
    "Exact means: the multiset of event ids in the table is that of the file the producer wrote, judged by a "
    "script that imports nothing of the product."
)


@dataclass(frozen=True)
class Contender:
    """One way to get the events into the table."""

    name: str
    title: str
    limit: int | None = None
    """Rows it reads; all, if not given."""


CONTENDERS = (
    Contender(OURS, "lakehouse: validation, dead letters, ledger"),
    Contender("trino_100", "(a) Trino INSERT of 100 events or 5 s", 5_000),
    Contender("pyiceberg_100", "(b) PyIceberg append of 100 dicts", 10_000),
    Contender("trino_5000", "(c) Trino INSERT of 5,000 events", 10_000),
    Contender("pyiceberg_batch", "(d) PyIceberg append at our batch size, no validation, no ledger"),
)


def measure_round(lab: Lab, name: str, produced: Produced, limit: int | None, progress: Progress, title: str) -> Sample:
    """One contender, one empty table, one verdict."""
    total = produced.rows + produced.broken if limit is None else min(limit, produced.rows)
    table = lab.table(f"bench_{name}")
    task = progress.add_task(title, total=total)
    if name.startswith(OURS):
        arguments = ["benchmarks.worker", produced.topic, table]
    else:
        arguments = ["benchmarks.peers", name, produced.topic, table, str(total), str(lab.settings.batch_size)]
    try:
        sample = run_child(lab, arguments, lambda rows: progress.update(task, completed=rows))
        sample["verdict"] = judge(lab, table, produced, expected=None if limit is None else total)
    finally:
        lab.drop_table(table)
        lab.forget_dead_letters()
        progress.remove_task(task)
    exact = "exact" if sample["verdict"]["exact"] else f"NOT EXACT {sample['verdict']}"
    progress.console.print(
        f"{title}: {sample['rows_per_second']:,.0f} rows/s, {sample['rows_per_cpu_second']:,.0f} rows/CPU s, "
        f"{sample['peak_mb']:.0f} MB, {exact}"
    )
    return sample


def run(rows: int, rounds: int, *, running: bool, only: list[str] | None, console: Console) -> Sample:
    """The whole benchmark."""
    chosen = [contender for contender in CONTENDERS if not only or contender.name in only]
    started = machine()
    with open_lab(console, running=running) as lab, bars(console) as progress:
        full = _produce(lab, "bench-events", rows, progress)
        warm_up = _produce(lab, "bench-events-warm-up", rows // 10, progress)
        samples: dict[str, list[Sample]] = {contender.name: [] for contender in chosen}
        for contender in chosen:
            limit = min(contender.limit // 4, warm_up.rows) if contender.limit else None
            measure_round(lab, contender.name, warm_up, limit, progress, f"warm-up, {contender.title}")
        for number in range(1, rounds + 1):
            for contender in chosen:
                title = f"round {number}, {contender.title}"
                samples[contender.name].append(
                    measure_round(lab, contender.name, full, contender.limit, progress, title)
                )
        large = _produce(lab, "bench-events-large", 10 * rows, progress)
        extra = {LARGE_BACKLOG: [measure_round(lab, OURS, large, None, progress, "10 times the backlog")]}
        if lab.is_own:
            broken = _produce(lab, "bench-events-broken", rows, progress, BROKEN_SHARE)
            extra[BROKEN] = [
                measure_round(lab, BROKEN, broken, None, progress, f"round {number}, 5 % broken")
                for number in range(1, rounds + 1)
            ]
        batch_size = lab.settings.batch_size
    return {
        "benchmark": "microbatch",
        "machine": started,
        "method": METHOD,
        "rows": rows,
        "rounds": rounds,
        "batch_size": batch_size,
        "mean_event_bytes": full.mean_bytes,
        "contenders": {
            contender.name: {"title": contender.title, **_summary(samples[contender.name])} for contender in chosen
        }
        | {name: {"title": name.replace("_", " "), **_summary(found)} for name, found in extra.items()},
    }


def judge_aims(result: Sample) -> list[Sample]:
    """Each aim, what was measured and whether it is met."""
    found = result["contenders"]

    def ratio(peer: str, number: str) -> float | None:
        if peer not in found or OURS not in found:
            return None
        return round(float(found[OURS]["median"][number] / found[peer]["median"][number]), 2)

    aims: list[Sample] = []

    def add(text: str, measured: float | None, bound: float, *, at_least: bool = True) -> None:
        if measured is not None:
            met = measured >= bound if at_least else measured <= bound
            aims.append({"aim": text, "measured": measured, "met": met})

    own = found[OURS]["median"] if OURS in found else None
    add("100,000 rows per CPU second", own and own["rows_per_cpu_second"], 100_000)
    for peer, bound in (("trino_100", 100), ("pyiceberg_100", 20), ("pyiceberg_batch", 0.8)):
        add(f"≥ {bound} × {peer}, rows per second", ratio(peer, "rows_per_second"), bound)
        add(f"≥ {bound} × {peer}, rows per CPU second", ratio(peer, "rows_per_cpu_second"), bound)
    if own and LARGE_BACKLOG in found:
        growth = round(found[LARGE_BACKLOG]["median"]["peak_mb"] / own["peak_mb"], 2)
        add("memory flat: peak with 10 × the backlog at most 1.1 ×", growth, 1.1, at_least=False)
    if own and BROKEN in found:
        kept = round(found[BROKEN]["median"]["rows_per_second"] / own["rows_per_second"], 2)
        add("5 % broken: at least 0.85 × the rows per second without", kept, 0.85)
    exact = all(contender["exact"] for name, contender in found.items() if name.startswith(OURS))
    aims.append({"aim": "exact in every round", "measured": exact, "met": exact})
    return aims


def _summary(samples: list[Sample]) -> Sample:
    return {
        "median": medians(samples, NUMBERS) | {name: samples[-1]["verdict"][name] for name in ("files", "snapshots")},
        "exact": all(sample["verdict"]["exact"] for sample in samples),
        "samples": samples,
    }


def _produce(lab: Lab, topic: str, rows: int, progress: Progress, broken: float = 0.0) -> Produced:
    task = progress.add_task(f"producing {topic}", total=rows)
    produced = produce(
        lab.settings,
        lab.topic(topic),
        rows,
        lab.folder,
        broken=broken,
        on_sent=lambda count: progress.update(task, completed=count),
    )
    progress.remove_task(task)
    return produced


def main() -> None:
    """Read the flags, run, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="events in Kafka (default: 1,000,000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each contender (default: 5)")
    parser.add_argument("--only", nargs="+", choices=[contender.name for contender in CONTENDERS])
    parser.add_argument("--running", action="store_true", help="use the running stack instead of one of its own")
    parser.add_argument("--name", default="microbatch", help="name of the result file (default: microbatch)")
    arguments = parser.parse_args()
    console = Console()
    result = run(arguments.rows, arguments.rounds, running=arguments.running, only=arguments.only, console=console)
    result["aims"] = judge_aims(result)
    report.publish(arguments.name, result, console)


if __name__ == "__main__":
    main()
