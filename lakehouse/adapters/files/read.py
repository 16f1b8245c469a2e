"""The records of a file as batches: CSV and Parquet by column, JSON Lines by line. Streams, in flat memory."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from itertools import chain
from tempfile import TemporaryFile

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from lakehouse.adapters.batch import Batch
from lakehouse.adapters.cells import BATCH_ROWS, EMPTY_CELLS, as_cells, misnamed, numbered, unreadable
from lakehouse.adapters.files.parcel import DataFile, Format
from lakehouse.contracts.contract import Contract
from lakehouse.errors import FileRefusedError

BLOCK_BYTES = 32 * 1024**2
PARSED_BYTES = 1024**2
"""What is parsed at once stays in the processor's cache: twice as fast."""

STRADDLING = "straddling object"
"""In the parser's words: a record is longer than a block."""

LONGEST_LINE = 64 * 1024**2
BOM = b"\xef\xbb\xbf"
HEADER_ROW = 1
"""Number of the header; the first record is row 2, as a spreadsheet shows it."""


def read(
    file: DataFile, contract: Contract, source: str, start: int, defaults: Collection[str] = ()
) -> Iterator[Batch]:
    """Batches of the file's records from a number on.

    Args:
        file: What to read.
        contract: Names the columns that must be there.
        source: Name of the delivery.
        start: Number of the first record that is wanted.
        defaults: Columns that need not be there.

    Raises:
        FileRefusedError: the file is not what its name says, or lacks a required column.
    """
    readers = {Format.CSV: _csv, Format.PARQUET: _parquet, Format.JSON_LINES: _json_lines}
    try:
        for first, values, cells in readers[file.format](file, contract, defaults):
            known = max(0, start - first)
            if known < len(values):
                start = first + len(values)
                rest = cells.slice(known) if cells is not None else None
                yield numbered(source, file.sha256, first + known, values.slice(known), rest)
    except (pa.ArrowException, OSError) as error:
        raise FileRefusedError(f"{file.path.name} cannot be read as {file.format}: {_in_words(error)}") from None


def _in_words(error: Exception) -> str:
    """What the reader says, where it says it to programmers."""
    text = str(error)
    if STRADDLING in text:
        return f"a record is longer than {BLOCK_BYTES // 1024**2} MiB; is a quotation mark not closed?"
    return "it has no header with a line below it" if "Empty CSV file" in text else text


Block = tuple[int, pa.Array | pa.ChunkedArray, pa.Table | None]
"""Number of the first record, the records' bytes (null for those that have cells), and the cells."""

CellBlock = tuple[int, pa.Array, pa.Table]
"""The same of a file that has cells."""


def _csv(file: DataFile, contract: Contract, defaults: Collection[str]) -> Iterator[Block]:
    """In small blocks; where a record is longer than one, all over again in large ones."""
    for block_bytes in (PARSED_BYTES, BLOCK_BYTES):
        try:
            with file.open() as stream:
                yield from _together(_csv_blocks(file, stream, contract, defaults, block_bytes))
            return
        except pa.ArrowInvalid as error:
            if block_bytes == BLOCK_BYTES or STRADDLING not in str(error):
                raise


def _together(blocks: Iterator[CellBlock]) -> Iterator[Block]:
    """Blocks put together until they are as large as a batch."""
    waiting: list[CellBlock] = []
    size = 0
    for block in blocks:
        waiting.append(block)
        size += block[2].nbytes
        if size >= BLOCK_BYTES:
            yield _joined(waiting)
            waiting, size = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(blocks: list[CellBlock]) -> Block:
    # In one piece: all that follows works chunk by chunk, and for each partition again.
    firsts, rubbish, cells = zip(*blocks, strict=True)
    return firsts[0], pa.concat_arrays(rubbish), pa.concat_tables(cells).combine_chunks()


def _csv_blocks(
    file: DataFile, stream: pa.NativeFile, contract: Contract, defaults: Collection[str], block_bytes: int
) -> Iterator[CellBlock]:
    malformed: dict[int, bytes] = {}

    # The parser hands rows that it cannot split over as text: where the file is not UTF-8, every byte as a character.
    encoding = "utf-8" if file.is_utf8 else "latin-1"

    def keep(row: pa_csv.InvalidRow) -> str:
        malformed[row.number] = row.text.encode(encoding)
        return "skip"

    header = _csv_header(file, encoding, block_bytes)
    names = _names(file, contract, header, defaults)
    text = pa.string() if file.is_utf8 else pa.binary()
    reader = pa_csv.open_csv(
        stream,
        pa_csv.ReadOptions(use_threads=False, block_size=block_bytes, encoding=encoding),
        pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=keep),
        pa_csv.ConvertOptions(
            column_types=dict.fromkeys(header, text),
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            null_values=EMPTY_CELLS,
        ),
    )
    first = HEADER_ROW + 1
    # What follows the last good row comes with an empty block at the end.
    for parsed in chain(reader, [pa.RecordBatch.from_pylist([], reader.schema)]):
        block = pa.Table.from_batches([parsed]).rename_columns(names)
        cells, rubbish = (block, pa.nulls(len(block), pa.binary())) if file.is_utf8 else _partly_text(block)
        if malformed:
            places = _places(first, cells.num_rows, malformed)
            texts = [malformed.pop(first + i) if place is None else None for i, place in enumerate(places)]
            taken = pa.array(places, pa.int64())
            cells, rubbish = cells.take(taken), pc.coalesce(pa.array(texts, pa.binary()), rubbish.take(taken))
        if cells.num_rows:
            yield first, rubbish, cells
        first += cells.num_rows


def _places(first: int, count: int, malformed: Collection[int]) -> list[int | None]:
    """For each row from the first on which of the ``count`` well-formed ones it is, or None where it is malformed."""
    places: list[int | None] = []
    taken, row = 0, first
    while taken < count or row in malformed:
        places.append(None if row in malformed else taken)
        taken += row not in malformed
        row += 1
    return places


def _csv_header(file: DataFile, encoding: str, block_bytes: int) -> list[str]:
    with file.open() as stream:
        reader = pa_csv.open_csv(
            stream,
            pa_csv.ReadOptions(use_threads=False, block_size=block_bytes, encoding=encoding),
            pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda _: "skip"),
        )
        return list(reader.schema.names)


def _partly_text(block: pa.Table) -> tuple[pa.Table, pa.Array]:
    """Cells as text; a row with a cell that is not UTF-8 keeps its bytes instead. Row by row: it is rare."""
    rows: list[dict[str, str | None]] = []
    rubbish: list[bytes | None] = []
    for row in block.to_pylist():
        cells = {name: None if cell is None else cell.decode().encode("latin-1") for name, cell in row.items()}
        try:
            rows.append({name: None if cell is None else cell.decode() for name, cell in cells.items()})
            rubbish.append(None)
        except UnicodeDecodeError:
            rows.append({})
            rubbish.append(b",".join(map(_as_cell, cells.values())))
    schema = pa.schema([(name, pa.string()) for name in block.column_names])
    return pa.Table.from_pylist(rows, schema), pa.array(rubbish, pa.binary())


def _as_cell(value: bytes | None) -> bytes:
    text = value or b""
    return b'"' + text.replace(b'"', b'""') + b'"' if any(mark in text for mark in (b",", b'"', b"\n", b"\r")) else text


def _json_lines(file: DataFile, contract: Contract, defaults: Collection[str]) -> Iterator[Block]:
    number, rest = 1, b""
    with file.open() as stream:
        while block := stream.read(BLOCK_BYTES):
            *lines, rest = (rest + block).split(b"\n")
            if len(rest) > LONGEST_LINE:
                raise FileRefusedError(f"{file.path.name}: line {number + len(lines)} has no end; is it JSON Lines?")
            if lines:
                yield number, _lines(lines, number), None
                number += len(lines)
    if rest:
        yield number, _lines([rest], number), None


def _lines(lines: list[bytes], number: int) -> pa.Array:
    if number == 1:
        lines[0] = lines[0].removeprefix(BOM)
    return pa.array([line.strip() for line in lines], pa.binary())


def _parquet(file: DataFile, contract: Contract, defaults: Collection[str]) -> Iterator[Block]:
    with file.open() as stream, TemporaryFile() as unpacked:
        if file.is_gzip:
            shutil.copyfileobj(stream, unpacked)
        content = pq.ParquetFile(pa.PythonFile(unpacked, "r") if file.is_gzip else stream)
        names = _names(file, contract, content.schema_arrow.names, defaults)
        if problem := unreadable(contract, dict(zip(names, content.schema_arrow.types, strict=True))):
            raise FileRefusedError(f"{file.path.name}: {problem}")
        number = 1
        for part in content.iter_batches(BATCH_ROWS):
            yield number, pa.nulls(part.num_rows, pa.binary()), as_cells(part.columns, names)
            number += part.num_rows


def _names(file: DataFile, contract: Contract, found: list[str], defaults: Collection[str]) -> list[str]:
    """The columns' names as the contract writes them; all that it requires must be there."""
    names = [name.removeprefix(BOM.decode("latin-1")).strip().lower() for name in found]
    names = [name or f"column_{number}" for number, name in enumerate(names, start=1)]
    listed = "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in ", ".join(found)[:500])
    if problem := misnamed(contract, names, defaults):
        raise FileRefusedError(f"{file.path.name}: {problem}; its header is: {listed}")
    return names
