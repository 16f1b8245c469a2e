"""Validation of a whole Arrow batch at once: bytes, or text by column, in; two Arrow tables out.

JSON is parsed by DuckDB, whose functions answer per value: a bad record costs only itself. What that parser is more
lenient about than RFC 8259 (NaN, trailing commas), and what no column can hold (NUL, deep nesting), is recognised by a
cheap pattern and then checked strictly, record by record, for the few that match.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.contracts.arrow import arrow_schema
from lakehouse.contracts.contract import Column, Contract, Type

MAX_DEPTH = 64
"""Levels of nesting a record may have."""

_TIMESTAMP = r"^\d{4}-\d{2}-\d{2}[T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.]\d{1,9})?)?(Z|[+-](0\d|1[0-4])(:?[0-5]\d)?)?$"
_DATE = r"^\d{4}-\d{2}-\d{2}$"
EARLIEST, LATEST = "1900-01-01", "2200-01-01"
"""Bounds of a believable time."""

_NOT_A_NUMBER = r"\s*[-+]?(?i:nan|inf(?:inity)?)\s*[,}\]]"

REFUSAL = pa.schema([("row", pa.int64()), ("error_type", pa.string()), ("error_message", pa.string())])
"""One row a refused record: its position in the batch and why."""


@dataclass(frozen=True)
class Verdict:
    """What became of a batch; every record is in exactly one of the two tables."""

    accepted: pa.Table
    """``row`` (position in the batch, int64), the contract's fields, typed, and the payload as text, if it is kept."""
    refused: pa.Table
    """Schema `REFUSAL`."""


@dataclass(frozen=True)
class _Check:
    """One thing that can be wrong with a record."""

    condition: str
    """SQL over the columns of the statement, true for a bad record."""
    error_type: str
    message: str
    """Format string over ``text`` and ``kind``: what the record carries in the field, and its JSON type."""
    field: int | None = None
    """Position of the field in the contract."""


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
        self._statements: dict[tuple[tuple[str, ...], frozenset[str]], _Statement] = {}
        self._duckdb = duckdb.connect(config={"threads": 1})
        self._duckdb.execute("set TimeZone = 'UTC'")

    def validate(self, payloads: pa.Array | pa.ChunkedArray) -> Verdict:
        """Split a batch of JSON records into what the contract accepts and what it refuses.

        Args:
            payloads: The records' values, binary; null where a record has none.
        """
        texts = _decoded(payloads)
        return self._split(pa.table({"payload": payloads, "text": texts}), self._of_json, texts)

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
        judged = cells.select(known)
        added = {"payload": rubbish, "payload_text": _decoded(rubbish), "holds_nul": _rows_with_nul(judged)}
        batch = pa.table({name: judged[name] for name in known} | added)
        return self._split(batch, self._of_cells(known, self._good_as_they_are(judged)), kept)

    def as_json(self, cells: pa.Table, *, with_defaults: bool = False) -> pa.ChunkedArray:
        """Each row as the text of one JSON object, without its nulls; on demand with what it was read with."""
        values = {name: _identifier(name) for name in cells.column_names}
        if with_defaults:
            values |= {
                name: f"coalesce({values.get(name, 'null')}, {_quoted(default)})"
                for name, default in self._defaults.items()
            }
        members = ", ".join(f"{_quoted(name)}: {value}" for name, value in values.items())
        self._duckdb.register("cells", cells)
        text = self._duckdb.sql(f"select json_merge_patch('{{}}', {{{members}}})::varchar as text from cells")
        found = text.to_arrow_table()["text"]
        self._duckdb.unregister("cells")
        return found

    @cached_property
    def _of_json(self) -> _Statement:
        checks = (*_json_checks(), *_checks(self.contract))
        return _statement(self.contract, checks, _json_head(self.contract, self._defaults))

    def _of_cells(self, known: tuple[str, ...], good: frozenset[str]) -> _Statement:
        """Statement for batches of these columns that leaves the good ones alone."""
        if (known, good) not in self._statements:
            fields = tuple(column for column in self.contract.fields if column.name not in good)
            judged = replace(self.contract, fields=fields)
            of_fields = (check for check in _checks(judged) if check.error_type != "WRONG_TYPE")  # all is text
            head = _cells_head(judged, self._defaults, known)
            self._statements[known, good] = _statement(judged, (*_cells_checks(), *of_fields), head)
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

    def _split(self, batch: pa.Table, statement: _Statement, kept: pa.Array | pa.ChunkedArray) -> Verdict:
        """Run the statement over the batch; ``kept`` is the text of each record that goes into its row."""
        self._duckdb.register("batch", batch.append_column("row", pa.arange(0, batch.num_rows)))
        checked = self._duckdb.sql(statement.sql).to_arrow_table()
        self._duckdb.unregister("batch")
        names = ["row", *(column.name for column in self.contract.fields)]
        accepted = pa.table({name: (checked if name in checked.column_names else batch)[name] for name in names})
        if self.contract.raw_payload:
            accepted = accepted.append_column(self.contract.raw_payload, kept)
        refusals = dict(self._refusals(checked, statement.checks))
        if refusals:
            is_refused = pc.is_in(checked["row"], pa.array(list(refusals), pa.int64()))
            accepted = accepted.filter(pc.invert(is_refused))
        refused = pa.table(
            [list(refusals), [kind for kind, _ in refusals.values()], [text for _, text in refusals.values()]],
            schema=REFUSAL,
        )
        return Verdict(accepted.cast(self._accepted), refused)

    def _refusals(self, checked: pa.Table, checks: Sequence[_Check]) -> Iterator[tuple[int, tuple[str, str]]]:
        """Error type and message by row. Touches only what a check found bad, or the pattern found suspicious."""
        bad = _present(checked, "error", ["row", "error", "texts", "types"])
        for record in bad.to_pylist():
            check = checks[record["error"]]
            text = kind = None
            if check.field is not None:
                text, kind = record["texts"][check.field], record["types"][check.field]
            yield (
                record["row"],
                (check.error_type, check.message.format(text=_Excerpt(text), kind=_json_type(kind))),
            )
        # A string that holds an object is a document of its own, so those columns are checked as well as the record.
        texts = ["suspicious_text", *(c.name for c in self.contract.fields if c.type is Type.JSON_OBJECT)]
        suspicious = _present(checked, "suspicious_text", ["row", *texts])
        for record in suspicious.to_pylist():
            problems = (strict_problem(record[name]) for name in texts if record[name] is not None)
            if problem := next(filter(None, problems), None):
                yield record["row"], problem


class _Excerpt(str):
    """A record's text in a message: short, and with its length for ``{text.length}``."""

    def __new__(cls, text: str | None) -> _Excerpt:
        excerpt = super().__new__(cls, (text or "")[:40])
        excerpt.length = len(text or "")
        return excerpt

    length: int


@dataclass(frozen=True)
class _Statement:
    """SQL over ``batch``, and the checks whose numbers it answers with."""

    sql: str
    checks: tuple[_Check, ...]


def _statement(contract: Contract, checks: tuple[_Check, ...], extracted: str) -> _Statement:
    """SQL for the typed fields, and for a bad record the number of the first failed check.

    Args:
        contract: What a record must look like.
        checks: What may be wrong, in the order in which it is tried.
        extracted: Common table expressions that end with ``extracted``: row, payload, each field's text and JSON type
            as ``<field>__text`` and ``<field>__type``, and a suspicious text or null.
    """
    fields = contract.fields
    typed = ", ".join(f"{_typed(column)} as {column.name}" for column in fields)
    output = ", ".join(f"coalesce({c.name}, {c.derived}) as {c.name}" if c.derived else c.name for c in fields)
    error = " ".join(f"when {check.condition} then {i}" for i, check in enumerate(checks))
    texts, types = (", ".join(f"{column.name}__{what}" for column in fields) for what in ("text", "type"))
    sql = f"""
        with {extracted},
        typed as (select *, {typed} from extracted),
        judged as (select *, case {error} end as error from typed)
        select row, {output}, error,
            case when error is not null then [{texts}] end as texts,
            case when error is not null then [{types}] end as types,
            case when error is null then suspicious_text end as suspicious_text
        from judged
    """
    return _Statement(sql, checks)


def _json_head(contract: Contract, defaults: Mapping[str, str]) -> str:
    paths = ", ".join(f"'$.{column.name}'" for column in contract.fields)
    fields = ", ".join(
        _field(column.name, f"texts[{i}]", f"types[{i + 1}]", defaults)
        for i, column in enumerate(contract.fields, start=1)
    )
    return f"""
        documents as (select row, payload, text, try_cast(text as json) as document from batch),
        objects as (
            select *,
                json_type(document, ['$', {paths}]) as types,
                json_extract_string(document, [{paths}]) as texts,
                case when {_suspicious("text")} then text end as suspicious_text
            from documents
        ),
        extracted as (select *, {fields} from objects)
    """


def _cells_head(contract: Contract, defaults: Mapping[str, str], known: tuple[str, ...]) -> str:
    fields = ", ".join(
        _field(column.name, column.name if column.name in known else "null::varchar", "'VARCHAR'", defaults)
        for column in contract.fields
    )
    documents = [column.name for column in contract.fields if column.type is Type.JSON_OBJECT and column.name in known]
    branches = " ".join(f"when {_suspicious(name)} then {name}" for name in documents)
    suspicious = f"case {branches} end" if documents else "null::varchar"
    given = f"row, payload, payload_text, holds_nul, {suspicious} as suspicious_text"
    return f"extracted as (select {given}, {fields} from batch)"


def _field(name: str, text: str, kind: str, defaults: Mapping[str, str]) -> str:
    """Text and JSON type of a field; an empty text is none."""
    if name not in defaults:
        return f"nullif({text}, '') as {name}__text, {kind} as {name}__type"
    given = f"nullif({text}, '')"
    return (
        f"coalesce({given}, {_quoted(defaults[name])}) as {name}__text, "
        f"case when {given} is null then 'VARCHAR' else {kind} end as {name}__type"
    )


def _suspicious(text: str) -> str:
    """Where the parser may have accepted what RFC 8259 does not, a NUL may hide or nesting be deep.

    Cheap, so imprecise. Patterns that begin with a literal are searched for by that byte: together they take half the
    time of a single one.
    """
    return rf"""
        contains({text}, '\u0000')
        or regexp_matches({text}, ',(\s*[}}\]]|{_NOT_A_NUMBER})')
        or regexp_matches({text}, ':{_NOT_A_NUMBER}')
        or regexp_matches({text}, '\[{_NOT_A_NUMBER}')
        or 2 * strlen({text}) - strlen(replace({text}, '{{', '')) - strlen(replace({text}, '[', '')) > {MAX_DEPTH}
    """


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _typed(column: Column) -> str:
    """The column's value, or null where its text cannot be read as its type."""
    text, kind = f"{column.name}__text", f"{column.name}__type"
    match column.type:
        case Type.STRING:
            return text  # of another type it is refused by a check
        case Type.TIMESTAMP:
            return f"case when regexp_matches({text}, '{_TIMESTAMP}') then try_cast({text} as timestamptz) end"
        case Type.DATE:
            return f"case when regexp_matches({text}, '{_DATE}') then try_cast({text} as date) end"
        case Type.JSON_OBJECT:
            # The parser writes an object without spaces; a string that holds one is brought to the same form.
            # A `try` that catches anything begins again value by value, so it is left nothing to catch.
            valid = f"case when json_valid({text}) then {text} end"
            return (
                f"case when {kind} = 'OBJECT' then {text} "
                f"when {kind} = 'VARCHAR' then nullif(try(json({valid}))::varchar, 'null') end"
            )
        case _:
            raise ValueError(f"{column.name}: a JSON record cannot carry a field of type {column.type}")


def _json_checks() -> Iterator[_Check]:
    """Checks of a JSON record as a whole."""
    yield _Check("payload is null", "NULL_VALUE", "the record has no value")
    yield _Check("octet_length(payload) = 0", "EMPTY_VALUE", "the record is empty")
    yield _Check("text is null", "INVALID_UTF8", "the record is not valid UTF-8")
    yield _Check("document is null", "INVALID_JSON", "the record is not valid JSON")
    yield _Check("types[1] <> 'OBJECT'", "NOT_AN_OBJECT", "the record is JSON, but not an object")


def _cells_checks() -> Iterator[_Check]:
    """Checks of a record that came as cells."""
    yield _Check("payload is not null and payload_text is null", "INVALID_UTF8", "the row is not valid UTF-8")
    yield _Check("payload is not null", "MALFORMED_ROW", "the row does not have one cell for each column of the header")
    yield _Check("holds_nul", "NUL_CHARACTER", "a cell holds the character U+0000")


def _checks(contract: Contract) -> Iterator[_Check]:
    """Checks of fields and rules, in the order in which they are tried, after those of the record."""
    for position, column in enumerate(contract.fields):
        yield from _field_checks(position, column)
    for rule in contract.rules:
        yield _Check(rule.condition, rule.error_type, f"{rule.field}: {rule.message}")


def _field_checks(position: int, column: Column) -> Iterator[_Check]:
    name, text, kind = column.name, f"{column.name}__text", f"{column.name}__type"
    if column.required and not column.derived:
        yield _Check(f"{text} is null", "MISSING_FIELD", f"{name}: required, but absent, null or empty", position)
    is_json = column.type is Type.JSON_OBJECT
    allowed = "('VARCHAR', 'NULL', 'OBJECT')" if is_json else "('VARCHAR', 'NULL')"
    expected = "an object, or a string that holds one" if is_json else "a string"
    yield _Check(f"{kind} not in {allowed}", "WRONG_TYPE", f"{name}: expected {expected}, found {{kind}}", position)
    if column.max_length:
        message = f"{name}: {{text.length}} characters, at most {column.max_length} are allowed"
        # Bytes are known, characters must be counted.
        too_long = f"strlen({text}) > {column.max_length} and length({text}) > {column.max_length}"
        yield _Check(too_long, "TOO_LONG", message, position)
    unreadable = f"{text} is not null and {name} is null"
    match column.type:
        case Type.TIMESTAMP:
            message = f"{name}: not a time: {{text}}; expected 2024-12-17 10:00:00 (UTC) or ISO 8601"
            yield _Check(unreadable, "INVALID_TIMESTAMP", message, position)
            bounds = f"timestamptz '{EARLIEST}' and timestamptz '{LATEST}'"
            message = f"{name}: {{text}} is not between {EARLIEST} and {LATEST}"
            yield _Check(f"{name} not between {bounds}", "INVALID_TIMESTAMP", message, position)
        case Type.DATE:
            yield _Check(unreadable, "INVALID_DATE", f"{name}: not a date: {{text}}; expected 2024-12-17", position)
        case Type.JSON_OBJECT:
            broken = f"{unreadable} and trim({text}) <> 'null' or not starts_with({name}, '{{')"
            yield _Check(broken, "INVALID_ATTRIBUTES", f"{name}: the string does not hold one JSON object", position)


def _decoded(payloads: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The records as text; null for one that is not UTF-8. As a rule all are, which one look at the whole tells."""
    try:
        return payloads.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([_text_or_none(payload) for payload in payloads.to_pylist()], pa.string())


def _text_or_none(payload: bytes | None) -> str | None:
    try:
        return None if payload is None else payload.decode()
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


def strict_problem(text: str) -> tuple[str, str] | None:
    """What RFC 8259, or our bounds, have against a JSON text: error type and message, or None."""
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        return "TOO_DEEP", f"more than {MAX_DEPTH} levels of nesting"
    except ValueError as error:
        return "INVALID_JSON", f"the record is not valid JSON: {error}"
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH + 1):
        if any(isinstance(item, str) and "\x00" in item for item in level):
            return "NUL_CHARACTER", "a string holds the character U+0000"
        level = [child for item in level for child in _children(item)]
        if not level:
            return None
    return "TOO_DEEP", f"more than {MAX_DEPTH} levels of nesting"


def _json_type(kind: str | None) -> str:
    """JSON's name of a type, for the parser's."""
    return "number" if kind in ("UBIGINT", "BIGINT", "DOUBLE") else str(kind).lower()


def _present(checked: pa.Table, column: str, wanted: list[str]) -> pa.Table:
    """Rows in which a column has a value, most often none at all."""
    wanted_columns = checked.select(wanted)
    if checked[column].null_count == checked.num_rows:
        return wanted_columns.slice(0, 0)
    return wanted_columns.filter(pc.is_valid(checked[column]))


def _children(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return [*item.keys(), *item.values()]
    return item if isinstance(item, list) else []


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
