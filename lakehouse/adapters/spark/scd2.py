"""Slowly changing dimensions of type 2: the versions of a thing, from what was observed of it.

An observation says which attributes a key had at a time; a version is a longest run of observations that say the same.
Observations may come late and out of order: from the earliest new one of a key on, its history is made anew out of all
observations since, and what was before stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as sf

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

VALIDITY = ("valid_from", "valid_to", "is_current", "version")
"""Columns of every version: ``valid_from ≤ t < valid_to``, null while open; versions of a key count from 1."""
OPERATION = "operation"
SINCE = "_since"
INSERT, UPDATE, DELETE = "insert", "update", "delete"


@dataclass(frozen=True)
class Dimension:
    """What identifies a thing, what of it is tracked, and how its observations are ordered."""

    key: str
    attributes: tuple[str, ...]
    at: str
    """Column of an observation with its time."""
    order: tuple[str, ...]
    """Columns that order observations of the same time: the last one counts."""
    deleted: str | None = None
    """Column of an observation that is true where the thing was gone; its other attributes do not matter then."""

    @property
    def version_columns(self) -> tuple[str, ...]:
        """Columns of a version, in order."""
        return (self.key, *self.attributes, *VALIDITY)


def build_versions(dimension: Dimension, observations: DataFrame) -> DataFrame:
    """The versions that observations make: disjoint, one current a key, without a gap but where it was deleted.

    Args:
        dimension: Which.
        observations: Key, time, order, attributes; all there are. May repeat.
    """
    return _versions(dimension, observations.withColumn("_before", sf.lit(0)))


def changes(dimension: Dimension, versions: DataFrame, observations: DataFrame, since: DataFrame) -> DataFrame:
    """What has to change in a table of versions, so that it tells of observations that came since.

    Args:
        dimension: Which.
        versions: The table.
        observations: Of each key whose history changes: all from a time on, old and new.
        since: These keys, and in `SINCE` that time.

    Returns:
        Columns of a version and `OPERATION`. A version is known by key and ``valid_from``; those that stay as they
        are are not among the rows.
    """
    key, at = dimension.key, dimension.at
    touched = versions.select(*dimension.version_columns).join(since, key)
    is_before = sf.col("valid_from") < sf.col(SINCE)
    newest_first = Window.partitionBy(key).orderBy(sf.col("valid_from").desc())
    # The version that holds when the new story begins: it may be cut short, or go on. A thing that was gone has none.
    anchors = touched.where(is_before).withColumn("_n", sf.row_number().over(newest_first)).where("_n = 1")
    anchors = anchors.where(sf.col("valid_to").isNull() | (sf.col("valid_to") >= sf.col(SINCE)))
    counted = touched.where(is_before).groupBy(key).agg(sf.max("version").alias("_counted"))
    begun = anchors.select(
        key,
        sf.col("valid_from").alias(at),
        *(sf.lit(None).cast(observations.schema[name].dataType).alias(name) for name in dimension.order),
        *dimension.attributes,
        *([sf.lit(False).alias(dimension.deleted)] if dimension.deleted else []),
    )
    columns = [key, at, *dimension.order, *dimension.attributes, *([dimension.deleted] if dimension.deleted else [])]
    story = observations.select(*columns).unionByName(begun.select(*columns))
    is_begun = begun.select(key, sf.lit(1).alias("_anchor"))
    before = counted.join(is_begun, key, "left").select(
        key, (sf.col("_counted") - sf.coalesce(sf.col("_anchor"), sf.lit(0))).alias("_before")
    )
    story = story.join(before, key, "left").fillna(0, ["_before"])
    new = _versions(dimension, story)
    old = touched.join(anchors.select(key, sf.col("valid_from").alias("_from")), key, "left").where(
        ~is_before | (sf.col("valid_from") == sf.col("_from"))
    )
    return _difference(dimension, old.select(*dimension.version_columns), new)


def _versions(dimension: Dimension, story: DataFrame) -> DataFrame:
    """Versions of a story: observations with the number of versions before, in ``_before``."""
    key, at, deleted = dimension.key, dimension.at, dimension.deleted
    last_first = [sf.col(name).desc_nulls_last() for name in dimension.order]
    same_time = Window.partitionBy(key, at).orderBy(*last_first)
    in_time = Window.partitionBy(key).orderBy(at)
    said = story.withColumn("_n", sf.row_number().over(same_time)).where("_n = 1")
    gone = sf.coalesce(sf.col(deleted), sf.lit(False)) if deleted else sf.lit(False)
    state = sf.struct(gone.alias("gone"), *(sf.when(~gone, sf.col(name)).alias(name) for name in dimension.attributes))
    said = said.withColumn("_state", state)
    said = said.withColumn("_last", sf.lag("_state").over(in_time))
    turns = said.where(~sf.col("_state").eqNullSafe(sf.col("_last")))
    turns = turns.withColumn("valid_to", sf.lead(at).over(in_time)).where(~sf.col("_state.gone"))
    return turns.select(
        key,
        *dimension.attributes,
        sf.col(at).alias("valid_from"),
        "valid_to",
        sf.col("valid_to").isNull().alias("is_current"),
        (sf.col("_before") + sf.row_number().over(in_time)).cast("int").alias("version"),
    )


def _difference(dimension: Dimension, old: DataFrame, new: DataFrame) -> DataFrame:
    key = dimension.key
    compared = (*dimension.attributes, "valid_to", "is_current", "version")
    left = new.select(key, "valid_from", *compared, sf.lit(True).alias("_new"))
    right = old.select(
        sf.col(key).alias("_key"),
        sf.col("valid_from").alias("_from"),
        *(sf.col(name).alias(f"_{name}") for name in compared),
    )
    both = left.join(right, (sf.col(key) == sf.col("_key")) & (sf.col("valid_from") == sf.col("_from")), "full")
    is_same = reduce(_and, (sf.col(name).eqNullSafe(sf.col(f"_{name}")) for name in compared))
    operation = (
        sf.when(sf.col("_new").isNull(), DELETE).when(sf.col("_key").isNull(), INSERT).when(~is_same, sf.lit(UPDATE))
    )
    found = both.withColumn(OPERATION, operation).where(sf.col(OPERATION).isNotNull())
    return found.select(
        sf.coalesce(sf.col(key), sf.col("_key")).alias(key),
        *dimension.attributes,
        sf.coalesce(sf.col("valid_from"), sf.col("_from")).alias("valid_from"),
        "valid_to",
        "is_current",
        "version",
        OPERATION,
    )


def _and(one: Column, other: Column) -> Column:
    return one & other


def merge(table: str, found: DataFrame, dimension: Dimension, others: Sequence[str]) -> None:
    """Make a table of versions take `changes`.

    Args:
        table: Its name.
        found: The changes, with the other columns.
        dimension: Which.
        others: Columns beside those of a version, e.g. for the audit.
    """
    target = table.rpartition(".")[2]
    columns = (*dimension.version_columns, *others)
    values = {name: sf.col(f"found.{name}") for name in columns}
    is_same = (sf.col(f"{target}.{dimension.key}") == sf.col(f"found.{dimension.key}")) & (
        sf.col(f"{target}.valid_from") == sf.col("found.valid_from")
    )
    writer = found.alias("found").mergeInto(table, is_same)
    writer = writer.whenMatched(sf.col(f"found.{OPERATION}") == DELETE).delete()
    writer.whenMatched().update(values).whenNotMatched().insert(values).merge()
