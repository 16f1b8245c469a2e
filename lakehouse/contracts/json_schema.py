"""A contract's fields as a JSON schema, in the dialect of OpenAPI 3.0."""

from __future__ import annotations

from typing import Any

from lakehouse.contracts.contract import Column, Contract, Type

Schema = dict[str, Any]

NO_NUL = r"^[^\u0000]*$"


def record_schema(contract: Contract, *, optional: frozenset[str] = frozenset()) -> Schema:
    """What a record of the contract looks like to whoever sends one.

    Args:
        contract: Whose.
        optional: Required fields that the receiver adds where they are absent.
    """
    fields = {_path(column): column for column in contract.fields}
    return {
        "type": "object",
        "description": contract.description,
        "additionalProperties": False,
        "required": [path for path, c in fields.items() if c.required and c.name not in optional and "." not in path],
        "properties": {path: _field(column, contract) for path, column in fields.items() if "." not in path},
        "allOf": [_condition(path, column) for path, column in fields.items() if column.needed_for],
    }


def _condition(path: str, column: Column) -> Schema:
    """What holds where another field has a certain value."""
    assert column.needed_for
    name, value = column.needed_for
    needed = _whole(column)
    for part in reversed(path.split(".")):
        needed = {"type": "object", "required": [part], "properties": {part: needed}}
    return {"anyOf": [{"not": {"properties": {name: {"enum": [value]}}}}, needed]}


def _field(column: Column, contract: Contract) -> Schema:
    inner = {
        _path(other).partition(".")[2]: _field(other, contract) | {"description": _conditional(other)}
        for other in contract.fields
        if _path(other).startswith(f"{_path(column)}.")
    }
    found: Schema = {"description": column.description, **_type(column)}
    if column.known_values:
        found["example"] = column.known_values[0]
    return found | ({"properties": inner} if inner else {})


def _conditional(column: Column) -> str:
    if not column.needed_for:
        return column.description
    name, value = column.needed_for
    return f"{column.description} Required where {name} is {value}, and not looked at elsewhere."


def _type(column: Column) -> Schema:
    text: Schema = {"type": "string", "minLength": 1, "pattern": NO_NUL}
    if column.max_length:
        text["maxLength"] = column.max_length
    whole = _whole(column)
    match column.type:
        case Type.STRING:
            return text
        case Type.IDENTIFIER:
            return {"oneOf": [text, {"type": "integer"}]}
        case Type.TIMESTAMP:
            return {"oneOf": [{"type": "string", "format": "date-time"}, whole | {"description": "Since 1970, in ms."}]}
        case Type.INT | Type.LONG:
            # What a condition leaves out is not looked at, so anything may be there.
            return {} if column.needed_for else whole
        case Type.JSON_OBJECT:
            return {"type": "object"}
        case _:
            raise NotImplementedError(f"{column.name}: no JSON schema for {column.type}")


def _whole(column: Column) -> Schema:
    whole: Schema = {"type": "integer", "format": "int64"}
    if column.bounds:
        whole["minimum"], whole["maximum"] = column.bounds
    return whole


def _path(column: Column) -> str:
    return column.path or column.name
