"""What a JSON text is to us: RFC 8259, without NUL and not nested deeply.

DuckDB's parser takes more (NaN, trailing commas), Python's `json` costs microseconds a record. So most records are
recognised as plain by one pattern, the rest is parsed by DuckDB, and what another pattern finds suspicious is read by
`json` as well.
"""

from __future__ import annotations

import json
from typing import Any

from lakehouse.contracts.contract import Contract

MAX_DEPTH = 64
"""Levels of nesting a record may have."""

_NOT_A_NUMBER = r"\s*[-+]?(?i:nan|inf(?:inity)?)\s*[,}\]]"

_SPACE = r"[ \t\n\r]*"
_HEX = "[0-9a-fA-F]"
# Of the characters in hexadecimal digits neither U+0000 nor a half of a surrogate pair.
_CHARACTER = rf"u(?:[1-9a-cefA-CEF]{_HEX}{{3}}|0[1-9a-fA-F]{_HEX}{{2}}|00[1-9a-fA-F]{_HEX})"
_TEXT = rf'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|{_CHARACTER}))*"'
_NUMBER = r"-?(?:0|[1-9][0-9]{0,14})(?:[.][0-9]{1,15})?"


def plain_record(contract: Contract) -> str:
    """Regular expression (RE2) for a record as most are: an object of strings and nulls.

    Fields for JSON may hold an object of simple values. Whatever matches is valid JSON, every field has the type that
    it must have, and no text needs a stricter look but one in which a field's JSON is written.
    """
    documents = "|".join(contract.documents)
    members = [_member(_TEXT, f"{_TEXT}|null")] + ([_member(f'"(?:{documents})"', _SIMPLE)] if documents else [])
    return f"^{_SPACE}{_object('|'.join(members))}{_SPACE}$"


def _object(member: str) -> str:
    return rf"\{{{_SPACE}(?:(?:{member}){_SPACE}(?:,{_SPACE}(?:{member}){_SPACE})*)?\}}"


def _member(name: str, value: str) -> str:
    return f"{name}{_SPACE}:{_SPACE}(?:{value})"


_SIMPLE = _object(_member(_TEXT, f"{_TEXT}|{_NUMBER}|true|false|null"))

SIMPLE_OBJECT = f"^{_SPACE}{_SIMPLE}{_SPACE}$"
"""Regular expression (RE2) for an object of simple values; it needs no stricter look."""


def suspicious(text: str) -> str:
    """SQL: where the parser may have accepted what RFC 8259 does not, a NUL may hide or nesting be deep.

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


def _children(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return [*item.keys(), *item.values()]
    return item if isinstance(item, list) else []


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
