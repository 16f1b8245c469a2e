"""A job of Dagster run to its end, as the demo and the command line do: the run is in the UI like any other."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from lakehouse.errors import LakehouseError
from lakehouse.orchestration.partitions import DAILY
from lakehouse.settings import Settings
from lakehouse.stack.environment import exports

LAST_WORDS = 15
"""Lines of a failed run's output that its error shows."""

_STEP = re.compile(r"(\d+) of (\d+) (?:OK|PASS|WARN|ERROR|FAIL|SKIP)")
"""How dbt counts what it has built and tested."""

Progress = Callable[[int, int], None]


def run_job(
    settings: Settings,
    job: str,
    tags: Mapping[str, str] | None = None,
    *,
    told: str = "",
    on_step: Progress = lambda done, total: None,
) -> None:
    """Run a job in a process of its own.

    Args:
        settings: Where the servers are.
        job: Its name.
        tags: Tags of the run.
        told: What the job reads from its input: unlike tags and configuration, it is kept nowhere.
        on_step: Called with the number of models and tests that dbt is done with, and of all.

    Raises:
        LakehouseError: the local Dagster was never started, or the run failed; the end of its output is part of it.
    """
    environment = exports(settings)
    if not Path(environment["DAGSTER_HOME"], "dagster.yaml").exists():
        raise LakehouseError("Dagster has never run here; `lakehouse up` starts it")
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "lakehouse.definitions", "-j", job]
    last_words = deque[str](maxlen=LAST_WORDS)
    with subprocess.Popen(  # noqa: S603
        [*command, "--tags", json.dumps(dict(tags or {}))],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(told)
        for line in process.stdout:
            last_words.append(line)
            if step := _STEP.search(line):
                on_step(int(step[1]), int(step[2]))
    if process.returncode:
        raise LakehouseError(f"the job {job} failed:\n" + "".join(last_words))


def backfill(
    settings: Settings,
    job: str,
    first: date,
    last: date,
    tags: Mapping[str, str] | None = None,
    *,
    on_step: Progress = lambda done, total: None,
) -> None:
    """Run a job over days of silver and gold, both ends included, in one run.

    Raises:
        LakehouseError: as `run_job`, and where the first day is after the last, or a day is none of `DAILY`.
    """
    if first > last:
        raise LakehouseError(f"the first day, {first}, is after the last, {last}")
    for day in (first, last):
        if not DAILY.has_partition_key(str(day)):
            known = f"{DAILY.get_first_partition_key()} to {DAILY.get_last_partition_key()}"
            raise LakehouseError(f"{day} is none of the days that can be processed again: {known}")
    days = {ASSET_PARTITION_RANGE_START_TAG: str(first), ASSET_PARTITION_RANGE_END_TAG: str(last)}
    run_job(settings, job, {**(tags or {}), **days}, on_step=on_step)
