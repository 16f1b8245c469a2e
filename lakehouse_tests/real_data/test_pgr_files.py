"""Real grievances as files: every row is in its place, and the marts are what the events say.

The files are written by Python's own modules; what the tables must hold is recomputed from the records, not from them.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse_tests import recount
from lakehouse_tests.conftest import REAL_DATA, Stack
from lakehouse_tests.real_data import convert
from lakehouse_tests.real_data.convert import Record

pytestmark = [pytest.mark.real_data, pytest.mark.timeout(900)]

LAKEHOUSE = str(Path(sys.executable).with_name("lakehouse"))

SEED = 312
TENANTS = "tenant_id like 'file.%'"


def as_text(record: Record) -> dict[str, str]:
    """A record as cells: everything is text, nothing is an empty cell."""
    cells = {name: value if isinstance(value, str) else json.dumps(value) for name, value in record.items()}
    return {name: "" if record[name] is None else cell for name, cell in cells.items()}


def write_csv(path: Path, records: list[Record]) -> dict[int, Record]:
    """As people's programs do: a byte-order mark, CRLF, and rubbish here and there. Records by their row."""
    names = sorted({name for record in records for name in record})
    rows: dict[int, Record] = {}
    number = 1
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, names, restval="NULL")
        writer.writeheader()
        for position, record in enumerate(records):
            number += 1
            rows[number] = record
            writer.writerow(as_text(record))
            if position % 100 == 50:
                file.write("one,two,three\r\n\r\n")
                number += 1
    return rows


def write_parquet(path: Path, records: list[Record]) -> dict[int, Record]:
    pq.write_table(pa.Table.from_pylist([as_text(record) for record in records]), path)
    return dict(enumerate(records, start=1))


def write_lines(path: Path, records: list[Record]) -> dict[int, Record]:
    with gzip.open(path, "wb") as file:
        for record in records:
            file.write(convert.encode(record) + b"\n")
    return dict(enumerate(records, start=1))


@dataclass(frozen=True)
class Landed:
    """What was written into a file, and the name it has in the tables."""

    source: str
    rows: dict[int, Record]
    refused: int


WRITERS: dict[str, Callable[[Path, list[Record]], dict[int, Record]]] = {
    "events.csv": write_csv,
    "events.parquet": write_parquet,
    "events.jsonl.gz": write_lines,
}


def cli(*arguments: str) -> str:
    done = subprocess.run([LAKEHOUSE, *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def landed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> list[Landed]:
    folder = tmp_path_factory.mktemp("files")
    pgr = Path(os.environ[REAL_DATA]) / "pgr"
    records = [
        *convert.nyc311_short(pgr / "nyc311" / "nyc311_2026-06_10k.csv.gz"),
        *convert.nyc311_full(pgr / "nyc311" / "nyc311_2022-05_full_columns.csv"),
        *convert.digit(pgr / "digit" / "pgr_indexed_documents.json"),
    ]
    # Tenants and ids of their own: the same records come through Kafka in other tests.
    records = [
        record
        | {"tenant_id": f"file.{record['tenant_id']}"}
        | ({"event_id": f"file-{record['event_id']}"} if record.get("event_id") else {})
        for record in records
    ]
    random.Random(SEED).shuffle(records)
    found = []
    for number, (name, write) in enumerate(WRITERS.items()):
        rows = write(folder / name, records[number::3])
        said = cli("ingest", "file", str(folder / name))
        refused = len([p for p in range(len(rows)) if p % 100 == 50]) if name.endswith(".csv") else 0
        assert f"{len(rows):,} rows, {refused:,} dead letters" in said
        found.append(Landed(said.split(": ")[0], rows, refused))
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "lakehouse.definitions", "-j", "pgr_daily"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]
    return found


def test_every_row_of_every_file_is_in_bronze_once(stack: Stack, landed: list[Landed]) -> None:
    for file in landed:
        found = stack.sql(
            "select source_row, tenant_id, entity_id, event_type, event_time, attributes_json"
            " from iceberg.bronze.service_events_raw where source_file = ?", file.source,
        )  # fmt: skip
        assert len({row[0] for row in found}) == len(found) == len(file.rows)
        for number, tenant, entity, kind, moment, attributes in found:
            record = file.rows[number]
            said = (record["tenant_id"], record["entity_id"], record["event_type"], recount.moment(record))
            assert (tenant, entity, kind, moment) == said
            assert json.loads(attributes or "{}") == recount.attributes(record)


def test_every_refused_row_is_a_dead_letter_with_its_row(stack: Stack, landed: list[Landed]) -> None:
    for file in landed:
        letters = stack.sql(
            "select source_row, error_type, original_payload from iceberg.bronze.dead_letters where source = ?",
            file.source,
        )
        assert len({row[0] for row in letters}) == len(letters) == file.refused
        assert {(row[1], row[2]) for row in letters} <= {("MALFORMED_ROW", b"one,two,three")}
        assert not {row[0] for row in letters} & set(file.rows)


def test_a_file_given_again_writes_nothing(stack: Stack, landed: list[Landed], tmp_path: Path) -> None:
    again = tmp_path / "renamed.jsonl"
    first = landed[2]
    again.write_bytes(b"".join(convert.encode(record) + b"\n" for record in first.rows.values()))
    assert f"{first.source}: {len(first.rows):,} rows, 0 dead letters, taken in before" in cli(
        "ingest", "file", str(again)
    )


def test_the_marts_say_of_them_what_their_events_say(stack: Stack, landed: list[Landed]) -> None:
    seen: dict[object, Record] = {}
    for record in (record for file in landed for record in file.rows.values()):
        seen.setdefault(recount.identity(record), record)
    wanted = recount.lifecycle(seen.values())
    columns = ("tenant_id", "entity_id", "current_status", "submitted_at", "reopen_count", "time_to_resolve_seconds")
    found: list[list[Any]] = stack.sql(
        f"select {', '.join(columns)} from iceberg.gold.pgr_case_lifecycle where {TENANTS}"
    )
    assert {(row[0], row[1]) for row in found} == set(wanted)
    for row in found:
        case = wanted[row[0], row[1]]
        assert row == [case[name] for name in columns]


def test_the_audit_of_all_files_closes(landed: list[Landed]) -> None:
    for deep in ([], ["--deep"]):
        command = [LAKEHOUSE, "audit", "--json", *deep]
        report = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
        accounts = {account["source"]: account for account in report["accounts"]}
        for file in landed:
            account = accounts[file.source]
            assert (account["bronze"], account["dead_letters"]) == (len(file.rows), file.refused)
            assert account["gaps"] == []
