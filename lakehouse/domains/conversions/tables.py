"""Silver and gold of the conversions: their columns."""

from __future__ import annotations

from lakehouse.contracts.contract import Column, Contract, Transform, Type
from lakehouse.contracts.lineage import AUDIT, KAFKA_COORDINATES, LATENESS, VALIDITY
from lakehouse.domains.conversions.contract import CONVERSION_EVENT
from lakehouse.naming import (
    BACKFILL_LOG,
    CONVERSIONS,
    CONVERSIONS_DAILY,
    CONVERSIONS_HOURLY,
    DIM_HOUR,
    DIM_USER,
    DIM_USERS,
    FACT_CONVERSIONS,
    NUMBER_POPULARITY,
)

USER_ID = Column("user_id", Type.STRING, "The user.", is_personal=True)
TRACKED = (
    Column(
        "api_key_prefix",
        Type.STRING,
        "First characters of the API key that the user's request came with.",
        is_personal=True,
    ),
    Column(
        "client_network",
        Type.STRING,
        "Network the request came from: an IPv4 address without its last part, any other address as it is.",
        is_personal=True,
    ),
    Column(
        "activity_tier",
        Type.STRING,
        "How much the user asked on the UTC day before: `LOW` nothing, `MEDIUM` up to 9 times, `HIGH` more often.",
        known_values=("LOW", "MEDIUM", "HIGH"),
    ),
)
"""Attributes of a user whose history is kept."""

CONVERSION = Contract(
    name="conversion",
    table=CONVERSIONS,
    version=1,
    description=(
        "Conversions that make sense, one row an event id. What does not is among the dead letters, with its rule."
    ),
    fields=CONVERSION_EVENT.fields,
    lineage=(*KAFKA_COORDINATES, *LATENESS, *AUDIT),
    partition_by=(("event_time", Transform.DAY),),
    event_id="event_id",
    event_time="event_time",
)

USER_VERSION = Contract(
    name="user_version",
    table=DIM_USERS,
    version=1,
    description=(
        "Users as their conversions show them, with history (SCD2): one row a user and time in which the tracked"
        " attributes were the same. By event time: what comes late is put in its place. Anonymous events make no user."
    ),
    fields=(USER_ID, *TRACKED, *VALIDITY),
    lineage=AUDIT,
    partition_by=(),
)

_USER_KEY = Column("user_key", Type.STRING, "Version of the user; `anonymous` for none. Key of gold.dim_user.")
_DATE_KEY = Column("date_key", Type.DATE, "UTC day of the event. Key of gold.dim_date.")
_MEASURES = (
    Column("conversions", Type.LONG, "Answered requests.", unit="requests"),
    Column("single_conversions", Type.LONG, "Requests for one number.", unit="requests"),
    Column("range_conversions", Type.LONG, "Requests for a range of numbers.", unit="requests"),
    Column("unique_users", Type.LONG, "Different users; anonymous ones are not counted.", unit="users"),
    Column("anonymous_conversions", Type.LONG, "Requests without a user.", unit="requests"),
    Column("errors", Type.LONG, "Requests that ended in an error.", unit="requests"),
    Column("error_rate", Type.DOUBLE, "Share of the requests that ended in an error, 0 to 1."),
    Column("late_conversions", Type.LONG, "Requests that were reported late: behind the watermark.", unit="requests"),
    Column("late_share", Type.DOUBLE, "Share of the requests that were reported late, 0 to 1."),
    *(
        Column(
            f"p{rank}_response_nanos",
            Type.LONG,
            f"Response time that {rank} % of the requests did not exceed, exact (nearest rank).",
            unit="ns",
        )
        for rank in (50, 95, 99)
    ),
)

USER = Contract(
    name="user",
    table=DIM_USER,
    version=1,
    description="Versions of users that facts point at, and one row for anonymous requests. Grain: user and version.",
    fields=(_USER_KEY, USER_ID, *TRACKED, *VALIDITY),
    lineage=AUDIT,
    partition_by=(),
)

HOUR = Contract(
    name="hour",
    table=DIM_HOUR,
    version=1,
    description="The 24 hours of a UTC day. Grain: hour.",
    fields=(
        Column("hour_key", Type.INT, "Hour of the day, 0 to 23 (UTC)."),
        Column("label", Type.STRING, "For charts, e.g. `09:00–10:00`."),
        Column("part_of_day", Type.STRING, "`night` from 0, `morning` from 6, `afternoon` from 12, `evening` from 18."),
    ),
    lineage=AUDIT,
    partition_by=(),
)

FACT = Contract(
    name="fact_conversion",
    table=FACT_CONVERSIONS,
    version=1,
    description="One row a conversion, with the version of the user that was valid at that time. Grain: event.",
    fields=(
        Column("event_id", Type.STRING, "Id of the event."),
        _USER_KEY,
        _DATE_KEY,
        Column("hour_key", Type.INT, "Hour of the event (UTC). Key of gold.dim_hour."),
        Column("event_time", Type.TIMESTAMP, "When the service answered (UTC)."),
        Column("event_type", Type.STRING, "Whether one number was asked for or a range of them."),
        Column("status", Type.STRING, "How it ended."),
        Column("user_id", Type.STRING, "Who asked; null for anonymous users.", is_personal=True),
        Column("input_number", Type.LONG, "Number that was converted; for single conversions."),
        Column("result_count", Type.LONG, "Numbers in the answer; for ranges."),
        Column("response_time_nanos", Type.LONG, "How long the answer took.", unit="ns"),
        Column("is_error", Type.BOOLEAN, "Whether it ended in an error."),
        Column("is_late_arrival", Type.BOOLEAN, "Whether it was reported late: behind the watermark."),
    ),
    lineage=AUDIT,
    partition_by=(("event_time", Transform.DAY),),
)

DAILY = Contract(
    name="conversions_daily",
    table=CONVERSIONS_DAILY,
    version=1,
    description="Conversions by day. Grain: UTC day with at least one.",
    fields=(_DATE_KEY, *_MEASURES),
    lineage=AUDIT,
    partition_by=(("date_key", Transform.IDENTITY),),
)

HOURLY = Contract(
    name="conversions_hourly",
    table=CONVERSIONS_HOURLY,
    version=1,
    description="Conversions by hour. Grain: UTC hour with at least one.",
    fields=(
        _DATE_KEY,
        Column("hour_key", Type.INT, "Hour of the day (UTC). Key of gold.dim_hour."),
        *_MEASURES,
    ),
    lineage=AUDIT,
    partition_by=(("date_key", Transform.IDENTITY),),
)

POPULARITY = Contract(
    name="number_popularity",
    table=NUMBER_POPULARITY,
    version=1,
    description="How often each number was asked for, by day. Grain: UTC day and number; single conversions only.",
    fields=(
        _DATE_KEY,
        Column("input_number", Type.LONG, "The number."),
        Column("conversions", Type.LONG, "Requests for it.", unit="requests"),
        Column("unique_users", Type.LONG, "Different users; anonymous ones are not counted.", unit="users"),
    ),
    lineage=AUDIT,
    partition_by=(("date_key", Transform.IDENTITY),),
)

BACKFILL = Contract(
    name="backfill",
    table=BACKFILL_LOG,
    version=1,
    description=(
        "Days of the conversions that were made anew: who asked for it, what the audits found, and what became of the"
        " tables. Grain: backfill and state; the newest state of a backfill is what holds."
    ),
    fields=(
        Column("backfill_id", Type.STRING, "The backfill; its branches are called `backfill_` and this."),
        Column(
            "state",
            Type.STRING,
            "`failed`: an audit did, the tables are as they were. `swapping`: all passed, the tables begin to move."
            " `done`: they have. `overtaken`: others wrote meanwhile, the days were made once more.",
            known_values=("failed", "swapping", "done", "overtaken"),
        ),
        Column("first_day", Type.DATE, "First day that was made anew (UTC)."),
        Column("last_day", Type.DATE, "Last one, included."),
        Column("written_at", Type.TIMESTAMP, "When the state was reached (UTC)."),
        Column("written_by", Type.STRING, "User whose process it was."),
        Column("run_id", Type.STRING, "Run that did it."),
        Column("problems", Type.STRING, "What the audits found, a line each; null when they passed."),
        Column("audits", Type.STRING, "JSON object: what each audit found, null where nothing is wrong."),
        Column("differences", Type.STRING, "JSON object: conversions before and after, by day."),
    ),
    lineage=(),
    partition_by=(),
)
