"""Silver of the conversions: events that make sense, and the users they tell of, with history. Made by Spark."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as sf

from lakehouse.adapters.iceberg.catalog import ensure_table, find_table
from lakehouse.adapters.iceberg.history import READ, Mode, Read, added, plan_read, position_of, since
from lakehouse.adapters.spark.scd2 import Dimension, changes, merge
from lakehouse.adapters.spark.tables import as_of, committing, rows
from lakehouse.contracts.contract import Rule
from lakehouse.contracts.lineage import AUDIT, LOADED_AT, SOURCE_SNAPSHOT
from lakehouse.domains.conversions.source import LARGEST, NUMERALS
from lakehouse.domains.conversions.tables import CONVERSION, TRACKED, USER_VERSION
from lakehouse.ledger.commit import append, until_won
from lakehouse.ledger.misfits import refuse
from lakehouse.naming import CONVERSION_EVENTS, CONVERSIONS, DIM_USERS, TableName

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table
    from pyspark.sql import Column, DataFrame, SparkSession

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


@dataclass(frozen=True)
class Built:
    """What a run did to a table."""

    table: TableName
    mode: Mode
    """How much of the source it looked at."""
    rows: int
    """Rows that were added, changed or removed."""
    refused: int = 0
    """Rows that became dead letters."""


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


def build_conversions(spark: SparkSession, catalog: Catalog, *, run_id: str) -> Built:
    """Take what is new in bronze: what makes sense into silver, once an event id, the rest to the dead letters.

    The letters are committed first, so a run that was ended leaves nothing unsaid; a repeat adds neither twice.

    Raises:
        LedgerConflictError: other writers of the dead letters won every race.
    """
    silver = ensure_table(catalog, CONVERSION)
    read = plan_read(CONVERSION_EVENTS, find_table(catalog, CONVERSION_EVENTS), position_of(silver, CONVERSION_EVENTS))
    if read.mode is Mode.NOTHING:
        return Built(CONVERSIONS, read.mode, 0)
    judged = judge(rows(spark, read)).cache()
    try:
        misfits = judged.where("reason is not null").select(
            *(column.name for column in CONVERSION.lineage if column.name.startswith("kafka_")),
            "raw_payload",
            "ingested_at",
            sf.col("reason.error_type").alias("error_type"),
            sf.col("reason.message").alias("error_message"),
        )
        refused = refuse(catalog, CONVERSION, misfits.toArrow(), run_id=run_id)
        good = first_of_each(judged.where("reason is null"))
        columns = [column.name for column in CONVERSION.columns]
        audited(good, run_id, read.end).select(*columns).createOrReplaceTempView(_CHANGES)
        last = silver.current_snapshot()
        days = days_of(good)
        if days is None:
            pass_over(silver, CONVERSION_EVENTS, read)
            return Built(CONVERSIONS, read.mode, 0, refused)
        # A repeat tells of the same time, so the days of the batch are all that have to be looked at.
        merge = f"""MERGE INTO {CONVERSIONS.spark} AS t USING {_CHANGES} AS s
ON t.event_id = s.event_id AND t.event_time >= TIMESTAMP '{days[0]}' AND t.event_time < TIMESTAMP '{days[1]}'
WHEN NOT MATCHED THEN INSERT ({", ".join(columns)}) VALUES ({", ".join(f"s.{name}" for name in columns)})"""
        with committing(spark, {CONVERSION_EVENTS: read.end}):
            spark.sql(merge).collect()
    finally:
        judged.unpersist()
    silver.refresh()
    new = since(silver, last.snapshot_id if last else None)
    if position_of(silver, CONVERSION_EVENTS) != read.end:
        pass_over(silver, CONVERSION_EVENTS, read)
    return Built(CONVERSIONS, read.mode, added(new, "added-records"), refused)


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


def build_users(spark: SparkSession, catalog: Catalog, *, run_id: str) -> Built:
    """Take what is new in silver into the history of the users it tells of."""
    dimension = ensure_table(catalog, USER_VERSION)
    source = find_table(catalog, CONVERSIONS)
    read = plan_read(CONVERSIONS, source, position_of(dimension, CONVERSIONS))
    if read.mode is Mode.NOTHING:
        return Built(DIM_USERS, read.mode, 0)
    events = as_of(spark, CONVERSIONS, read.end).where("user_id is not null")
    versions = spark.read.table(DIM_USERS.spark)
    if read.mode is Mode.CHANGES:
        new = rows(spark, read).where("user_id is not null")
        days = days_of(new)
        if days is None:
            pass_over(dimension, CONVERSIONS, read)
            return Built(DIM_USERS, read.mode, 0)
        begins = new.groupBy("user_id").agg(sf.min("event_time").alias("_since"))
        # The tier of a day is made of the day before.
        floor = sf.expr(f"TIMESTAMP '{days[0]}' - INTERVAL 1 DAY")
        events = events.where(sf.col("event_time") >= floor).join(begins, "user_id")
        observed = observations(events).where("event_time >= _since").drop("_since")
    else:
        observed = observations(events)
    observed = observed.select("user_id", "event_time", *USERS.order, *USERS.attributes).cache()
    found = audited(changes(USERS, versions, observed), run_id, read.end).cache()
    try:
        count = found.count()
        if count:
            with committing(spark, {CONVERSIONS: read.end}):
                merge(DIM_USERS.spark, found, USERS, [column.name for column in AUDIT])
        else:
            pass_over(dimension, CONVERSIONS, read)
    finally:
        found.unpersist()
        observed.unpersist()
    return Built(DIM_USERS, read.mode, count)


def pass_over(table: Table, source: TableName, read: Read) -> None:
    """Say in a commit without rows that there was nothing to take, so that it is not looked at again."""

    def say() -> None:
        table.refresh()
        append(table, table.schema().as_arrow().empty_table(), {}, {f"{READ}{source}": str(read.end)})

    until_won(table, say)


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


def audited(frame: DataFrame, run_id: str, snapshot_id: int | None) -> DataFrame:
    """The rows with the columns that say who made them, when, and of what."""
    values = {"_audit_run_id": run_id, LOADED_AT: datetime.now(UTC), SOURCE_SNAPSHOT: snapshot_id}
    return frame.withColumns({column.name: sf.lit(values[column.name]) for column in AUDIT})
