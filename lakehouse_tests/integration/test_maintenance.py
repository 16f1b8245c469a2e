"""Maintenance beside ingestion and readers, on the real servers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lakehouse.adapters.iceberg.catalog import open_catalog
from lakehouse.contracts.lineage import LOADED_AT, SOURCE_SNAPSHOT
from lakehouse.definitions import defs
from lakehouse.maintenance.maintain import maintain
from lakehouse.maintenance.state import measure
from lakehouse.naming import DEAD_LETTERS, PGR_EVENTS, SERVICE_EVENTS
from lakehouse.settings import load
from lakehouse_tests.conftest import Feed, Message, Stack, audit_of_topic
from lakehouse_tests.events import event

pytestmark = [pytest.mark.integration]

LAKEHOUSE = str(Path(sys.executable).with_name("lakehouse"))


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small commits, and thresholds that leave as little as possible."""
    values = {"BATCH_SIZE": 20, "SMALL_FILES_KEPT": 2, "SNAPSHOTS_KEPT": 1}
    for name, value in values.items():
        monkeypatch.setenv(f"LAKEHOUSE_{name}", str(value))


def mixed(start: int, count: int) -> list[Message]:
    """Good messages, every tenth of them cut off."""
    return [
        (b"C", event()[: 20 + n % 50], "INVALID_JSON")
        if n % 10 == 7
        else (b"C", event(event_id=f"m-{n}", entity_id=f"C-{n}"), None)
        for n in range(start, start + count)
    ]


def cli(*arguments: str) -> str:
    done = subprocess.run([LAKEHOUSE, *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.usefixtures("eager")
def test_maintenance_beside_ingestion_loses_nothing(feed: Feed) -> None:
    sent = feed.send(mixed(0, 200))
    with feed.drain(LAKEHOUSE_DRAIN_IDLE_SEC="300") as draining:
        for start in (200, 400):
            cli("maintain", str(SERVICE_EVENTS), str(DEAD_LETTERS))
            sent += feed.send(mixed(start, 200))
        draining.kill()
    sent += feed.send(mixed(600, 100))
    with feed.drain() as draining:
        assert draining.wait(timeout=120) == 0
    assert feed.discrepancies(sent) == []
    assert audit_of_topic(deep=False).verdict == "complete"


@pytest.mark.usefixtures("eager")
def test_small_files_are_put_together_and_a_second_round_finds_nothing_to_do(feed: Feed) -> None:
    sent = feed.send(mixed(0, 300))
    with feed.drain() as draining:
        assert draining.wait(timeout=120) == 0
    table = open_catalog(load()).load_table(SERVICE_EVENTS.identifier)
    before = measure(table)
    assert before.small_files > 2
    planned = json.loads(cli("maintain", str(SERVICE_EVENTS), "--dry-run", "--json"))
    table.refresh()
    assert measure(table) == before
    assert [(plan["table"], plan["is_compacted"]) for plan in planned] == [(str(SERVICE_EVENTS), True)]
    cli("maintain", str(SERVICE_EVENTS))
    table.refresh()
    after = measure(table)
    assert (after.small_files, after.delete_files) == (0, 0)
    head = table.current_snapshot()
    cli("maintain", str(SERVICE_EVENTS))
    table.refresh()
    assert table.current_snapshot() == head
    assert feed.discrepancies(sent) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # dagster-dbt's own
@pytest.mark.usefixtures("eager")
def test_an_incremental_reader_goes_on_where_it_was(feed: Feed) -> None:
    def build() -> None:
        assert defs.resolve_job_def("pgr_daily").execute_in_process().success

    def held(table: str) -> list[list[object]]:
        statement = f"select count(distinct event_id), count(*) from iceberg.{table} where event_id like 'm-%'"
        return feed.stack.sql(statement)

    feed.send(mixed(10_000, 50))
    build()
    position = feed.stack.sql(f"select max_by({SOURCE_SNAPSHOT}, {LOADED_AT}) from {PGR_EVENTS.sql}")[0][0]
    feed.send(mixed(20_000, 50))
    with feed.drain() as draining:
        assert draining.wait(timeout=120) == 0
    settings = load()
    catalog = open_catalog(settings)
    maintain(settings, catalog)
    bronze = catalog.load_table(SERVICE_EVENTS.identifier)
    assert position in {snapshot.snapshot_id for snapshot in bronze.snapshots()}
    build()
    assert held("silver.pgr_events")[0][1] == held("bronze.service_events_raw")[0][0]


def test_a_table_that_is_none_is_named(stack: Stack) -> None:
    done = subprocess.run([LAKEHOUSE, "maintain", "bronze.nothing"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no table bronze.nothing; there are: bronze.service_events_raw" in done.stderr.replace("\n", " ")
