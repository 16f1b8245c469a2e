"""Silver of the conversions: events that make sense, and the users they tell of, with history. Made by Spark."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as sf

from lakehouse.adapters.iceberg.history import Mode, Read, added, since
from lakehouse.adapters.spark.scd2 import SINCE, Dimension, changes, merge
from lakehouse.adapters.spark.session import kept
from lakehouse.adapters.spark.workspace import Workspace
from lakehouse.contracts.contract import Contract, Rule
from lakehouse.contracts.lineage import AUDIT
from lakehouse.domains.conversions.source import LARGEST, NUMERALS
from lakehouse.domains.conversions.tables import CONVERSION, TRACKED, USER_VERSION
from lakehouse.ledger.built import Built, audited, pass_over
from lakehouse.ledger.misfits import refuse
from lakehouse.naming import CONVERSION_EVENTS, CONVERSIONS, DIM_USERS, TableName

if TYPE_CHECKING:
    from pyiceberg.table.snapshots import Snapshot
    from pyspark.sql import Column, DataFrame

Days = Sequence[str] | None
"""ISO dates; None for every day."""
DAYS = "days"
"""What a commit says of the days that it replaced: a JSON list of them, or `EVERY_DAY`."""
EVERY_DAY = "all"
MANY = 1_000
"""More days than these are said as all of them."""

HIGH_ACTIVITY = 10
"""Requests on the day before from which on a user is in the highest tier."""

USERS = Dimension(
    key="user_id",
    attributes=tuple(column.name for column in TRACKED),
    at="event_time",
    order=("kafka_partition", "kafka_offset", "event_id"),
)
_IN_ORDER = ("kafka_timestamp", "kafka_partition", "kafka_offset")
_CHANGES = "changes"
_BEFORE_ALL = -(10**15)
"""Microseconds; a time before every event."""


RULES = (
    Rule(
        "NUMBER_OUT_OF_RANGE",
        "input_number",
        f"event_type = 'SINGLE' and (input_number is null or input_number not between 1 and {LARGEST})",
        f"a single conversion needs a number from 1 to {LARGEST}",
    ),
    Rule(
        "WRONG_NUMERAL",
        "output_roman",
        "event_type = 'SINGLE' and output_roman is distinct from numeral and"
        " (output_roman is not null or status = 'SUCCESS')",
        "the Roman numeral is not that of the number",
    ),
    Rule(
        "NEGATIVE_RESPONSE_TIME",
        "response_time_nanos",
        "response_time_nanos < 0",
        "the response time is negative",
    ),
    Rule(
        "INVALID_RANGE",
        "range_min",
        f"event_type = 'RANGE' and not coalesce(range_min between 1 and range_max and range_max <= {LARGEST}"
        " and least(coalesce(result_count, 0), coalesce(page_offset, 0), coalesce(page_limit, 0)) >= 0, false)",
        f"a range needs two numbers from 1 to {LARGEST} in order, and no count below zero",
    ),
)
"""What makes a conversion senseless; the first rule that holds is the reason."""


def build_conversions(work: Workspace, days: Days = ()) -> Built:
    """Take what is new in bronze: what makes sense into silver, once an event id, the rest to the dead letters.

    The letters are committed first, so a run that was ended leaves nothing unsaid; a repeat adds neither twice.

    Args:
        work: Where.
        days: Days to make anew, as ISO dates, instead of taking what is new.

    Raises:
        LedgerConflictError: other writers of the dead letters won every race.
    """
    read = work.plan(CONVERSION_EVENTS, CONVERSION)
    if read.mode is Mode.NOTHING and not (days and read.end):
        pass_over(work, CONVERSION, read)
        return Built(CONVERSIONS, Mode.NOTHING, 0)
    with kept(judge(on_days(work.as_of(read), days) if days else work.rows(read))) as judged:
        misfits = judged.where("reason is not null").select(
            *(column.name for column in CONVERSION.lineage if column.name.startswith("kafka_")),
            "event_id",
            "raw_payload",
            "ingested_at",
            sf.col("reason.error_type").alias("error_type"),
            sf.col("reason.message").alias("error_message"),
        )
        refused = refuse(work.catalog, CONVERSION, misfits.toArrow(), run_id=work.run_id)
        good = audited(first_of_each(judged.where("reason is null")), work, read)
        good = good.select(*(column.name for column in CONVERSION.columns))
        before = work.head(CONVERSIONS)
        if days:
            replace_days(work, CONVERSION, good, {}, days)
        else:
            _insert_new(work, good, read)
        new = since(work.catalog.load_table(CONVERSIONS.identifier), work.head(CONVERSIONS), _id(before))
    return Built(CONVERSIONS, read.mode, added(new or [], "added-records"), refused)


def _insert_new(work: Workspace, good: DataFrame, read: Read) -> None:
    bounds = days_of(good)
    if bounds is not None:
        good.createOrReplaceTempView(_CHANGES)
        columns = ", ".join(good.columns)
        # A repeat tells of the same time, so the days of the batch are all that have to be looked at.
        merge = f"""MERGE INTO {work.target(CONVERSIONS)} AS t USING {_CHANGES} AS s
ON t.event_id = s.event_id AND t.event_time >= TIMESTAMP '{bounds[0]}' AND t.event_time < TIMESTAMP '{bounds[1]}'
WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({", ".join(f"s.{name}" for name in good.columns)})"""
        with work.committing({CONVERSION_EVENTS: read.end}):
            work.spark.sql(merge).collect()
    pass_over(work, CONVERSION, read)


def judge(events: DataFrame) -> DataFrame:
    """The events, each with the `reason` for which it makes no sense: error type and message, or null."""
    reasons = (
        sf.when(
            sf.expr(rule.condition),
            sf.struct(sf.lit(rule.error_type).alias("error_type"), sf.lit(rule.message).alias("message")),
        )
        for rule in RULES
    )
    events = events.withColumn("event_type", sf.upper("event_type"))
    return events.withColumn("numeral", numeral(sf.col("input_number"))).withColumn("reason", sf.coalesce(*reasons))


def numeral(number: Column) -> Column:
    """A number from 1 to 3999 as a Roman numeral; null for any other."""
    left, text = number, sf.lit("")
    for value, letters in NUMERALS:
        text = sf.concat(text, sf.repeat(sf.lit(letters), sf.floor(left / value).cast("int")))
        left = left % value
    return sf.when(number.between(1, LARGEST), text)


def first_of_each(events: DataFrame) -> DataFrame:
    """Of each event id the record that came first."""
    in_order = Window.partitionBy("event_id").orderBy(*_IN_ORDER)
    return events.withColumn("_n", sf.row_number().over(in_order)).where("_n = 1").drop("_n")


def build_users(work: Workspace) -> Built:
    """Take what is new in silver into the history of the users it tells of."""
    read = work.plan(CONVERSIONS, USER_VERSION)
    if read.mode is Mode.NOTHING:
        pass_over(work, USER_VERSION, read)
        return Built(DIM_USERS, read.mode, 0)
    events = work.as_of(read).where("user_id is not null")
    head = work.head(DIM_USERS)
    versions = work.at(DIM_USERS, head.snapshot_id) if head else work.spark.read.table(DIM_USERS.spark)
    if read.mode is Mode.CHANGES:
        new = work.rows(read).where("user_id is not null")
        bounds = days_of(new)
        if bounds is None:
            pass_over(work, USER_VERSION, read)
            return Built(DIM_USERS, read.mode, 0)
        begins = new.groupBy("user_id").agg(sf.min("event_time").alias(SINCE))
        # The tier of a day is made of the day before.
        floor = sf.expr(f"TIMESTAMP '{bounds[0]}' - INTERVAL 1 DAY")
        events = events.where(sf.col("event_time") >= floor).join(begins, "user_id")
        observed = observations(events).where(sf.col("event_time") >= sf.col(SINCE))
    else:
        observed = observations(events)
        # Also users of whom there are no events any more.
        known = versions.select("user_id").union(observed.select("user_id")).distinct()
        begins = known.withColumn(SINCE, sf.timestamp_micros(sf.lit(_BEFORE_ALL)))
    with (
        kept(observed.select("user_id", "event_time", *USERS.order, *USERS.attributes)) as observed,
        changes(USERS, versions, observed, begins) as changed,
        kept(audited(changed, work, read)) as found,
    ):
        count = found.count()
        if count:
            with work.committing({CONVERSIONS: read.end}):
                merge(work.target(DIM_USERS), found, USERS, [column.name for column in AUDIT])
    pass_over(work, USER_VERSION, read)
    return Built(DIM_USERS, read.mode, count)


def replace_days(
    work: Workspace, contract: Contract, made: DataFrame, reads: Mapping[TableName, int | None], days: Days
) -> int:
    """Put rows in the place of all those of their table, or of some of its days, in one commit that says which days.

    Returns:
        How many rows there are now on these days.
    """
    with kept(made.select(*(column.name for column in contract.columns))) as rows:
        count = rows.count()
        with work.committing(reads, **{DAYS: saying(days)}):
            column = contract.partition_by[0][0] if contract.partition_by else ""
            rows.writeTo(work.target(contract.table)).overwrite(_within(days, column))
    return count


def saying(days: Days) -> str:
    """What a commit says of the days that it changed rows of, in `DAYS`."""
    return EVERY_DAY if days is None or len(days) > MANY else json.dumps(list(days))


def on_days(frame: DataFrame, days: Days, column: str = "event_time") -> DataFrame:
    """Rows of some days."""
    return frame.where(_within(days, column))


def _within(days: Days, column: str) -> Column:
    """Condition for rows of some days, by a column that holds their time or their day."""
    if days is None:
        return sf.lit(True)
    spans = (
        f"{column} >= DATE '{day}' AND {column} < DATE '{date.fromisoformat(day) + timedelta(days=1)}'" for day in days
    )
    return sf.expr(" OR ".join(f"({span})" for span in spans) or "false")


def observations(events: DataFrame) -> DataFrame:
    """What events of users say of them: the tracked attributes at the time of each event.

    Args:
        events: Of each user all from a day on, and all of the day before it.
    """
    day = sf.to_date("event_time")
    by_day = events.groupBy("user_id", sf.date_add(day, 1).alias("_day")).agg(sf.count("*").alias("_before"))
    counted = events.withColumn("_day", day).join(by_day, ["user_id", "_day"], "left")
    asked = sf.coalesce(sf.col("_before"), sf.lit(0))
    tier = sf.when(asked == 0, "LOW").when(asked < HIGH_ACTIVITY, "MEDIUM").otherwise("HIGH")
    network = sf.when(
        sf.col("client_ip").rlike(r"^\d+\.\d+\.\d+\.\d+$"),
        sf.concat(sf.substring_index("client_ip", ".", 3), sf.lit(".0/24")),
    ).otherwise(sf.col("client_ip"))
    return counted.withColumn("client_network", network).withColumn("activity_tier", tier).drop("_day", "_before")


def days_of(events: DataFrame) -> tuple[str, str] | None:
    """First day of the events and the day after their last one, at midnight UTC; None where there are none."""
    first, after = sf.min("event_time"), sf.max("event_time") + sf.expr("INTERVAL 1 DAY")
    found = events.agg(*(sf.date_format(at, "yyyy-MM-dd 00:00:00'Z'") for at in (first, after))).first()
    return None if found is None or found[0] is None else (found[0], found[1])


def _id(snapshot: Snapshot | None) -> int | None:
    return snapshot.snapshot_id if snapshot else None
