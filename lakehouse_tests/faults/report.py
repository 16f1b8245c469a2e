"""The table of faults in the README, made of what is declared and of what the last run of the tests found.

python -m lakehouse_tests.faults.report
"""

from __future__ import annotations

import fcntl
import importlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.lab import machine
from lakehouse_tests.faults.declare import FAULTS, Fault

PROJECT = Path(__file__).resolve().parents[2]
README = PROJECT / "README.md"
RESULTS = PROJECT / "docs" / "faults.json"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
MODULES = ("test_runs", "test_servers", "test_storage", "test_gaps", "test_streams", "test_pulls")

SOAK = PROJECT / "docs" / "soak.json"
MIXED_LOAD = PROJECT / "docs" / "mixed-load.json"

Results = dict[str, dict[str, str]]
"""``held`` or ``failed`` by name of the test and case."""


@dataclass(frozen=True)
class Round:
    """One fault of a soak."""

    fault: str
    case: str
    records: int
    """How many were sent."""
    failure: str | None
    """Why it did not hold; None when it did."""


def declared() -> dict[str, Fault]:
    """All faults, in the order of the table."""
    modules = [importlib.import_module(f"{__package__}.{name}").__name__ for name in MODULES]
    return dict(sorted(FAULTS.items(), key=lambda item: modules.index(item[1].test.__module__)))


def results() -> Results:
    """What the last run of each fault found."""
    found: Results = json.loads(RESULTS.read_text())
    return found


def remember(outcomes: Results) -> None:
    """Put the outcomes of a run, which may have been of some faults only, into the file, and into the README."""
    faults = declared()
    with RESULTS.open() as shared:
        fcntl.flock(shared, fcntl.LOCK_EX)  # tests run in two processes, and both end here
        known = results()
        merged = {name: known.get(name, {}) | outcomes.get(name, {}) for name in faults}
        kept = {
            name: {case: merged[name][case] for case in faults[name].cases if case in merged[name]} for name in merged
        }
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
        head, _, tail = parts()
        README.write_text(f"{head}{BEGIN}\n{render(kept)}\n{END}{tail}")


def save_soak(seed: int, minutes: float, rounds: Sequence[Round]) -> None:
    """Write down how a soak ended, and on what machine."""
    counted = Counter(done.fault for done in rounds)
    result = {
        "machine": machine(),
        "seed": seed,
        "minutes": round(minutes, 1),
        "rounds": len(rounds),
        "records": sum(done.records for done in rounds),
        "rounds_by_fault": {
            fault.what: counted[fault.what] for fault in declared().values() if fault.fixture == "trial"
        },
        "failures": [asdict(done) for done in rounds if done.failure],
    }
    SOAK.write_text(json.dumps(result, indent=1) + "\n")


def save_mixed_load(found: dict[str, object]) -> None:
    """Write down how an hour of everything ended, and on what machine."""
    MIXED_LOAD.write_text(json.dumps({"machine": machine(), **found}, indent=1) + "\n")


def render(found: Results) -> str:
    """The table, in Markdown."""
    lines = ["| what happens | what comes of it | tried as | held |", "| --- | --- | --- | --- |"]
    for name, fault in declared().items():
        outcomes = found.get(name, {})
        held = sum(outcome == "held" for outcome in outcomes.values())
        told = "yes" if held == len(fault.cases) else f"**{held} of {len(fault.cases)}**"
        lines.append(f"| {fault.what} | {fault.expected} | {', '.join(filter(None, fault.cases))} | {told} |")
    return "\n".join(lines)


def parts() -> tuple[str, str, str]:
    """The README before the table, the table, and what follows."""
    head, rest = README.read_text().split(BEGIN)
    table, tail = rest.split(END)
    return head, table.strip(), tail


if __name__ == "__main__":
    remember({})
