"""A file is taken in once, each record of it as a row or a dead letter, whatever is repeated or interrupted."""

import contextlib
import gzip
import io
import json
import os
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters.files import read as reading
from lakehouse.adapters.files.parcel import inspect
from lakehouse.contracts.contract import Contract
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.errors import FileRefusedError, LakehouseError
from lakehouse.ledger.account import Report
from lakehouse.ledger.audit import audit
from lakehouse.ledger.deliveries import Outcome
from lakehouse.ledger.feed import Feed
from lakehouse.ledger.ingest import ingest_file
from lakehouse.ledger.state import PREFIX
from lakehouse.naming import PGR_EVENTS_TOPIC
from lakehouse_tests.events import SUBMITTED
from lakehouse_tests.failpoints import COMMIT, killed_at, watched

FEED = Feed(PGR_EVENTS_TOPIC, SERVICE_EVENT)
HEADER = "event_time,tenant_id,service,entity_id,event_type,attributes_json"
GOOD = '2024-12-17 10:00:00,pb.amritsar,PGR,C-{},CaseSubmitted,"{{""sla_hours"": 24}}"'
BAD = "yesterday,pb.amritsar,PGR,C-{},CaseSubmitted,"


def csv(folder: Path, rows: Sequence[str], name: str = "events.csv", header: str = HEADER) -> Path:
    path = folder / name
    path.write_text("\n".join([header, *(row.format(number) for number, row in enumerate(rows))]) + "\n")
    return path


def ingest(catalog: SqlCatalog, path: Path, **options: Any) -> Outcome:
    return ingest_file(catalog, SERVICE_EVENT, path, run_id="run", **options)


def stored(catalog: SqlCatalog, contract: Contract) -> list[dict[str, Any]]:
    rows = catalog.load_table(contract.table.identifier).scan().to_arrow().to_pylist()
    return sorted(rows, key=lambda row: (row["source_file"], row["source_row"]))


def numbers(catalog: SqlCatalog, contract: Contract) -> list[int]:
    return [row["source_row"] for row in stored(catalog, contract)]


def check(catalog: SqlCatalog, *, deep: bool = False) -> Report:
    return audit(catalog, [FEED], lambda _: None, lambda *_: {}, deep=deep)


def gaps(report: Report) -> str:
    return "; ".join(gap for account in report.accounts for gap in account.gaps)


def test_rows_and_dead_letters_name_the_file_and_the_row_as_a_spreadsheet_shows_it(
    catalog: SqlCatalog, tmp_path: Path
) -> None:
    path = csv(tmp_path, [GOOD, BAD, "too,short", GOOD])
    outcome = ingest(catalog, path)
    assert (outcome.rows, outcome.dead_letters, outcome.is_repeat) == (2, 2, False)
    assert numbers(catalog, SERVICE_EVENT) == [2, 5]
    row = stored(catalog, SERVICE_EVENT)[0]
    assert row["source_file"] == outcome.source
    assert outcome.source.startswith("events.csv@")
    assert (row["entity_id"], row["attributes_json"], row["kafka_offset"]) == ("C-0", '{"sla_hours":24}', None)
    wrong, short = stored(catalog, DEAD_LETTER)
    assert (wrong["source_row"], wrong["error_type"], wrong["source"]) == (3, "INVALID_TIMESTAMP", outcome.source)
    assert json.loads(wrong["original_payload"])["event_time"] == "yesterday"
    assert (short["source_row"], short["error_type"], short["original_payload"]) == (4, "MALFORMED_ROW", b"too,short")


def test_cells_as_people_write_them(catalog: SqlCatalog, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(
        b"\xef\xbb\xbfEvent_Time,tenant_id,SERVICE,entity_id,event_type,status,ward_id,note\r\n"
        b'2024-12-17T10:00:00+05:30,"t, and ""u""",PGR,"C\n1",CaseSubmitted,NULL,"",kept\r\n'
        b"\r\n"
        b"2024-12-17 10:00:00,t,PGR,C2,CaseSubmitted,OPEN,7,\r\n"
    )
    assert ingest(catalog, path).dead_letters == 0
    first, second = stored(catalog, SERVICE_EVENT)
    assert first["event_time"].isoformat() == "2024-12-17T04:30:00+00:00"
    assert (first["tenant_id"], first["entity_id"], first["status"]) == ('t, and "u"', "C\n1", None)
    assert json.loads(first["raw_payload"])["note"] == "kept"
    assert (second["source_row"], second["ward_id"], second["status"]) == (3, "7", "OPEN")


def test_a_column_without_a_name_or_with_a_strange_one_is_kept_like_any_other(
    catalog: SqlCatalog, tmp_path: Path
) -> None:
    header = HEADER + """,,it's "odd",row,payload"""
    path = csv(tmp_path, [GOOD + ",x,y,z,w", GOOD + ",,,,"], header=header)
    assert ingest(catalog, path).rows == 2
    kept, bare = (json.loads(row["raw_payload"]) for row in stored(catalog, SERVICE_EVENT))
    assert {name: kept[name] for name in list(kept)[-4:]} == {
        "column_7": "x",
        'it\'s "odd"': "y",
        "row": "z",
        "payload": "w",
    }
    assert "column_7" not in bare


def test_bytes_that_are_no_text_become_a_dead_letter_with_these_bytes(catalog: SqlCatalog, tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    good = b"2024-12-17 10:00:00,t,PGR,C%d,CaseSubmitted,"
    path.write_bytes(HEADER.encode() + b"\n" + good % 1 + b"\n" + b"M\xfcnchen\n" + good % 2 + b"\xff\n" + good % 3)
    assert ingest(catalog, path).rows == 2
    letters = {row["source_row"]: row for row in stored(catalog, DEAD_LETTER)}
    assert letters[3]["original_payload"] == b"M\xfcnchen"
    assert letters[4]["original_payload"] == good % 2 + b"\xff"
    assert {row["error_type"] for row in letters.values()} == {"INVALID_UTF8"}


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "jsonl", "ndjson.gz", "parquet", "parquet.gz"])
def test_every_format_gives_the_same_rows(catalog: SqlCatalog, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"events.{kind}"
    records = [SUBMITTED | {"entity_id": f"C-{n}", "attributes_json": json.dumps({"n": n})} for n in range(10)]
    if kind.startswith("parquet"):
        pq.write_table(pa.Table.from_pylist(records), path)
        content = path.read_bytes()
    elif kind.startswith("csv"):
        quoted = [",".join('"' + str(v).replace('"', '""') + '"' for v in record.values()) for record in records]
        content = "\n".join([",".join(records[0]), *quoted]).encode()
    else:
        content = ("\n".join(json.dumps(record) for record in records) + "\n").encode()
    path.write_bytes(gzip.compress(content) if kind.endswith(".gz") else content)
    assert ingest(catalog, path).rows == 10
    rows = stored(catalog, SERVICE_EVENT)
    assert [row["entity_id"] for row in rows] == [f"C-{n}" for n in range(10)]
    assert [row["attributes_json"] for row in rows] == [f'{{"n":{n}}}' for n in range(10)]
    assert check(catalog, deep=True).verdict == "complete"


def test_the_same_content_is_taken_once_under_any_name_packed_or_not(catalog: SqlCatalog, tmp_path: Path) -> None:
    path = csv(tmp_path, [GOOD] * 5)
    first = ingest(catalog, path)
    other = tmp_path / "again.csv.gz"
    other.write_bytes(gzip.compress(path.read_bytes()))
    again = ingest(catalog, other)
    assert (again.is_repeat, again.source, again.rows) == (True, first.source, 5)
    assert len(stored(catalog, SERVICE_EVENT)) == 5
    assert check(catalog).verdict == "complete"


def test_files_of_one_name_and_different_content_are_both_taken(catalog: SqlCatalog, tmp_path: Path) -> None:
    ingest(catalog, csv(tmp_path, [GOOD] * 5))
    ingest(catalog, csv(tmp_path, [GOOD] * 6))
    assert len(stored(catalog, SERVICE_EVENT)) == 11
    assert [account.bronze for account in check(catalog).accounts] == [5, 6]


def read_in_blocks(monkeypatch: pytest.MonkeyPatch, size: int, together: int | None = None) -> None:
    """Parse blocks of so many bytes, and put them together to so many, by default one at a time."""
    monkeypatch.setattr(reading, "PARSED_BYTES", size)
    monkeypatch.setattr(reading, "BLOCK_BYTES", together or size)


@pytest.mark.parametrize("step", ["after validation", "after dead letters", *COMMIT, "after recording"])
def test_a_file_that_was_cut_off_at_any_step_is_completed_by_its_repeat(
    catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    read_in_blocks(monkeypatch, 200)
    path = csv(tmp_path, [GOOD, BAD, GOOD, "x"] * 5)
    for _ in range(1 if step == "after recording" else 2):
        with killed_at(catalog, step):
            ingest(catalog, path)
        # Also what an audit remembers of the half that is there is right later.
        for deep in (True, False):
            assert gaps(check(catalog, deep=deep)) == ""
    ingest(catalog, path)
    assert numbers(catalog, SERVICE_EVENT) == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    assert numbers(catalog, DEAD_LETTER) == [3, 5, 7, 9, 11, 13, 15, 17, 19, 21]
    for deep in (False, True):
        assert check(catalog, deep=deep).verdict == "complete"
    for contract in (SERVICE_EVENT, DEAD_LETTER):
        properties = catalog.load_table(contract.table.identifier).properties
        assert not any(name.startswith(PREFIX) for name in properties)


def test_a_file_that_was_cut_off_is_completed_under_another_name(
    catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_blocks(monkeypatch, 200)
    path = csv(tmp_path, [GOOD, BAD] * 10)
    with killed_at(catalog, "after the swap"):
        ingest(catalog, path)
    outcome = ingest(catalog, path.rename(tmp_path / "renamed.csv"))
    assert outcome.source.startswith("events.csv@")
    assert (outcome.rows, outcome.dead_letters) == (10, 10)
    assert len(stored(catalog, SERVICE_EVENT)) == len(stored(catalog, DEAD_LETTER)) == 10
    assert gaps(check(catalog, deep=True)) == ""


def test_the_same_content_under_two_names_at_once_lands_once(
    catalog: SqlCatalog, other_catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_blocks(monkeypatch, 200)
    path = csv(tmp_path, [GOOD] * 10)
    twin = tmp_path / "twin.csv"
    twin.write_bytes(path.read_bytes())
    raced: list[bool] = []

    def on_step(step: str) -> None:
        if step == "before the swap" and not raced:
            raced.append(True)
            with killed_at(other_catalog, "after the swap"):
                ingest(other_catalog, twin)

    with (
        pytest.raises(LakehouseError, match="another process is taking in the same content"),
        watched(catalog, on_step),
    ):
        ingest(catalog, path)
    assert ingest(catalog, path).source.startswith("twin.csv@")
    assert numbers(catalog, SERVICE_EVENT) == list(range(2, 12))
    assert gaps(check(catalog, deep=True)) == ""


@pytest.mark.parametrize("step", ["before the swap", "dead letters before the swap", "after dead letters"])
def test_the_same_refused_rows_under_two_names_at_once_are_kept_once(
    catalog: SqlCatalog, other_catalog: SqlCatalog, tmp_path: Path, step: str
) -> None:
    path = csv(tmp_path, [GOOD, BAD] * 5)
    twin = tmp_path / "twin.csv"
    twin.write_bytes(path.read_bytes())
    raced: list[Outcome] = []

    def on_step(name: str) -> None:
        if name == step and not raced:
            raced.append(ingest(other_catalog, twin))

    with watched(catalog, on_step):
        outcome = ingest(catalog, path)
    assert outcome.source == raced[0].source
    assert (outcome.rows, outcome.dead_letters) == (raced[0].rows, raced[0].dead_letters) == (5, 5)
    assert len(stored(catalog, SERVICE_EVENT)) == len(stored(catalog, DEAD_LETTER)) == 5
    assert check(catalog, deep=True).verdict == "complete"


def test_a_file_that_another_process_completes_in_between_lands_once(
    catalog: SqlCatalog, other_catalog: SqlCatalog, tmp_path: Path
) -> None:
    path = csv(tmp_path, [GOOD, BAD] * 5)
    raced: list[Outcome] = []

    def on_step(step: str) -> None:
        if step == "before the swap" and not raced:
            raced.append(ingest(other_catalog, path))

    with watched(catalog, on_step):
        outcome = ingest(catalog, path)
    assert (outcome.rows, outcome.dead_letters) == (raced[0].rows, raced[0].dead_letters) == (5, 5)
    assert len(stored(catalog, SERVICE_EVENT)) == len(stored(catalog, DEAD_LETTER)) == 5
    assert check(catalog, deep=True).verdict == "complete"


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("events.csv", content)
    return packed.getvalue()


def parquet(**columns: list[Any]) -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.table(columns), written, compression="none")
    return written.getvalue()


TEXT = (HEADER + "\n" + GOOD.format(1) + "\n").encode()
RUBBISH_INSIDE = parquet(**{name: [str(value)] for name, value in SUBMITTED.items()}, note=["x" * 500])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("events.csv", b"", "is empty"),
        ("events.csv", b"\xef\xbb\xbf", "no header with a line below it"),
        ("events.csv", b"\n\n", "no header with a line below it"),
        ("events.csv", HEADER.encode(), "no header with a line below it"),
        ("events.csv", TEXT.decode().encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        ("events.jsonl", '{"a": 1}'.encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        (
            "events.csv",
            TEXT.decode().encode("utf-16-le"),
            "no column event_time.*its header is: e\N{REPLACEMENT CHARACTER}v",
        ),
        ("events.csv", zipped(TEXT), "is a zip archive or a spreadsheet"),
        ("events.zip", zipped(TEXT), "none of the known formats"),
        ("events.csv", gzip.compress(TEXT), "is packed by gzip"),
        ("events.csv.gz", gzip.compress(gzip.compress(TEXT)), "is packed by gzip"),
        ("events.csv.gz", gzip.compress(os.urandom(9_000))[:5_000], "cannot be read: Truncated compressed stream"),
        ("events.csv.gz", gzip.compress(TEXT) + b"rubbish", "cannot be read"),
        ("events.csv", parquet(a=[1]), "is Parquet; name it so"),
        ("events.parquet", parquet(a=[1])[:-9], "cannot be read as parquet"),
        ("events.parquet", RUBBISH_INSIDE[:40] + bytes(60) + RUBBISH_INSIDE[100:], "cannot be read as parquet"),
        (
            "events.parquet",
            parquet(attributes_json=[[1]], **dict.fromkeys(HEADER.split(",")[:5], ["x"])),
            "column attributes_json is list",
        ),
        (
            "events.parquet",
            parquet(photo=[b"x"], **dict.fromkeys(HEADER.split(",")[:5], ["x"])),
            "column photo is binary; expected text",
        ),
        ("eve\x1b[31mnts.csv", TEXT, "unprintable"),
        ("events.txt", b"a,b\n1,2\n", "none of the known formats"),
        ("events.csv", b"a,b\n1,2\n", "no column event_time, tenant_id, service, entity_id, event_type"),
        ("events.csv", b"event_time,event_time\n1,2\n", "column event_time is there more than once"),
        ("events.csv.gz", b"no gzip", "cannot be read"),
        ("events.parquet", b"no parquet", "cannot be read as parquet"),
    ],
)
def test_a_file_that_cannot_be_taken_is_refused_in_words(
    catalog: SqlCatalog, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FileRefusedError, match=message):
        ingest(catalog, path)


def test_a_type_clash_names_the_column(catalog: SqlCatalog, tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(pa.Table.from_pylist([SUBMITTED | {"ward_id": 7}]), path)
    with pytest.raises(FileRefusedError, match="column ward_id is int64; expected string"):
        ingest(catalog, path)


def test_a_header_alone_is_a_file_without_records(catalog: SqlCatalog, tmp_path: Path) -> None:
    outcome = ingest(catalog, csv(tmp_path, []))
    assert (outcome.rows, outcome.dead_letters) == (0, 0)
    assert check(catalog).verdict == "complete"


def test_a_first_record_of_megabytes_is_taken(catalog: SqlCatalog, tmp_path: Path) -> None:
    header = HEADER + ",note"
    assert ingest(catalog, csv(tmp_path, [GOOD + "," + "x" * 3_000_000, GOOD + ","], header=header)).rows == 2


def test_a_record_longer_than_a_small_block_is_taken_and_none_before_it_comes_again(
    catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_blocks(monkeypatch, 400, together=2_000)
    path = csv(tmp_path, [*[GOOD + ","] * 50, GOOD + "," + "x" * 1_000, GOOD + ","], header=HEADER + ",note")
    batches = list(reading.read(inspect(path), SERVICE_EVENT, "events.csv@1", 0))
    assert len(batches) > 2
    assert [number for b in batches for number in b.records["offset"].to_pylist()] == list(range(2, 54))
    assert ingest(catalog, path).rows == 52


def test_a_quotation_mark_that_is_never_closed_is_said(
    catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_blocks(monkeypatch, 200)
    with pytest.raises(FileRefusedError, match="is a quotation mark not closed"):
        ingest(catalog, csv(tmp_path, [GOOD, '2024-12-17 10:00:00,t,PGR,"C', *["rest of a text"] * 50]))


def test_typed_columns_of_parquet_are_read(catalog: SqlCatalog, tmp_path: Path) -> None:
    moment = datetime(2024, 12, 17, 10, tzinfo=UTC)
    given = {name: [SUBMITTED[name]] * 2 for name in ("tenant_id", "service", "entity_id", "event_type")}
    attributes = {
        "struct": pa.array([{"n": 7, "deep": {"a": [1]}}, None]),
        "map": pa.array([[("n", 7)], None], pa.map_(pa.string(), pa.int64())),
    }
    for number, (name, column) in enumerate(attributes.items()):
        typed = {
            "event_time": pa.array(
                [moment] * 2, pa.timestamp(("ns", "ms")[number], tz=("UTC", "Asia/Kolkata")[number])
            ),
            "event_date": pa.array([moment.date(), None]),
            "status": pa.array(["OPEN", None]).dictionary_encode(),
            "attributes_json": column,
            "cost": pa.array([1, 2], pa.decimal128(5, 2)),
        }
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table(given | typed), path)
        assert ingest(catalog, path).rows == 2
    struct, bare, map_, _ = sorted(stored(catalog, SERVICE_EVENT), key=lambda row: row["source_file"], reverse=True)
    assert {row["event_time"] for row in (struct, bare, map_)} == {moment}
    assert (struct["attributes_json"], map_["attributes_json"]) == ('{"n":7,"deep":{"a":[1]}}', '{"n":7}')
    assert (struct["status"], bare["status"], bare["attributes_json"]) == ("OPEN", None, None)
    assert json.loads(struct["raw_payload"])["cost"] == "1.00"


def test_a_file_that_is_written_to_meanwhile_is_refused(tmp_path: Path) -> None:
    path = csv(tmp_path, [GOOD] * 3)
    whole = path.read_text()
    with pytest.raises(FileRefusedError, match="is being written"):
        inspect(path, lambda _: None if len(path.read_text()) > len(whole) else write_more(path))
    file = inspect(path)
    write_more(path)
    with pytest.raises(FileRefusedError, match="is being written"):
        list(reading.read(file, SERVICE_EVENT, "events.csv@1", 0))


def write_more(path: Path) -> None:
    with path.open("a") as file:
        file.write(GOOD + "\n")


def test_links_folders_and_bombs_are_refused(catalog: SqlCatalog, tmp_path: Path) -> None:
    link = tmp_path / "link.csv"
    link.symlink_to(csv(tmp_path, [GOOD]))
    with pytest.raises(FileRefusedError, match="is a link"):
        ingest(catalog, link)
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    with pytest.raises(FileRefusedError, match="is not a file"):
        ingest(catalog, folder)
    os.mkfifo(pipe := tmp_path / "pipe.csv")
    with pytest.raises(FileRefusedError, match="is not a file"):
        ingest(catalog, pipe)
    bomb = tmp_path / "bomb.csv.gz"
    bomb.write_bytes(gzip.compress(b"," * 100_000_000))
    with pytest.raises(FileRefusedError, match="bomb"):
        ingest(catalog, bomb)


def test_the_service_of_rows_that_name_none_can_be_given(catalog: SqlCatalog, tmp_path: Path) -> None:
    header = "event_time,tenant_id,entity_id,event_type"
    path = csv(tmp_path, ["2024-12-17 10:00:00,t,C-{},CaseSubmitted"], header=header)
    with pytest.raises(FileRefusedError, match="no column service"):
        ingest(catalog, path)
    lines = tmp_path / "lines.jsonl"
    lines.write_text(json.dumps({name: value for name, value in SUBMITTED.items() if name != "service"}))
    for given_ in (path, lines):
        ingest(catalog, given_, service="PGR")
    assert [row["service"] for row in stored(catalog, SERVICE_EVENT)] == ["PGR", "PGR"]


@pytest.mark.parametrize("where", [SERVICE_EVENT, DEAD_LETTER])
def test_the_audit_misses_rows_of_a_file(catalog: SqlCatalog, tmp_path: Path, where: Contract) -> None:
    ingest(catalog, csv(tmp_path, [GOOD, BAD] * 5))
    ingest(catalog, csv(tmp_path, [GOOD, BAD] * 6))
    assert check(catalog).verdict == "complete"
    table = catalog.load_table(where.table.identifier)
    table.delete("source_row = 6" if where is SERVICE_EVENT else "source_row = 7")
    for deep in (False, True):
        assert "offsets are nowhere" in gaps(check(catalog, deep=deep))


def test_the_audit_sees_rows_that_came_twice(catalog: SqlCatalog, tmp_path: Path) -> None:
    ingest(catalog, csv(tmp_path, [GOOD] * 5))
    assert check(catalog).verdict == "complete"
    table = catalog.load_table(SERVICE_EVENT.table.identifier)
    table.append(table.scan().to_arrow().slice(2, 2))
    for deep in (False, True):
        assert "2 offsets more than once: 4, 5" in gaps(check(catalog, deep=deep))


CELLS = st.sampled_from(["a", "", "NULL", '"q ""x"" y"', '"line\nbreak"', "ü", '"', "a,b", "\xa0", "'", "x" * 300])


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(CELLS, min_size=1, max_size=4).map(",".join), min_size=1, max_size=30),
    size=st.integers(40, 400),
)
def test_every_record_of_a_file_is_numbered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[str], size: int
) -> None:
    """However rubbish is mixed in and wherever blocks end, the numbers are those of one whole block, without a gap."""
    path = tmp_path / "mixed.csv"
    path.write_text("\n".join(["a,b,c", *rows]), newline="")
    contract = Contract("any", SERVICE_EVENT.table, 1, "", fields=(), lineage=(), partition_by=())

    def read(block: int) -> list[tuple[int, Any]]:
        read_in_blocks(monkeypatch, block)
        batches = list(reading.read(reading_file, contract, "mixed.csv@1", 0))
        assert [(b.ranges[0].end - b.ranges[0].start) for b in batches] == [b.records.num_rows for b in batches]
        cells = [row for batch in batches if batch.cells for row in batch.cells.to_pylist()]
        found = [row for batch in batches for row in batch.records.select(["offset", "value"]).to_pylist()]
        return [(row["offset"], row["value"] or tuple(c.values())) for row, c in zip(found, cells, strict=True)]

    reading_file = inspect(path)
    whole = read(1 << 24)
    assert [number for number, _ in whole] == list(range(2, len(whole) + 2))
    # A record longer than a block is refused with its file; a real block is far longer than any.
    with contextlib.suppress(FileRefusedError):
        assert read(size) == whole
