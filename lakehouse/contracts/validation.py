"""Validation of a whole Arrow batch at once: bytes, or text by column, in; two Arrow tables out.

Most JSON records are recognised by one pattern as plain, and are text by column as soon as DuckDB has taken their
fields out. The others go through SQL that tells all that can be wrong with each; its functions answer per value, so a
bad record costs only itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.contracts.arrow import arrow_schema
from lakehouse.contracts.contract import Column, Contract, Type
from lakehouse.contracts.json_text import SIMPLE_OBJECT, plain_record, strict_problem
from lakehouse.contracts.statement import (
    Statement,
    cells_of_plain,
    cells_statement,
    json_of_cells,
    json_statement,
)

REFUSAL = pa.schema([("row", pa.int64()), ("error_type", pa.string()), ("error_message", pa.string())])
"""One row a refused record: its position in the batch and why."""

BYTES_AT_ONCE = 2 * 1024 * 1024
"""Of records that DuckDB looks at at once."""


@dataclass(frozen=True)
class Verdict:
    """What became of a batch; every record is in exactly one of the two tables, in any order."""

    accepted: pa.Table
    """``row`` (position in the batch, int64), the contract's fields, typed, and the payload as text, if it is kept."""
    refused: pa.Table
    """Schema `REFUSAL`."""


class Validator:
    """Checks records against one contract. Not for use by two threads at once."""

    def __init__(self, contract: Contract, defaults: Mapping[str, str] | None = None) -> None:
        """Get ready; the statements are the same for every batch.

        Args:
            contract: What a record must look like.
            defaults: Values of text fields for records that carry none.
        """
        self.contract = contract
        self._defaults = dict(defaults or {})
        names = [column.name for column in contract.fields] + ([contract.raw_payload] if contract.raw_payload else [])
        types = arrow_schema(contract)
        self._accepted = pa.schema([("row", pa.int64()), *(types.field(name).with_nullable(True) for name in names)])
        self._plain = plain_record(contract)
        self._statements: dict[tuple[tuple[str, ...], frozenset[str]], Statement] = {}
        self._duckdb = duckdb.connect(config={"threads": 1})
        self._duckdb.execute("set TimeZone = 'UTC'")

    def validate(self, payloads: pa.Array | pa.ChunkedArray) -> Verdict:
        """Split a batch of JSON records into what the contract accepts and what it refuses.

        Args:
            payloads: The records' values, binary; null where a record has none.
        """
        batch = pa.table({"payload": payloads, "text": _decoded(payloads)})
        is_plain = _matches(batch["text"], self._plain)
        plain, other = (pc.indices_nonzero(chosen) for chosen in (is_plain, pc.invert(is_plain)))
        if not len(other):
            return self._judge_plain(batch)
        if not len(plain):
            return self._judge_any(batch)
        of_plain, of_other = self._judge_plain(batch.take(plain)), self._judge_any(batch.take(other))
        return Verdict(
            pa.concat_tables([_moved(of_plain.accepted, plain), _moved(of_other.accepted, other)]),
            pa.concat_tables([_moved(of_plain.refused, plain), _moved(of_other.refused, other)]),
        )

    def validate_cells(self, cells: pa.Table, rubbish: pa.Array | pa.ChunkedArray) -> Verdict:
        """Split a batch of records that came as text by column.

        Args:
            cells: Text by column, null where a cell is empty. Columns that the contract does not know make up the
                payload that is kept, together with the others.
            rubbish: Bytes of a record that no columns could be made of, null for all others.
        """
        known = tuple(name for name in cells.column_names if name in {column.name for column in self.contract.fields})
        is_all_known = len(known) == cells.num_columns
        kept = pa.nulls(len(rubbish), pa.string()) if is_all_known else self.as_json(cells)
        return self._judge_cells(cells.select(known), rubbish, kept)

    def as_json(self, cells: pa.Table, *, with_defaults: bool = False) -> pa.ChunkedArray:
        """Each row as the text of one JSON object, without its nulls; on demand with what it was read with."""
        sql = json_of_cells(cells.column_names, self._defaults if with_defaults else {})
        return self._query(cells, sql)["text"]

    def _judge_plain(self, batch: pa.Table) -> Verdict:
        cells = self._query(batch, cells_of_plain(self.contract))
        return self._judge_cells(cells, pa.nulls(batch.num_rows, pa.binary()), batch["text"])

    def _judge_any(self, batch: pa.Table) -> Verdict:
        return self._split(batch, self._of_json, batch["text"])

    def _judge_cells(
        self, judged: pa.Table, rubbish: pa.Array | pa.ChunkedArray, kept: pa.Array | pa.ChunkedArray
    ) -> Verdict:
        known = tuple(judged.column_names)
        added = {"payload": rubbish, "payload_text": _decoded(rubbish), "holds_nul": _rows_with_nul(judged)}
        added |= {
            f"{name}__simple": _matches(judged[name], SIMPLE_OBJECT)
            for name in self.contract.documents
            if name in known
        }
        batch = pa.table(dict(zip(known, judged.columns, strict=True)) | added)
        return self._split(batch, self._of_cells(known, self._good_as_they_are(judged)), kept)

    @cached_property
    def _of_json(self) -> Statement:
        return json_statement(self.contract, self._defaults)

    def _of_cells(self, known: tuple[str, ...], good: frozenset[str]) -> Statement:
        """Statement for batches of these columns that leaves the good ones alone."""
        if (known, good) not in self._statements:
            self._statements[known, good] = cells_statement(self.contract, self._defaults, known, good)
        return self._statements[known, good]

    def _good_as_they_are(self, cells: pa.Table) -> frozenset[str]:
        """Columns of which a glance tells that every cell is accepted as it is, and that no other needs them."""
        fields = self.contract.fields
        good = _not_in((c.name for c in fields if self._is_good(c, cells)), (r.condition for r in self.contract.rules))
        return _not_in(good, (c.derived for c in fields if c.derived and c.name not in good))

    def _is_good(self, column: Column, cells: pa.Table) -> bool:
        if column.type is not Type.STRING or column.name not in cells.column_names:
            return False
        texts = cells[column.name]
        is_filled = column.required or column.derived or column.name in self._defaults
        return not (is_filled and texts.null_count) and _has_lengths(texts, 1, column.max_length)

    def _split(self, batch: pa.Table, statement: Statement, kept: pa.Array | pa.ChunkedArray) -> Verdict:
        """Run the statement over the batch; ``kept`` is the text of each record that goes into its row."""
        checked = self._query(batch.append_column("row", pa.arange(0, batch.num_rows)), statement.sql)
        names = ["row", *(column.name for column in self.contract.fields)]
        accepted = pa.table({name: (checked if name in checked.column_names else batch)[name] for name in names})
        if self.contract.raw_payload:
            accepted = accepted.append_column(self.contract.raw_payload, kept)
        refusals = dict(_refusals(checked, statement))
        if refusals:
            is_refused = pc.is_in(checked["row"], pa.array(list(refusals), pa.int64()))
            accepted = accepted.filter(pc.invert(is_refused))
        refused = pa.table(
            [list(refusals), [kind for kind, _ in refusals.values()], [text for _, text in refusals.values()]],
            schema=REFUSAL,
        )
        return Verdict(accepted.cast(self._accepted), refused)

    def _query(self, batch: pa.Table, sql: str) -> pa.Table:
        # DuckDB goes by rows, 2,048 at once or what a chunk has: of large records these would be parsed to 100 MB.
        rows = max(1, batch.num_rows * BYTES_AT_ONCE // max(1, batch.nbytes))
        self._duckdb.register("batch", pa.Table.from_batches(batch.to_batches(max_chunksize=rows), batch.schema))
        found = self._duckdb.sql(sql).to_arrow_table()
        self._duckdb.unregister("batch")
        return found


def _refusals(checked: pa.Table, statement: Statement) -> Iterator[tuple[int, tuple[str, str]]]:
    """Error type and message by row. Touches only what a check found bad, or the pattern found suspicious."""
    bad = _present(checked, "error", ["row", "error", "text", "kind"])
    for row, error, text, kind in zip(*(column.to_pylist() for column in bad.columns), strict=True):
        check = statement.checks[error]
        yield row, (check.error_type, check.message.format(text=_Excerpt(text), kind=_json_type(kind)))
    # A string that holds an object is a document of its own, so it is looked at as well as the record.
    suspicious = _present(checked, statement.suspects[0], ["row", *statement.suspects])
    for row, *texts in zip(*(column.to_pylist() for column in suspicious.columns), strict=True):
        problems = (strict_problem(text) for text in texts if text is not None)
        if problem := next(filter(None, problems), None):
            yield row, problem


class _Excerpt(str):
    """A record's text in a message: short, and with its length for ``{text.length}``."""

    def __new__(cls, text: str | None) -> _Excerpt:
        excerpt = super().__new__(cls, (text or "")[:40])
        excerpt.length = len(text or "")
        return excerpt

    length: int


def _decoded(payloads: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The records as text; null for one that is not UTF-8. As a rule all are, which one look at the whole tells."""
    try:
        return payloads.cast(pa.string())
    except pa.ArrowInvalid:
        chunks = payloads.chunks if isinstance(payloads, pa.ChunkedArray) else [payloads]
        return pa.chunked_array([_decoded_singly(chunk) for chunk in chunks], pa.string())


def _decoded_singly(payloads: pa.Array) -> pa.Array:
    unsure = payloads.cast(pa.string(), safe=False)
    is_beyond_ascii = pc.invert(pc.fill_null(pc.string_is_ascii(unsure), True))
    texts = [_text_or_none(payload) for payload in payloads.filter(is_beyond_ascii).to_pylist()]
    return pc.replace_with_mask(unsure, is_beyond_ascii, pa.array(texts, pa.string()))


def _matches(texts: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    """Whether each text is there and matches."""
    return pc.fill_null(pc.match_substring_regex(texts, pattern), False)


def _moved(judged: pa.Table, rows: pa.Array) -> pa.Table:
    """What was judged of a part of a batch: ``row`` becomes the position in the whole."""
    return judged.set_column(0, "row", rows.take(judged["row"]).cast(pa.int64()))


def _text_or_none(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None


def _not_in(names: Iterable[str], expressions: Iterable[str]) -> frozenset[str]:
    """Names that no expression speaks of."""
    words = set(re.findall(r"\w+", " ".join(expressions)))
    return frozenset(names) - words


def _has_lengths(column: pa.ChunkedArray, least: int, most: int | None) -> bool:
    """Whether every value that is there has so many bytes; characters are not more."""
    found = pc.min_max(pc.binary_length(column)).as_py()
    return found["min"] is None or (found["min"] >= least and (most is None or found["max"] <= most))


def _rows_with_nul(cells: pa.Table) -> pa.Array | pa.ChunkedArray:
    """For each row whether a cell holds U+0000. As a rule none does, which a look at the bytes as a whole tells."""
    found = pa.repeat(pa.scalar(False), cells.num_rows)
    for column in cells.columns:
        if any(_holds_zero(chunk.buffers()[-1]) for chunk in column.chunks):
            found = pc.or_(found, pc.fill_null(pc.match_substring(column, "\x00"), False))
    return found


def _holds_zero(buffer: pa.Buffer | None) -> bool:
    if buffer is None:
        return False
    smallest = pc.min(pa.Array.from_buffers(pa.uint8(), buffer.size, [None, buffer]))
    return bool(smallest.as_py() == 0)


def _json_type(kind: str | None) -> str:
    """JSON's name of a type, for the parser's."""
    return "number" if kind in ("UBIGINT", "BIGINT", "DOUBLE") else str(kind).lower()


def _present(checked: pa.Table, column: str, wanted: list[str]) -> pa.Table:
    """Rows in which a column has a value, most often none at all."""
    wanted_columns = checked.select(wanted)
    if checked[column].null_count == checked.num_rows:
        return wanted_columns.slice(0, 0)
    return wanted_columns.filter(pc.is_valid(checked[column]))
