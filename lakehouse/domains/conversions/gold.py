"""Gold of the conversions: a star of one fact and its dimensions, and what is counted from it. Made by Spark.

Days are the unit of work: a day with news is made anew, whole, and replaced in one commit a table. Which days those
are is said by the commits that the news came with, so a table that was not reached is caught up by the next run.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as sf

from lakehouse.adapters.iceberg.catalog import find_table
from lakehouse.adapters.iceberg.history import Mode, Read, added, said, since
from lakehouse.adapters.spark.session import kept
from lakehouse.adapters.spark.workspace import Workspace
from lakehouse.contracts.contract import Contract
from lakehouse.domains.conversions.silver import DAYS, EVERY_DAY, on_days, replace_days
from lakehouse.domains.conversions.tables import DAILY, FACT, HOUR, HOURLY, POPULARITY, TRACKED, USER, USER_ID
from lakehouse.ledger.built import Built, audited, pass_over
from lakehouse.naming import CONVERSIONS, DIM_HOUR, DIM_USER, DIM_USERS, FACT_CONVERSIONS, TableName

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

ANONYMOUS = "anonymous"
"""Key of the user of requests that have none."""
_AFTER_ALL = datetime(9999, 1, 1, tzinfo=UTC)
_PARTS = ((0, "night"), (6, "morning"), (12, "afternoon"), (18, "evening"))


def build_dim_user(work: Workspace) -> Built:
    """Take the versions of users as they are in silver; they are replaced in one commit, where any of them changed."""
    read = work.plan(DIM_USERS, USER)
    if read.mode is Mode.NOTHING and work.head(DIM_USER) is not None:
        pass_over(work, USER, read)
        return Built(DIM_USER, read.mode, 0)
    nothing = sf.lit(None)
    versions = work.spark.range(1).select(
        sf.lit(ANONYMOUS).alias("user_key"),
        *(nothing.cast("string").alias(column.name) for column in (USER_ID, *TRACKED)),
        sf.timestamp_micros(sf.lit(0)).alias("valid_from"),
        nothing.cast("timestamp").alias("valid_to"),
        sf.lit(True).alias("is_current"),
        sf.lit(1).alias("version"),
    )
    if read.end is not None:
        known = work.as_of(read).withColumn("user_key", user_key())
        versions = known.select(*versions.columns).unionByName(versions)
    count = replace_days(work, USER, audited(versions, work, read), {DIM_USERS: read.end}, None)
    return Built(DIM_USER, Mode.ALL, count)


def build_dim_hour(work: Workspace) -> Built:
    """The 24 hours, once."""
    if work.plan(DIM_HOUR, HOUR).end is not None:
        return Built(DIM_HOUR, Mode.NOTHING, 0)
    hour = sf.col("id").cast("int")
    part = sf.lit(None)
    for first, name in _PARTS:
        part = sf.when(hour >= first, name).otherwise(part)
    label = sf.format_string("%02d:00–%02d:00", hour, (hour + 1) % 24)
    hours = work.spark.range(24).select(hour.alias("hour_key"), label.alias("label"), part.alias("part_of_day"))
    made = audited(hours, work, Read(DIM_HOUR, Mode.ALL, None, None))
    return Built(DIM_HOUR, Mode.ALL, replace_days(work, HOUR, made, {}, None))


def build_fact(work: Workspace) -> Built:
    """Make the days anew that have news, in events or in the versions of their users."""
    events, users = work.plan(CONVERSIONS, FACT), work.plan(DIM_USERS, FACT)
    if events.end is None:
        return Built(FACT_CONVERSIONS, Mode.NOTHING, 0)
    seen = work.position(DIM_USERS, FACT)
    news = _days_with_news(work, events.end, work.position(CONVERSIONS, FACT))
    turned = _days_rekeyed(work, seen, users.end)
    days = None if news is None or turned is None else sorted(news | turned)
    if days is not None and not days:
        pass_over(work, FACT, events)
        pass_over(work, FACT, users)
        return Built(FACT_CONVERSIONS, Mode.NOTHING, 0)
    versions = work.as_of(users) if users.end is not None else None
    made = audited(make_facts(on_days(work.as_of(events), days), versions), work, events)
    count = replace_days(work, FACT, made, {CONVERSIONS: events.end, DIM_USERS: users.end}, days)
    return Built(FACT_CONVERSIONS, Mode.ALL if days is None else Mode.CHANGES, count)


def build_mart(work: Workspace, contract: Contract) -> Built:
    """Make the days of a mart anew that were made anew in the fact since it was looked at.

    Args:
        work: Where.
        contract: `DAILY`, `HOURLY` or `POPULARITY`.
    """
    read = work.plan(FACT_CONVERSIONS, contract)
    if read.end is None:
        return Built(contract.table, Mode.NOTHING, 0)
    news = _days_with_news(work, read.end, work.position(FACT_CONVERSIONS, contract), FACT_CONVERSIONS)
    days = None if news is None else sorted(news)
    if days is not None and not days:
        pass_over(work, contract, read)
        return Built(contract.table, Mode.NOTHING, 0)
    count_them = {DAILY: count_days, HOURLY: count_hours, POPULARITY: count_numbers}[contract]
    made = audited(count_them(on_days(work.as_of(read), days)), work, read)
    count = replace_days(work, contract, made, {FACT_CONVERSIONS: read.end}, days)
    return Built(contract.table, Mode.ALL if days is None else Mode.CHANGES, count)


def _days_with_news(
    work: Workspace, end: int | None, position: int | None, source: TableName = CONVERSIONS
) -> set[str] | None:
    """Days of a source with other rows than at a position: what was appended, and what commits say they replaced.

    None for every day: where there is no position, or a commit that took rows away does not say from which days.
    """
    table = find_table(work.catalog, source)
    newest = table.snapshot_by_id(end) if table is not None and end is not None else None
    if table is None or newest is None or position is None or (new := since(table, newest, position)) is None:
        return None
    days: set[str] = set()
    for snapshot in new:
        text = said(snapshot).get(f"lakehouse.{DAYS}")
        if text == EVERY_DAY or (text is None and added([snapshot], "deleted-data-files")):
            return None
        days |= set(json.loads(text or "[]"))
    if any(f"lakehouse.{DAYS}" not in said(snapshot) and added([snapshot], "added-records") for snapshot in new):
        days |= _days(work.appended(source, position, end).select(sf.to_date("event_time").alias("day")))
    return days


def make_facts(events: DataFrame, versions: DataFrame | None) -> DataFrame:
    """Facts of events: each with the key of the version of its user that was valid then.

    Args:
        events: Rows of silver.
        versions: Versions of users; None where there are none.
    """
    key: Column = sf.lit(ANONYMOUS)
    if versions is not None:
        events = _with_version(events, versions)
        is_valid = sf.coalesce(sf.col("event_time") < sf.col("_version.valid_to"), sf.lit(True))
        key = sf.when(sf.col("user_id").isNull(), ANONYMOUS).when(is_valid, sf.col("_version.user_key"))
    same = ("event_id", "event_time", "event_type", "status", "user_id", "input_number", "result_count")
    return events.select(
        *(*same, "response_time_nanos", "is_late_arrival"),
        key.alias("user_key"),
        sf.to_date("event_time").alias("date_key"),
        sf.hour("event_time").alias("hour_key"),
        (sf.col("status") == "ERROR").alias("is_error"),
    )


def _with_version(events: DataFrame, versions: DataFrame) -> DataFrame:
    """Events, each with the last version of its user that had begun, in ``_version``.

    Both go in one line by time. A join would look at every pair of a user's events and versions, of which somebody who
    is at work all day has thousands.
    """
    version = sf.struct(user_key().alias("user_key"), "valid_to")
    begun = versions.select("user_id", sf.col("valid_from").alias("event_time"), version.alias("_begins"))
    line = events.withColumn("_is_event", sf.lit(True)).unionByName(
        begun.withColumn("_is_event", sf.lit(False)), allowMissingColumns=True
    )
    # Those who are nobody have no versions, and each is put apart, so that they do not all come to one task.
    who = sf.coalesce("user_id", "event_id"), sf.col("user_id").isNull()
    in_time = Window.partitionBy(*who).orderBy("event_time", "_is_event")
    told = line.withColumn("_version", sf.last("_begins", ignorenulls=True).over(in_time))
    return told.where("_is_event")


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


def _days_rekeyed(work: Workspace, before: int | None, after: int | None) -> set[str] | None:
    """Days of facts whose user has other versions at their time than before; None where nobody knows."""
    facts = work.head(FACT_CONVERSIONS)
    users = find_table(work.catalog, DIM_USERS)
    if after is None or after == before or facts is None:
        return set()
    if before is None or users is None or users.snapshot_by_id(before) is None:
        return None
    with kept(_turned(*(work.at(DIM_USERS, snapshot) for snapshot in (before, after)))) as turned:
        first = turned.agg(sf.min("since").alias("first")).toArrow()["first"][0].as_py()
        if first is None:
            return set()
        known = work.at(FACT_CONVERSIONS, facts.snapshot_id).where(sf.col("event_time") >= sf.lit(first)).alias("f")
        at = sf.col("f.event_time")
        is_within = (at >= sf.col("t.since")) & (at < sf.col("t.until"))
        is_touched = (sf.col("f.user_id") == sf.col("t.user_id")) & is_within
        touched = known.join(turned.alias("t"), is_touched, "leftsemi")
        return _days(touched.select(sf.to_date(at).alias("day")))


def _turned(old: DataFrame, new: DataFrame) -> DataFrame:
    """Users, and spans in which another version of them may hold: up to a later end where only an end moved."""

    def ends(versions: DataFrame, name: str) -> DataFrame:
        until = sf.coalesce("valid_to", sf.lit(_AFTER_ALL))
        return versions.select("user_id", "valid_from", until.alias(name))

    both = ends(old, "old").join(ends(new, "new"), ["user_id", "valid_from"], "full")
    is_in_both = sf.col("old").isNotNull() & sf.col("new").isNotNull()
    since = sf.when(is_in_both, sf.least("old", "new")).otherwise(sf.col("valid_from"))
    turned = both.select("user_id", since.alias("since"), sf.greatest("old", "new").alias("until"))
    # A user's intervals that begin on the same day are taken as one, lest each fact be held against all of them.
    spans = turned.where("since < until").groupBy("user_id", sf.to_date("since"))
    return spans.agg(sf.min("since").alias("since"), sf.max("until").alias("until")).select("user_id", "since", "until")


def _days(frame: DataFrame) -> set[str]:
    return {str(row["day"]) for row in frame.distinct().toLocalIterator()}
