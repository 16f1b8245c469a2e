"""What is erased is gone from rows, history and folder, and nothing else is another one than before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.adapters.iceberg.history import READ, added, positions, said, since
from lakehouse.domains.conversions.contract import CONVERSION_EVENT
from lakehouse.domains.conversions.erasure import blanked, by_id
from lakehouse.ledger.census import MARK, count_erased, take_census, write_mark
from lakehouse.ledger.history import commits
from lakehouse.maintenance import erasure
from lakehouse.maintenance.erasure import forget, is_remembered, rewrite, select
from lakehouse.maintenance.expiry import FLINK_JOB, FLINK_OPERATOR
from lakehouse.maintenance.orphans import find_orphans
from lakehouse_tests.conversions import Event, bronze
from lakehouse_tests.failpoints import killed_in

NAME = CONVERSION_EVENT.table
NOW = datetime(2026, 11, 26, tzinfo=UTC)
SECRET, OTHER = by_id("secret"), by_id("other")
BLANK = partial(blanked, CONVERSION_EVENT, NOW)
COMMITTED = "flink.max-committed-checkpoint-id"


def events(first: int, *users: str | None) -> pa.Table:
    return bronze(
        [
            Event(n, f"e{n}", NOW, user_id=user, client_ip=f"ip-of-{user}", api_key_prefix=f"key-of-{user}")
            for n, user in enumerate(users, start=first)
        ]
    )


@pytest.fixture
def table(catalog: SqlCatalog) -> Table:
    """Three commits, of two jobs in Flink and of a reader."""
    made = ensure_table(catalog, CONVERSION_EVENT)
    made.append(events(0, "secret", "other"), {FLINK_JOB: "a", FLINK_OPERATOR: "1", COMMITTED: "7"})
    made.append(events(2, "other", None), {FLINK_JOB: "b", FLINK_OPERATOR: "1", COMMITTED: "9"})
    made.append(events(4, None, "secret", "secret"), {f"{READ}silver.conversions": "4711"})
    return made


def erase(table: Table, catalog: Catalog) -> None:
    forget(catalog, NAME, rewrite(table, SECRET, BLANK, {}, operation=Operation.REPLACE))
    table.refresh()


def said_of_files(table: Table) -> set[bytes]:
    """Least and greatest values, of all files that any manifest lists."""
    manifests = {m.manifest_path: m for snapshot in table.snapshots() for m in snapshot.manifests(table.io)}
    entries = [e for m in manifests.values() for e in m.fetch_manifest_entry(table.io, discard_deleted=False)]
    bounds = [b for e in entries for b in (e.data_file.lower_bounds, e.data_file.upper_bounds) if b]
    return {value for bound in bounds for value in bound.values()}


def test_no_file_of_the_table_tells_of_it_any_more(catalog: SqlCatalog, table: Table, tmp_path: Path) -> None:
    before = table.scan().to_arrow().sort_by("kafka_offset")
    erase(table, catalog)
    assert not select(table, SECRET).num_rows
    assert not is_remembered(table, SECRET)
    files = [pq.ParquetFile(file).read() for file in tmp_path.rglob("*.parquet")]
    assert len(files) == 3 + 1, "and what is said of the removed snapshots"
    assert not any("secret" in str(rows.to_pylist()) for rows in files)
    assert not any(b"secret" in value for value in said_of_files(table))
    left = find_orphans(table, age=timedelta(0), now=datetime.now(UTC) + timedelta(days=1))
    assert [file.path for file in left if "expired_snapshots" not in file.path] == []
    after = table.scan().to_arrow().sort_by("kafka_offset")
    is_other = pc.invert(pc.fill_null(pc.equal(before["user_id"], "secret"), False))
    assert after.filter(is_other) == before.filter(is_other)
    erased = after.filter(pc.invert(is_other)).to_pylist()
    assert [(row["kafka_offset"], row["event_id"], row["erased_at"]) for row in erased] == [
        (0, "e0", NOW), (5, "e5", NOW), (6, "e6", NOW),
    ]  # fmt: skip
    assert {row[name] for row in erased for name in ("user_id", "client_ip", "api_key_prefix", "raw_payload")} == {None}
    assert count_erased(table) == 3


def test_what_readers_and_flink_need_of_older_snapshots_is_said_again(catalog: SqlCatalog, table: Table) -> None:
    erase(table, catalog)
    assert positions(table, table.current_snapshot()) == {f"{READ}silver.conversions": 4711}
    # As the sink goes: from the newest snapshot back to the first that is of the job.
    found: dict[tuple[str, str], str] = {}
    snapshot = table.current_snapshot()
    while snapshot is not None:
        if job := said(snapshot).get(FLINK_JOB):
            found.setdefault((job, said(snapshot)[FLINK_OPERATOR]), said(snapshot)[COMMITTED])
        snapshot = table.snapshot_by_id(snapshot.parent_snapshot_id or 0)
    assert found == {("a", "1"): "7", ("b", "1"): "9"}


def test_an_incremental_reader_passes_over_it(catalog: SqlCatalog, table: Table) -> None:
    rewrite(table, SECRET, BLANK, {}, operation=Operation.REPLACE)
    seen = table.current_snapshot()
    assert since(table, seen, table.snapshots()[2].snapshot_id) == []
    table.append(events(7, "other"))
    new = since(table, table.current_snapshot(), seen.snapshot_id if seen else None)
    assert new is not None
    assert added(new, "added-records") == 1
    assert added([table.snapshots()[-1]], "total-records") == 8
    assert sum(commit.added_rows for commit in commits(catalog, NAME) if commit.brings_rows) == 8


def test_the_audits_numbers_outlive_the_snapshot_they_were_counted_in(catalog: SqlCatalog, table: Table) -> None:
    key = ("roman-numeral-events", 0)
    write_mark(table, take_census(table, deep=True), {key: 7})
    erase(table, catalog)
    census = take_census(table, deep=False)
    assert MARK in table.properties
    assert census.audited == {key: (7, 7)}
    assert census.verified == {}
    assert census.of(key).to_pylist() == list(range(7))


def test_what_is_appended_meanwhile_is_erased_too_and_nothing_is_lost(
    catalog: SqlCatalog, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = erasure._commit
    written: list[str] = []

    def others_commit(*arguments: object) -> int:
        monkeypatch.setattr(erasure, "_commit", original)
        catalog.load_table(NAME.identifier).append(events(7, "secret", "other"))
        return original(*arguments)  # type: ignore[arg-type]

    def change(rows: pa.Table, selected: pa.ChunkedArray) -> pa.Table:
        written.append("file")
        return BLANK(rows, selected)

    monkeypatch.setattr(erasure, "_commit", others_commit)
    rewrite(table, SECRET, change, {}, operation=Operation.REPLACE)
    assert sorted(table.scan().to_arrow()["kafka_offset"].to_pylist()) == list(range(9))
    assert not select(table, SECRET).num_rows
    assert select(table, OTHER).num_rows == 3
    assert len(written) == 3, "what was written before the race was lost is not written again"


@pytest.mark.parametrize("step", ["write_down", "remove", "named_by"])
def test_one_that_was_ended_is_known_and_completed(catalog: SqlCatalog, table: Table, step: str) -> None:
    with killed_in(f"{erasure.__name__}.{step}"):
        erase(table, catalog)
    table.refresh()
    assert is_remembered(table, SECRET)
    erase(table, catalog)
    assert not is_remembered(table, SECRET)
    assert len(table.scan().to_arrow()) == 7
