"""The product's way with a file in a process of its own: take it in, refuse all of it, or replay what was refused."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from benchmarks.child import Child
from benchmarks.worker import contract_for
from lakehouse import settings as settings_module
from lakehouse.adapters.iceberg.catalog import open_catalog
from lakehouse.contracts.contract import Rule
from lakehouse.ledger.ingest import ingest_file
from lakehouse.ledger.lookup import read_dead_letters, select_dead_letters
from lakehouse.ledger.replay import replay

NOTHING_PASSES = Rule("TOO_STRICT", "service", "service is not null", "yesterday's contract accepted nothing")


def work(action: str, path: Path, table: str) -> None:
    """Take the file in, under today's contract or one that refuses every record, or replay all dead letters."""
    catalog = open_catalog(settings_module.load())
    contract = contract_for(table)
    if action == "refuse":
        contract = replace(contract, rules=(NOTHING_PASSES,))
    child = Child()
    if action == "replay":
        sources = select_dead_letters(catalog, columns=("source",))["source"].unique().to_pylist()
        done = replay(catalog, contract, read_dead_letters(catalog, source=sources[0]), run_id="benchmark")
        child.done(done.accepted, 1, dead_letters=done.refused)
        return
    outcome = ingest_file(catalog, contract, path, run_id="benchmark", on_records=child.progress)
    child.done(outcome.rows, 0, dead_letters=outcome.dead_letters)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["ingest", "refuse", "replay"])
    parser.add_argument("path", type=Path)
    parser.add_argument("table")
    arguments = parser.parse_args()
    work(arguments.action, arguments.path, arguments.table)
