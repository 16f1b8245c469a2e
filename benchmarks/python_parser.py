"""The parser of the streaming job as a function in Python, for PyFlink; imports nothing of `lakehouse`.

It does less than the product's: it looks for the required fields and the times, and at nothing else.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pyflink.common import Row
from pyflink.table import DataTypes
from pyflink.table.udf import udf

FIELDS = (
    *("event_id", "event_time", "event_type", "user_id", "api_key_prefix", "client_ip", "correlation_id"),
    *("input_number", "output_roman", "range_min", "range_max", "result_count", "page_offset", "page_limit"),
    *("response_time_nanos", "status"),
)
REQUIRED = 3
"""So many of them, from the first on."""


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.title() for word in others)


SPELLINGS = [(name, _camel_case(name)) for name in FIELDS]
ANSWER = DataTypes.ROW(
    [
        DataTypes.FIELD("error_type", DataTypes.STRING()),
        DataTypes.FIELD("error_message", DataTypes.STRING()),
        DataTypes.FIELD("event_time", DataTypes.TIMESTAMP_WITH_LOCAL_TIME_ZONE(3)),
        DataTypes.FIELD("payload", DataTypes.STRING()),
        DataTypes.FIELD("texts", DataTypes.ARRAY(DataTypes.STRING())),
    ]
)


@udf(result_type=ANSWER)  # type: ignore[untyped-decorator]
def parse_record(value: bytes) -> Any:
    """The fields of a record, or what is wrong with it."""
    try:
        payload = value.decode()
        event = json.loads(payload)
        found = [event.get(name, event.get(other)) for name, other in SPELLINGS]
        texts = [None if field is None else str(field) for field in found]
        if not all(texts[:REQUIRED]):
            return Row("MISSING_FIELD", "required, but absent", None, None, None)
        return Row(None, None, _moment(found[1]), payload, texts)
    except (ValueError, TypeError, AttributeError) as error:
        return Row("INVALID_JSON", str(error), None, None, None)


def _moment(value: int | str) -> datetime:
    if isinstance(value, int):
        return datetime.fromtimestamp(value / 1000, UTC)
    return datetime.fromisoformat(value)
