"""Gold of the conversions: a star of one fact and its dimensions, and what is counted from it. Made by Spark.

Days are the unit of work: a day with news is made anew, whole, and replaced in one commit a table. Which days those
are is said by the commits that the news came with, so a table that was not reached is caught up by the next run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

from pyspark.sql import functions as sf

from lakehouse.adapters.iceberg.catalog import ensure_table, find_table
from lakehouse.adapters.iceberg.history import Mode, plan_read, position_of, said_since
from lakehouse.adapters.spark.tables import as_of, committing, rows
from lakehouse.contracts.contract import Contract
from lakehouse.domains.conversions.silver import Built, audited
from lakehouse.domains.conversions.tables import DAILY, FACT, HOUR, HOURLY, POPULARITY, USER
from lakehouse.naming import CONVERSIONS, DIM_HOUR, DIM_USER, DIM_USERS, FACT_CONVERSIONS, TableName

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyspark.sql import Column, DataFrame, SparkSession

ANONYMOUS = "anonymous"
"""Key of the user of requests that have none."""
DAYS = "days"
"""What a commit says of the days that it replaced: a JSON list of them, or `EVERY_DAY`."""
EVERY_DAY = "all"
MANY = 1_000
"""More days than these are said as all of them."""
_PARTS = ((0, "night"), (6, "morning"), (12, "afternoon"), (18, "evening"))

Days = Sequence[str] | None
"""ISO dates; None for every day."""


def build_dim_user(spark: SparkSession, catalog: Catalog, *, run_id: str) -> Built:
    """Take the versions of users as they are in silver; they are replaced in one commit, where any of them changed."""
    table = ensure_table(catalog, USER)
    read = plan_read(DIM_USERS, find_table(catalog, DIM_USERS), position_of(table, DIM_USERS))
    if read.mode is Mode.NOTHING and table.current_snapshot() is not None:
        return Built(DIM_USER, read.mode, 0)
    nobody = spark.range(1).select(
        sf.lit(ANONYMOUS).alias("user_key"),
        sf.lit(True).alias("is_current"),
        sf.lit(1).alias("version"),
        sf.timestamp_micros(sf.lit(0)).alias("valid_from"),
    )
    versions = nobody
    if read.mode is not Mode.NOTHING:
        known = as_of(spark, DIM_USERS, read.end).withColumn("user_key", user_key())
        versions = known.unionByName(nobody, allowMissingColumns=True)
    return _replace(versions, USER, run_id, {DIM_USERS: read.end}, spark, None)


def build_dim_hour(spark: SparkSession, catalog: Catalog, *, run_id: str) -> Built:
    """The 24 hours, once."""
    if ensure_table(catalog, HOUR).current_snapshot() is not None:
        return Built(DIM_HOUR, Mode.NOTHING, 0)
    hour = sf.col("id").cast("int")
    part = sf.lit(None)
    for first, name in _PARTS:
        part = sf.when(hour >= first, name).otherwise(part)
    following = (hour + 1) % 24
    label = sf.format_string("%02d:00–%02d:00", hour, following)
    hours = spark.range(24).select(hour.alias("hour_key"), label.alias("label"), part.alias("part_of_day"))
    return _replace(hours, HOUR, run_id, {}, spark, None)


def build_fact(spark: SparkSession, catalog: Catalog, *, run_id: str, days: Days = ()) -> Built:
    """Make the days anew that have news, in events or in the versions of their users.

    Args:
        spark: A session.
        catalog: Where the tables are.
        run_id: For the audit columns.
        days: More days to make anew.
    """
    fact = ensure_table(catalog, FACT)
    events = plan_read(CONVERSIONS, find_table(catalog, CONVERSIONS), position_of(fact, CONVERSIONS))
    users_table = find_table(catalog, DIM_USERS)
    seen = position_of(fact, DIM_USERS)
    users = plan_read(DIM_USERS, users_table, seen)
    if events.end is None:
        return Built(FACT_CONVERSIONS, Mode.NOTHING, 0)
    news = set(days or ())
    is_known = users_table is None or (seen is not None and users_table.snapshot_by_id(seen) is not None)
    if days is None or events.mode is Mode.ALL or not is_known:
        chosen: Days = None
    else:
        if events.mode is Mode.CHANGES:
            news |= _days(rows(spark, events).select(sf.to_date("event_time").alias("day")))
        if users.end != seen:
            news |= _days(_rekeyed(spark, seen, users.end))
        if not news:
            return Built(FACT_CONVERSIONS, Mode.NOTHING, 0)
        chosen = sorted(news)
    facts = as_of(spark, CONVERSIONS, events.end)
    versions = as_of(spark, DIM_USERS, users.end) if users.end is not None else None
    made = make_facts(on_days(facts, chosen), versions)
    return _replace(made, FACT, run_id, {CONVERSIONS: events.end, DIM_USERS: users.end}, spark, chosen)


def build_mart(spark: SparkSession, catalog: Catalog, contract: Contract, *, run_id: str, days: Days = ()) -> Built:
    """Make the days of a mart anew that were made anew in the fact since it was looked at.

    Args:
        spark: A session.
        catalog: Where the tables are.
        contract: `DAILY`, `HOURLY` or `POPULARITY`.
        run_id: For the audit columns.
        days: More days to make anew.
    """
    mart, fact = ensure_table(catalog, contract), find_table(catalog, FACT_CONVERSIONS)
    newest = fact.current_snapshot() if fact is not None else None
    if fact is None or newest is None:
        return Built(contract.table, Mode.NOTHING, 0)
    seen = position_of(mart, FACT_CONVERSIONS)
    said = said_since(fact, seen, f"lakehouse.{DAYS}")
    chosen: Days = None
    if days is not None and seen is not None and said is not None and EVERY_DAY not in said:
        chosen = sorted({day for text in said for day in json.loads(text)} | set(days))
        if not chosen:
            return Built(contract.table, Mode.NOTHING, 0)
    facts = on_days(as_of(spark, FACT_CONVERSIONS, newest.snapshot_id), chosen)
    made = {DAILY: count_days, HOURLY: count_hours, POPULARITY: count_numbers}[contract](facts)
    return _replace(made, contract, run_id, {FACT_CONVERSIONS: newest.snapshot_id}, spark, chosen)


def make_facts(events: DataFrame, versions: DataFrame | None) -> DataFrame:
    """Facts of events: each with the key of the version of its user that was valid then.

    Args:
        events: Rows of silver.
        versions: Versions of users; None where there are none.
    """
    at = sf.col("e.event_time")
    facts = events.alias("e")
    key = sf.lit(ANONYMOUS)
    if versions is not None:
        keyed = versions.select("user_id", "valid_from", "valid_to", user_key().alias("user_key")).alias("v")
        is_valid = (sf.col("v.valid_from") <= at) & (sf.col("v.valid_to").isNull() | (at < sf.col("v.valid_to")))
        facts = facts.join(keyed, (sf.col("e.user_id") == sf.col("v.user_id")) & is_valid, "left")
        key = sf.coalesce(sf.col("v.user_key"), sf.when(sf.col("e.user_id").isNull(), ANONYMOUS))
    same = ("event_id", "event_time", "event_type", "status", "user_id", "input_number", "result_count")
    return facts.select(
        *(sf.col(f"e.{name}") for name in (*same, "response_time_nanos", "is_late_arrival")),
        key.alias("user_key"),
        sf.to_date(at).alias("date_key"),
        sf.hour(at).alias("hour_key"),
        (sf.col("e.status") == "ERROR").alias("is_error"),
    )


def count_days(facts: DataFrame) -> DataFrame:
    """Measures by day."""
    return _measures(facts, "date_key")


def count_hours(facts: DataFrame) -> DataFrame:
    """Measures by hour."""
    return _measures(facts, "date_key", "hour_key")


def count_numbers(facts: DataFrame) -> DataFrame:
    """How often each number was asked for, by day."""
    singles = facts.where("event_type = 'SINGLE' and input_number is not null")
    return singles.groupBy("date_key", "input_number").agg(
        sf.count("*").alias("conversions"), sf.count_distinct("user_id").alias("unique_users")
    )


def user_key(user: str = "user_id", since: str = "valid_from") -> Column:
    """Key of a version of a user: the same whenever and wherever it is made."""
    return sf.md5(sf.concat_ws("|", sf.col(user), sf.unix_micros(sf.col(since)).cast("string")))


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


def _measures(facts: DataFrame, *by: str) -> DataFrame:
    def count(condition: str) -> Column:
        return sf.count_if(sf.expr(condition))

    def rank(percent: int) -> Column:
        at = f"percentile_disc({percent / 100}) WITHIN GROUP (ORDER BY response_time_nanos)"
        return sf.expr(at).cast("long").alias(f"p{percent}_response_nanos")

    total = sf.count("*")
    return facts.groupBy(*by).agg(
        total.alias("conversions"),
        count("event_type = 'SINGLE'").alias("single_conversions"),
        count("event_type = 'RANGE'").alias("range_conversions"),
        sf.count_distinct("user_id").alias("unique_users"),
        count("user_id is null").alias("anonymous_conversions"),
        count("is_error").alias("errors"),
        (count("is_error") / total).alias("error_rate"),
        count("is_late_arrival").alias("late_conversions"),
        (count("is_late_arrival") / total).alias("late_share"),
        *(rank(percent) for percent in (50, 95, 99)),
    )


def _rekeyed(spark: SparkSession, before: int | None, after: int | None) -> DataFrame:
    """Days of facts whose user has other versions at their time than before."""
    columns = ("user_id", "valid_from", "valid_to")
    old, new = (as_of(spark, DIM_USERS, snapshot).select(*columns) for snapshot in (before, after))
    turned = old.exceptAll(new).unionByName(new.exceptAll(old)).alias("t")
    facts = spark.read.table(FACT_CONVERSIONS.spark).select("user_id", "event_time").alias("f")
    at = sf.col("f.event_time")
    is_within = (at >= sf.col("t.valid_from")) & (sf.col("t.valid_to").isNull() | (at < sf.col("t.valid_to")))
    touched = facts.join(turned, (sf.col("f.user_id") == sf.col("t.user_id")) & is_within, "leftsemi")
    return touched.select(sf.to_date(at).alias("day"))


def _days(frame: DataFrame) -> set[str]:
    return {str(row["day"]) for row in frame.distinct().toLocalIterator()}


def _replace(
    made: DataFrame,
    contract: Contract,
    run_id: str,
    reads: dict[TableName, int | None],
    spark: SparkSession,
    days: Days,
) -> Built:
    """Put rows in the place of all those of their table, or of some of its days, in one commit."""
    source = next(iter(reads.values()), None)
    rows_ = audited(made, run_id, source).select(*(column.name for column in contract.columns)).cache()
    try:
        count = rows_.count()
        known = {name: snapshot for name, snapshot in reads.items() if snapshot is not None}
        said = EVERY_DAY if days is None or len(days) > MANY else json.dumps(list(days))
        with committing(spark, known, **{DAYS: said}):
            rows_.writeTo(contract.table.spark).overwrite(
                _within(days, contract.partition_by[0][0] if days is not None else "")
            )
    finally:
        rows_.unpersist()
    return Built(contract.table, Mode.ALL if days is None else Mode.CHANGES, count)
