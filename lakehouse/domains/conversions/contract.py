"""What the Roman numeral service says about a conversion."""

from __future__ import annotations

from lakehouse.contracts.contract import ID_LENGTH, Column, Contract, Transform, Type
from lakehouse.contracts.lineage import RAW_PAYLOAD, STREAMED
from lakehouse.naming import CONVERSION_EVENTS

CONVERSION_EVENT = Contract(
    name="conversion_event",
    table=CONVERSION_EVENTS,
    version=1,
    description="Conversions as the Roman numeral service reports them. One row an event id.",
    fields=(
        Column("event_id", Type.STRING, "Id of the event.", required=True, max_length=ID_LENGTH),
        Column("event_time", Type.TIMESTAMP, "When the service answered (UTC).", required=True),
        Column(
            "event_type",
            Type.STRING,
            "Whether one number was asked for or a range of them.",
            required=True,
            max_length=ID_LENGTH,
            known_values=("SINGLE", "RANGE"),
        ),
        Column(
            "user_id",
            Type.IDENTIFIER,
            "Who asked; null for anonymous users.",
            max_length=ID_LENGTH,
            is_personal=True,
        ),
        Column(
            "api_key_prefix",
            Type.STRING,
            "First characters of the API key.",
            max_length=ID_LENGTH,
            is_personal=True,
        ),
        Column("client_ip", Type.STRING, "Address the request came from.", max_length=ID_LENGTH, is_personal=True),
        Column("correlation_id", Type.STRING, "Id of the request across services.", max_length=ID_LENGTH),
        Column("input_number", Type.LONG, "Number that was converted; for single conversions."),
        Column("output_roman", Type.STRING, "Its Roman numeral.", max_length=ID_LENGTH),
        Column("range_min", Type.LONG, "First number of the range; for ranges."),
        Column("range_max", Type.LONG, "Last number of the range."),
        Column("result_count", Type.LONG, "Numbers in the answer."),
        Column("page_offset", Type.LONG, "Numbers of the range before the answer's first."),
        Column("page_limit", Type.LONG, "Numbers that an answer holds at most."),
        Column("response_time_nanos", Type.LONG, "How long the answer took.", unit="ns"),
        Column("status", Type.STRING, "How it ended.", max_length=ID_LENGTH, known_values=("SUCCESS", "ERROR")),
    ),
    lineage=STREAMED,
    partition_by=(("event_time", Transform.DAY),),
    event_id="event_id",
    event_time="event_time",
    raw_payload=RAW_PAYLOAD.name,
)


def spellings(name: str) -> tuple[str, ...]:
    """How a record may spell a field: as its column, or in camel case."""
    first, *others = name.split("_")
    return tuple(dict.fromkeys((name, first + "".join(word.title() for word in others))))
