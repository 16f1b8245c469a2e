"""SQL by which DuckDB reads a contract's fields out of a batch of records and says what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from lakehouse.contracts.contract import EARLIEST, LATEST, Column, Contract, Type
from lakehouse.contracts.json_text import suspicious

_TIMESTAMP = r"^\d{4}-\d{2}-\d{2}[T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.]\d{1,9})?)?(Z|[+-](0\d|1[0-4])(:?[0-5]\d)?)?$"
_DATE = r"^\d{4}-\d{2}-\d{2}$"


@dataclass(frozen=True)
class Check:
    """One thing that can be wrong with a record."""

    condition: str
    """SQL over the columns of the statement, true for a bad record."""
    error_type: str
    message: str
    """Format string over ``text`` and ``kind``: what the record carries in the field, and its JSON type."""
    field: int | None = None
    """Position of the field in the contract."""


@dataclass(frozen=True)
class Statement:
    """SQL over ``batch``, and the checks whose numbers it answers with."""

    sql: str
    checks: tuple[Check, ...]
    suspects: tuple[str, ...]
    """Columns of texts that need a stricter look, in a row where the first of them is not null."""


def json_statement(contract: Contract, defaults: Mapping[str, str]) -> Statement:
    """For JSON records of which nothing is known: ``payload`` and ``text``, null if it is none."""
    return _statement(contract, (*_json_checks(), *_checks(contract)), _json_head(contract, defaults))


def cells_statement(
    contract: Contract, defaults: Mapping[str, str], known: tuple[str, ...], good: frozenset[str]
) -> Statement:
    """For records that came as text by column.

    Args:
        contract: What a record must look like.
        defaults: Values of text fields for records that carry none.
        known: The fields of which there is a column, beside ``payload``, ``payload_text`` and ``holds_nul``; for one
            that holds JSON also ``<field>__simple``, whether it is a `SIMPLE_OBJECT`.
        good: Fields that are accepted as they are; the statement leaves them out.
    """
    judged = replace(contract, fields=tuple(column for column in contract.fields if column.name not in good))
    of_fields = (check for check in _checks(judged) if check.error_type != "WRONG_TYPE")  # all is text
    return _statement(judged, (*_cells_checks(), *of_fields), _cells_head(judged, defaults, known))


def cells_of_plain(contract: Contract) -> str:
    """The text of each field of records that are `plain_record`, as columns."""
    cells = ", ".join(f"texts[{i}] as {column.name}" for i, column in enumerate(contract.fields, start=1))
    return f"select {cells} from (select json_extract_string(text, [{_paths(contract)}]) as texts from batch)"


def json_of_cells(names: Iterable[str], defaults: Mapping[str, str]) -> str:
    """Each row of columns of text as the text of one JSON object, without its nulls."""
    values = {name: _identifier(name) for name in names}
    values |= {name: f"coalesce({values.get(name, 'null')}, {_quoted(text)})" for name, text in defaults.items()}
    members = ", ".join(f"{_quoted(name)}: {value}" for name, value in values.items())
    return f"select json_merge_patch('{{}}', {{{members}}})::varchar as text from batch"


def _statement(contract: Contract, checks: tuple[Check, ...], extracted: str) -> Statement:
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
    texts, kinds = (", ".join(f"{column.name}__{what}" for column in fields) for what in ("text", "type"))
    field = f"({[(check.field or 0) + 1 for check in checks]})[error + 1]"
    suspects = ("suspicious_text", *(f"{name}__text" for name in contract.documents))
    is_suspect = "error is null and suspicious_text is not null"
    sql = f"""
        with {extracted},
        typed as (select *, {typed} from extracted),
        judged as (select *, case {error} end as error from typed)
        select row, {output}, error,
            case when error is not null then ([{texts}])[{field}] end as text,
            case when error is not null then ([{kinds}])[{field}] end as kind,
            {", ".join(f"case when {is_suspect} then {name} end as {name}" for name in suspects)}
        from judged
    """
    return Statement(sql, checks, suspects)


def _paths(contract: Contract) -> str:
    return ", ".join(f"'$.{column.name}'" for column in contract.fields)


def _json_head(contract: Contract, defaults: Mapping[str, str]) -> str:
    fields = ", ".join(
        _field(column.name, f"texts[{i}]", f"types[{i + 1}]", defaults)
        for i, column in enumerate(contract.fields, start=1)
    )
    return f"""
        documents as (select row, payload, text, try_cast(text as json) as document from batch),
        objects as (
            select *,
                json_type(document, ['$', {_paths(contract)}]) as types,
                json_extract_string(document, [{_paths(contract)}]) as texts,
                case when {suspicious("text")} then text end as suspicious_text
            from documents
        ),
        extracted as (select *, {fields} from objects)
    """


def _cells_head(contract: Contract, defaults: Mapping[str, str], known: tuple[str, ...]) -> str:
    fields = ", ".join(_field(c.name, *_cell(c, c.name in known), defaults) for c in contract.fields)
    documents = [name for name in contract.documents if name in known]
    branches = " ".join(f"when not {name}__simple and ({suspicious(name)}) then {name}" for name in documents)
    found = f"case {branches} end" if documents else "null::varchar"
    given = f"row, payload, payload_text, holds_nul, {found} as suspicious_text"
    return f"extracted as (select {given}, {fields} from batch)"


def _cell(column: Column, is_known: bool) -> tuple[str, str]:
    """Text and JSON type of a cell. A simple object is one at once, as the parser writes it; other JSON is a string."""
    name = column.name
    if not is_known:
        return "null::varchar", "'VARCHAR'"
    if column.type is not Type.JSON_OBJECT:
        return name, "'VARCHAR'"
    is_simple = f"case when {name}__simple then"
    return f"{is_simple} json({name})::varchar else {name} end", f"{is_simple} 'OBJECT' else 'VARCHAR' end"


def _field(name: str, text: str, kind: str, defaults: Mapping[str, str]) -> str:
    """Text and JSON type of a field; an empty text is none."""
    if name not in defaults:
        return f"nullif({text}, '') as {name}__text, {kind} as {name}__type"
    given = f"nullif({text}, '')"
    return (
        f"coalesce({given}, {_quoted(defaults[name])}) as {name}__text, "
        f"case when {given} is null then 'VARCHAR' else {kind} end as {name}__type"
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _typed(column: Column) -> str:
    """The column's value, or null where its text cannot be read as its type."""
    text, kind = f"{column.name}__text", f"{column.name}__type"
    match column.type:
        case Type.STRING | Type.IDENTIFIER:
            return text  # of another type it is refused by a check
        case Type.TIMESTAMP:
            return f"case when regexp_matches({text}, '{_TIMESTAMP}') then try_cast({text} as timestamptz) end"
        case Type.DATE:
            return f"case when regexp_matches({text}, '{_DATE}') then try_cast({text} as date) end"
        case Type.BOOLEAN:
            return f"case {text} when 'true' then true when 'false' then false end"
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


def _json_checks() -> Iterator[Check]:
    """Checks of a JSON record as a whole."""
    yield Check("payload is null", "NULL_VALUE", "the record has no value")
    yield Check("octet_length(payload) = 0", "EMPTY_VALUE", "the record is empty")
    yield Check("text is null", "INVALID_UTF8", "the record is not valid UTF-8")
    yield Check("document is null", "INVALID_JSON", "the record is not valid JSON")
    yield Check("types[1] <> 'OBJECT'", "NOT_AN_OBJECT", "the record is JSON, but not an object")


def _cells_checks() -> Iterator[Check]:
    """Checks of a record that came as cells."""
    yield Check("payload is not null and payload_text is null", "INVALID_UTF8", "the row is not valid UTF-8")
    yield Check("payload is not null", "MALFORMED_ROW", "the row does not have one cell for each column of the header")
    yield Check("holds_nul", "NUL_CHARACTER", "a cell holds the character U+0000")


def _checks(contract: Contract) -> Iterator[Check]:
    """Checks of fields and rules, in the order in which they are tried, after those of the record."""
    for position, column in enumerate(contract.fields):
        yield from _field_checks(position, column)
    for rule in contract.rules:
        yield Check(rule.condition, rule.error_type, f"{rule.field}: {rule.message}")


def _field_checks(position: int, column: Column) -> Iterator[Check]:
    name, text, kind = column.name, f"{column.name}__text", f"{column.name}__type"
    if column.required and not column.derived:
        yield Check(f"{text} is null", "MISSING_FIELD", f"{name}: required, but absent, null or empty", position)
    more, expected = {
        Type.JSON_OBJECT: (", 'OBJECT'", "an object, or a string that holds one"),
        Type.IDENTIFIER: (", 'UBIGINT', 'BIGINT'", "a string or a whole number"),
        Type.BOOLEAN: (", 'BOOLEAN'", "true or false"),
    }.get(column.type, ("", "a string"))
    allowed = f"('VARCHAR', 'NULL'{more})"
    yield Check(f"{kind} not in {allowed}", "WRONG_TYPE", f"{name}: expected {expected}, found {{kind}}", position)
    if column.max_length:
        message = f"{name}: {{text.length}} characters, at most {column.max_length} are allowed"
        # Bytes are known, characters must be counted.
        too_long = f"strlen({text}) > {column.max_length} and length({text}) > {column.max_length}"
        yield Check(too_long, "TOO_LONG", message, position)
    unreadable = f"{text} is not null and {name} is null"
    match column.type:
        case Type.TIMESTAMP:
            message = f"{name}: not a time: {{text}}; expected 2024-12-17 10:00:00 (UTC) or ISO 8601"
            yield Check(unreadable, "INVALID_TIMESTAMP", message, position)
            bounds = f"timestamptz '{EARLIEST:%Y-%m-%d}' and timestamptz '{LATEST:%Y-%m-%d}'"
            message = f"{name}: {{text}} is not between {EARLIEST:%Y-%m-%d} and {LATEST:%Y-%m-%d}"
            yield Check(f"{name} not between {bounds}", "INVALID_TIMESTAMP", message, position)
        case Type.DATE:
            yield Check(unreadable, "INVALID_DATE", f"{name}: not a date: {{text}}; expected 2024-12-17", position)
        case Type.BOOLEAN:
            yield Check(unreadable, "INVALID_BOOLEAN", f"{name}: neither true nor false: {{text}}", position)
        case Type.JSON_OBJECT:
            broken = f"{unreadable} and trim({text}) <> 'null' or not starts_with({name}, '{{')"
            yield Check(broken, "INVALID_ATTRIBUTES", f"{name}: the string does not hold one JSON object", position)
