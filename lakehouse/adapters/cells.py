"""Tables whose every cell is text: the common form of what comes by column, whatever program made it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.adapters.batch import RECORDS, Batch, Range
from lakehouse.contracts.contract import Contract, Type

BATCH_ROWS = 50_000
"""Rows of a batch that is cut from a table."""

EMPTY_CELLS = ["", "NULL"]
"""Texts that stand for no value."""

_TEXT = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_dictionary,
    pa.types.is_null,
)
_READABLE: dict[Type, tuple[Callable[[pa.DataType], bool], ...]] = {
    Type.TIMESTAMP: (pa.types.is_timestamp,),
    Type.DATE: (pa.types.is_date,),
    Type.JSON_OBJECT: (pa.types.is_struct, pa.types.is_map),
}


def as_cells(columns: Iterable[pa.Array | pa.ChunkedArray], names: list[str]) -> pa.Table:
    """Columns of any type as text: times in ISO 8601, nested values as JSON."""
    return pa.table([_as_text(column) for column in columns], names=names)


def misnamed(contract: Contract, names: list[str], defaults: Collection[str] = ()) -> str | None:
    """Which column is there twice, or is required and not there, in words; None when the names are right.

    Args:
        contract: Names the columns that must be there.
        names: As the contract writes them.
        defaults: Columns that need not be there.
    """
    if twice := sorted({name for name in names if names.count(name) > 1}):
        return f"column {', '.join(twice)} is there more than once"
    required = [c.name for c in contract.fields if c.required and not c.derived and c.name not in defaults]
    missing = [name for name in required if name not in names]
    return f"no column {', '.join(missing)}" if missing else None


def unreadable(contract: Contract, types: Mapping[str, pa.DataType]) -> str | None:
    """Which column is of a type that its contract cannot read, in words; None when there is none."""
    fields = {column.name: column.type for column in contract.fields}
    for name, stored in types.items():
        allowed = (*_TEXT, *_READABLE.get(fields[name], ())) if name in fields else (_has_text,)
        if not any(is_allowed(stored) for is_allowed in allowed):
            return f"column {name} is {stored}; expected {f'{fields[name]}, or ' if name in fields else ''}text"
    return None


def _has_text(stored: pa.DataType) -> bool:
    """Whether `_as_text` makes something of every value. Bytes may be no text."""
    if pa.types.is_nested(stored) or pa.types.is_dictionary(stored):
        return True
    try:
        pa.nulls(1, stored).cast(pa.string())
    except pa.ArrowNotImplementedError:
        return False
    return "binary" not in str(stored)


def numbered(source: str, source_id: str, first: int, values: pa.Array, cells: pa.Table | None) -> Batch:
    """A batch of a delivery.

    Args:
        source: Name of the delivery.
        source_id: Hash of its content.
        first: Number of the first record.
        values: The records' bytes; null for those that have cells.
        cells: Text by column, where there is.
    """
    count = len(values)
    columns = [
        pa.repeat(pa.scalar(0, pa.int32()), count),
        pa.arange(first, first + count),
        pa.nulls(count, pa.timestamp("us", tz="UTC")),
        pa.nulls(count, pa.binary()),
        values,
    ]
    records = pa.table(columns, schema=RECORDS)
    if cells is None:
        # A blank line is no record: its number is in the range and in no row.
        records = records.filter(pc.greater(pc.binary_length(records["value"]), 0))
    return Batch(source, source_id, records, {0: Range(first, first + count)}, cells)


def _as_text(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    if pa.types.is_nested(column.type):
        texts = [
            None if value is None else json.dumps(value, default=str)
            for value in column.to_pylist(maps_as_pydicts="lossy")
        ]
        return pa.array(texts, pa.string())
    if pa.types.is_dictionary(column.type):
        # Arrow cannot look up the values of every kind of dictionary.
        column = column.cast(pa.dictionary(column.type.index_type, pa.string()))
    text = column.cast(pa.string())
    return pc.if_else(pc.is_in(text, pa.array(EMPTY_CELLS)), None, text)
