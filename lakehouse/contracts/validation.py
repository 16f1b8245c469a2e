"""Validation of a whole Arrow batch at once: bytes in, two Arrow tables out.

JSON is parsed by DuckDB, whose functions answer per value: a bad record costs only itself. What that parser is more
lenient about than RFC 8259 (NaN, trailing commas), and what no column can hold (NUL, deep nesting), is recognised by a
cheap pattern and then checked strictly, record by record, for the few that match.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
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
_SUSPICIOUS = rf"""
    contains(text, '\u0000')
    or regexp_matches(text, ',(\s*[}}\]]|{_NOT_A_NUMBER})')
    or regexp_matches(text, ':{_NOT_A_NUMBER}')
    or regexp_matches(text, '\[{_NOT_A_NUMBER}')
    or 2 * strlen(text) - strlen(replace(text, '{{', '')) - strlen(replace(text, '[', '')) > {MAX_DEPTH}
"""
"""Where the parser may have accepted what RFC 8259 does not, a NUL may hide or nesting be deep; cheap, so imprecise.

Patterns that begin with a literal are searched for by that byte: together they take half the time of a single one.
"""

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
    """Checks records, as bytes of JSON, against one contract. Not for use by two threads at once."""

    def __init__(self, contract: Contract) -> None:
        """Prepare the statement; it is the same for every batch."""
        self.contract = contract
        self._checks = list(_checks(contract))
        self._sql = _statement(contract, self._checks)
        names = [column.name for column in contract.fields] + ([contract.raw_payload] if contract.raw_payload else [])
        types = arrow_schema(contract)
        self._accepted = pa.schema([("row", pa.int64()), *(types.field(name).with_nullable(True) for name in names)])
        self._duckdb = duckdb.connect(config={"threads": 1})
        self._duckdb.execute("set TimeZone = 'UTC'")

    def validate(self, payloads: pa.Array | pa.ChunkedArray) -> Verdict:
        """Split a batch into what the contract accepts and what it refuses.

        Args:
            payloads: The records' values, binary; null where a record has none.
        """
        self._duckdb.register("batch", pa.table({"row": pa.arange(0, len(payloads)), "payload": payloads}))
        checked = self._duckdb.sql(self._sql).to_arrow_table()
        self._duckdb.unregister("batch")
        accepted = checked.select(["row", *(column.name for column in self.contract.fields)])
        refusals = dict(self._refusals(checked))
        if refusals:
            is_refused = pc.is_in(checked["row"], pa.array(list(refusals), pa.int64()))
            accepted = accepted.filter(pc.invert(is_refused))
            payloads = payloads.take(accepted["row"])
        if self.contract.raw_payload:
            accepted = accepted.append_column(self.contract.raw_payload, payloads.cast(pa.string()))
        refused = pa.table(
            [list(refusals), [kind for kind, _ in refusals.values()], [text for _, text in refusals.values()]],
            schema=REFUSAL,
        )
        return Verdict(accepted.cast(self._accepted), refused)

    def _refusals(self, checked: pa.Table) -> Iterator[tuple[int, tuple[str, str]]]:
        """Error type and message by row. Touches only what a check found bad, or the pattern found suspicious."""
        bad = _present(checked, "error", ["row", "error", "texts", "types"])
        for record in bad.to_pylist():
            check = self._checks[record["error"]]
            text = kind = None
            if check.field is not None:
                text, kind = record["texts"][check.field], record["types"][1 + check.field]
            yield record["row"], (check.error_type, check.message.format(text=_Excerpt(text), kind=str(kind).lower()))
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


def _statement(contract: Contract, checks: list[_Check]) -> str:
    """SQL over ``batch(row, payload)``: the typed fields, and for a bad record the number of the first failed check."""
    fields = contract.fields
    paths = ", ".join(f"'$.{column.name}'" for column in fields)
    extracted = ", ".join(
        f"nullif(texts[{i}], '') as {c.name}__text, types[{i + 1}] as {c.name}__type"
        for i, c in enumerate(fields, start=1)
    )
    typed = ", ".join(f"{_typed(column)} as {column.name}" for column in fields)
    output = ", ".join(f"coalesce({c.name}, {c.derived}) as {c.name}" if c.derived else c.name for c in fields)
    error = " ".join(f"when {check.condition} then {i}" for i, check in enumerate(checks))
    return f"""
        with decoded as (select row, payload, try(decode(payload)) as text from batch),
        documents as (select *, try_cast(text as json) as document from decoded),
        objects as (
            select *,
                json_type(document, ['$', {paths}]) as types,
                json_extract_string(document, [{paths}]) as texts,
                {_SUSPICIOUS} as is_suspicious
            from documents
        ),
        extracted as (select *, {extracted} from objects),
        typed as (select *, {typed} from extracted),
        judged as (select *, case {error} end as error from typed)
        select row, {output}, error,
            case when error is not null then texts end as texts,
            case when error is not null then types end as types,
            case when error is null and is_suspicious then text end as suspicious_text
        from judged
    """


def _typed(column: Column) -> str:
    """The column's value, or null where its text cannot be read as its type."""
    text, kind = f"{column.name}__text", f"{column.name}__type"
    match column.type:
        case Type.STRING:
            return f"case when {kind} = 'VARCHAR' then {text} end"
        case Type.TIMESTAMP:
            return f"case when regexp_matches({text}, '{_TIMESTAMP}') then try_cast({text} as timestamptz) end"
        case Type.DATE:
            return f"case when regexp_matches({text}, '{_DATE}') then try_cast({text} as date) end"
        case Type.JSON_OBJECT:
            # The parser writes an object without spaces; a string that holds one is brought to the same form.
            return (
                f"case when {kind} = 'OBJECT' then {text} "
                f"when {kind} = 'VARCHAR' then nullif(json(try_cast({text} as json))::varchar, 'null') end"
            )
        case _:
            raise ValueError(f"{column.name}: a JSON record cannot carry a field of type {column.type}")


def _checks(contract: Contract) -> Iterator[_Check]:
    """All checks, in the order in which they are tried."""
    yield _Check("payload is null", "NULL_VALUE", "the record has no value")
    yield _Check("octet_length(payload) = 0", "EMPTY_VALUE", "the record is empty")
    yield _Check("text is null", "INVALID_UTF8", "the record is not valid UTF-8")
    yield _Check("document is null", "INVALID_JSON", "the record is not valid JSON")
    yield _Check("types[1] <> 'OBJECT'", "NOT_AN_OBJECT", "the record is JSON, but not an object")
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
        yield _Check(f"length({text}) > {column.max_length}", "TOO_LONG", message, position)
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
