"""How a process under measurement speaks to the one that measures: JSON lines, and a wait for the signal to begin.

Standard library only, so that peers can use it without anything of `lakehouse`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

SETTLE_SECONDS = 0.5
"""By then, a server's own processes for this one have ended, and their CPU time is known as their parent's."""


class Child:
    """The measured side."""

    def __init__(self) -> None:
        """Say that imports and connections are done, and wait for the signal; what came before counts as the start."""
        _say(event="ready", startup_cpu=time.process_time())
        sys.stdin.readline()
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def progress(self, rows: int) -> None:
        """Report how many rows are accounted for."""
        _say(event="progress", rows=rows)

    def done(self, rows: int, commits: int, **more: Any) -> None:
        """Report the end of the measured work."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        time.sleep(SETTLE_SECONDS)
        _say(event="done", rows=rows, commits=commits, seconds=wall, cpu=cpu, peak_mb=peak_mb(), **more)


def peak_mb() -> float:
    """Largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would remember the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024


def _say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
