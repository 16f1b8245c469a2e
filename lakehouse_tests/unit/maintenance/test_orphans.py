"""Only what nothing names, and what is old enough, is removed."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlparse

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.ledger.writer import LedgeredWriter
from lakehouse.maintenance.expiry import expire
from lakehouse.maintenance.orphans import find_orphans, remove
from lakehouse_tests.events import TOPIC, kafka_batch, numbered

DAY = timedelta(days=1)


def make_old(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 2 * DAY.total_seconds(),) * 2)


def fill(catalog: SqlCatalog) -> tuple[Table, Path]:
    writer = LedgeredWriter(catalog, SERVICE_EVENT, TOPIC, run_id="run")
    for start in range(0, 6, 2):
        writer.append(kafka_batch(numbered(range(start, start + 2))))
    table = catalog.load_table(SERVICE_EVENT.table.identifier)
    return table, Path(urlparse(table.location()).path)


def orphans(table: Table) -> list[Path]:
    return [Path(orphan.path) for orphan in find_orphans(table, age=DAY, now=datetime.now(UTC))]


def test_nothing_of_any_live_snapshot_is_an_orphan(catalog: SqlCatalog) -> None:
    table, folder = fill(catalog)
    table.delete("kafka_offset < 2")  # older snapshots still name the file
    make_old(folder)
    assert orphans(table) == []


def test_what_a_killed_writer_left_is_removed_once_it_is_old(catalog: SqlCatalog) -> None:
    table, folder = fill(catalog)
    left = folder / "data" / "left behind%20ü.parquet"
    left.write_bytes(b"x")
    assert orphans(table) == [], "it may be of a commit under way"
    make_old(folder)
    found = find_orphans(table, age=DAY, now=datetime.now(UTC))
    assert [Path(orphan.path) for orphan in found] == [left]
    remove(table, [file.path for file in found])
    remove(table, [file.path for file in found])
    assert not left.exists()
    assert table.scan().to_arrow().num_rows == 6


def test_files_of_expired_snapshots_go_and_the_rows_stay(catalog: SqlCatalog) -> None:
    table, folder = fill(catalog)
    table.delete("kafka_offset < 2")
    expire(catalog, SERVICE_EVENT.table, (), kept=1, retention=timedelta(days=7))
    make_old(folder)
    before = sum(1 for path in folder.rglob("*.parquet"))
    found = find_orphans(table, age=DAY, now=datetime.now(UTC))
    remove(table, [file.path for file in found])
    assert sum(1 for path in folder.rglob("*.parquet")) == before - 1
    assert sorted(table.scan().to_arrow()["kafka_offset"].to_pylist()) == [2, 3, 4, 5]
