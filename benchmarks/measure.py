"""One measured round: a process of its own from the signal to begin to its last commit, engines included."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.events import Produced
from benchmarks.lab import Lab

PROJECT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
Sample = dict[str, Any]


class ChildFailed(Exception):
    """A measured process ended early; its last words."""


def run_child(
    lab: Lab, arguments: Sequence[str], on_rows: Callable[[int], None] = lambda rows: None, *, tag: str = "child"
) -> Sample:
    """Run ``python -m …`` that speaks as `child.Child`: CPU of it and of each engine, wall time, peak memory."""
    command = [sys.executable, "-m", *arguments]
    with (
        (lab.folder / f"{tag}.stderr").open("w+") as stderr,
        subprocess.Popen(  # noqa: S603
            command, cwd=PROJECT, env=lab.environment(), stdin=-1, stdout=-1, stderr=stderr, text=True
        ) as process,
    ):
        assert process.stdin
        assert process.stdout
        before: dict[str, float] = {}
        sample: Sample = {}
        for line in process.stdout:
            message = json.loads(line)
            if message["event"] == "ready":
                sample["startup_cpu"] = message["startup_cpu"]
                before = lab.engines()
                process.stdin.write("go\n")
                process.stdin.flush()
            elif message["event"] == "progress":
                on_rows(message["rows"])
            else:
                after = lab.engines()
                sample |= {name: value for name, value in message.items() if name != "event"}
                used = {name: round(after[name] - before.get(name, 0.0), 3) for name in after}
                sample["cpu"] = {"process": round(message["cpu"], 3), **used}
        if process.wait() or "cpu" not in sample:
            stderr.seek(0)
            raise ChildFailed(f"{' '.join(arguments)}: {stderr.read()[-1500:]}")
    return _with_rates(sample)


def judge(lab: Lab, table: str, produced: Produced, *, expected: int | None = None) -> Sample:
    """The verdict of `judge.py` over what the micro-batch worker landed."""
    more = [] if expected is None else ["--expected", str(expected)]
    if produced.broken:
        more += ["--topic", produced.topic, "--broken", str(produced.broken_ids)]
    return ask_judge(lab, table, produced.ids, *more)


def ask_judge(lab: Lab, table: str, ids: Path, *more: str) -> Sample:
    """The verdict of `judge.py` over a bronze table, and more."""
    return _ask_judge(lab, f"bronze.{table}", str(ids), *more)


def judge_topic(lab: Lab, topic: str, ids: Path) -> Sample:
    """The verdict of `judge.py` over a topic whose messages hold the ids."""
    return _ask_judge(lab, topic, str(ids), "--is-topic")


def _ask_judge(lab: Lab, *arguments: str) -> Sample:
    """Run it as a script on its own."""
    command = [sys.executable, str(Path(__file__).with_name("judge.py")), *arguments]
    done = subprocess.run(  # noqa: S603
        command, env=lab.environment(), cwd=lab.folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ChildFailed(f"judge: {done.stderr[-1500:]}")
    verdict: Sample = json.loads(done.stdout)
    parts = [verdict, *(part for part in verdict.values() if isinstance(part, dict))]
    verdict["exact"] = not any(part.get(name) for part in parts for name in ("missing", "duplicated", "extra"))
    return verdict


def medians(samples: Sequence[Sample], names: Sequence[str]) -> Sample:
    """Median of each number over the samples."""
    return {name: round(statistics.median(sample[name] for sample in samples), 3) for name in names}


def quantiles(seconds: pa.Array | pa.ChunkedArray) -> dict[str, float]:
    """What so large a share of latencies stayed within, in seconds."""
    found = pc.quantile(seconds, list(QUANTILES.values())).to_pylist()
    return {name: round(value, 3) for name, value in zip(QUANTILES, found, strict=True)}


def save(name: str, result: Sample) -> Path:
    """Write a result for people and for the table."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def _with_rates(sample: Sample) -> Sample:
    records = sample["rows"] + sample.get("dead_letters", 0)
    total = sum(sample["cpu"].values())
    return sample | {
        "seconds": round(sample["seconds"], 3),
        "cpu_seconds": round(total, 3),
        "rows_per_second": round(records / sample["seconds"], 1),
        "rows_per_cpu_second": round(records / total, 1),
        "rows_per_process_cpu_second": round(records / sample["cpu"]["process"], 1),
        "peak_mb": round(sample["peak_mb"], 1),
    }
