"""Slowly changing dimensions of type 2: the versions of a thing, from what was observed of it.

An observation says which attributes a key had at a time; a version is a longest run of observations that say the same.
Observations may come late and out of order: from the earliest new one of a key on, its history is made anew out of all
observations since, and what was before stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as sf

from lakehouse.adapters.spark.session import kept

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

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
    latest: tuple[str, ...] = ()
    """Columns that make no version: of each version they hold what its last observation said."""
    latest_since: str | None = None
    """Column of an observation with its day, and of a version with the day since when it held its latest values."""
    deleted: str | None = None
    """Column of an observation that is true where the thing was gone; its other attributes do not matter then."""

    @property
    def carried(self) -> tuple[str, ...]:
        """Columns of a version that do not make it one."""
        return (*self.latest, *((self.latest_since,) if self.latest_since else ()))

    @property
    def version_columns(self) -> tuple[str, ...]:
        """Columns of a version, in order."""
        return (self.key, *self.attributes, *self.carried, *VALIDITY)


def build_versions(dimension: Dimension, observations: DataFrame) -> DataFrame:
    """The versions that observations make: disjoint, one current a key, without a gap but where it was deleted.

    Args:
        dimension: Which.
        observations: Key, time, order, attributes; all there are. May repeat.
    """
    return _versions(dimension, observations.withColumn("_before", sf.lit(0)))


@contextmanager
def changes(
    dimension: Dimension, versions: DataFrame, observations: DataFrame, since: DataFrame
) -> Iterator[DataFrame]:
    """What has to change in a table of versions, so that it tells of observations that came since.

    Within the block all that is told of the keys is kept: the table is read for them once.

    Args:
        dimension: Which.
        versions: The table.
        observations: Of each key whose history changes: all from a time on, old and new.
        since: These keys, and in `SINCE` that time.

    Yields:
        Columns of a version and `OPERATION`. A version is known by key and ``valid_from``; those that stay as they
        are are not among the rows.
    """
    with kept(_told(dimension, versions, observations, since)) as told:
        story = told.where(sf.col("version").isNull() | sf.col("_is_anchor"))
        yield _difference(dimension, told.where("_is_old"), _versions(dimension, story))


def _told(dimension: Dimension, versions: DataFrame, observations: DataFrame, since: DataFrame) -> DataFrame:
    """All that is told of the keys, versions and observations side by side, so that they are brought together once.

    ``_is_old`` says of a version that it may change, ``_is_anchor`` that it holds when the new story begins: it may be
    cut short, or go on; a thing that was gone has none. ``_before`` is the number of versions before the new story.
    """
    key = dimension.key
    of_key = Window.partitionBy(key)
    known = versions.select(*dimension.version_columns).join(since, key)
    known = known.withColumn(dimension.at, sf.col("valid_from"))
    told = known.unionByName(observations, allowMissingColumns=True)
    is_before = sf.col("version").isNotNull() & (sf.col("valid_from") < sf.col(SINCE))
    told = told.withColumn("_last", sf.max(sf.when(is_before, sf.col("valid_from"))).over(of_key))
    told = told.withColumn("_counted", sf.max(sf.when(is_before, sf.col("version"))).over(of_key))
    goes_on = sf.col("valid_to").isNull() | (sf.col("valid_to") >= sf.col(SINCE))
    is_anchor = is_before & (sf.col("valid_from") == sf.col("_last")) & goes_on
    told = told.withColumn("_is_anchor", sf.coalesce(is_anchor, sf.lit(False)))
    anchors = sf.max(sf.col("_is_anchor").cast("int")).over(of_key)
    told = told.withColumn("_before", sf.coalesce(sf.col("_counted"), sf.lit(0)) - anchors)
    return told.withColumn("_is_old", sf.col("version").isNotNull() & (~is_before | sf.col("_is_anchor")))


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
    is_turn = ~sf.col("_state").eqNullSafe(sf.col("_last"))
    if dimension.latest:
        said = _with_latest(dimension, said.withColumn("_turn", sf.sum(is_turn.cast("int")).over(in_time)))
    turns = said.where(is_turn)
    turns = turns.withColumn("valid_to", sf.lead(at).over(in_time)).where(~sf.col("_state.gone"))
    return turns.select(
        key,
        *dimension.attributes,
        *dimension.carried,
        sf.col(at).alias("valid_from"),
        "valid_to",
        sf.col("valid_to").isNull().alias("is_current"),
        (sf.col("_before") + sf.row_number().over(in_time)).cast("int").alias("version"),
    )


def _with_latest(dimension: Dimension, said: DataFrame) -> DataFrame:
    """Observations by ``_turn``, each with the latest values of its whole turn, and since when these held."""
    in_turn = Window.partitionBy(dimension.key, "_turn").orderBy(dimension.at)
    whole = in_turn.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    latest = {name: sf.last(name).over(whole) for name in dimension.latest}
    if dimension.latest_since:
        values = sf.struct(*dimension.latest)
        is_new = sf.row_number().over(in_turn).eqNullSafe(1) | ~values.eqNullSafe(sf.lag(values).over(in_turn))
        said = said.withColumn("_held_since", sf.when(is_new, sf.col(dimension.latest_since)))
        latest[dimension.latest_since] = sf.max("_held_since").over(whole)
    return said.withColumns(latest)


def _difference(dimension: Dimension, old: DataFrame, new: DataFrame) -> DataFrame:
    key = dimension.key
    told = (*dimension.attributes, *dimension.carried)
    said = (*told, "valid_to", "is_current", "version")
    both = new.select(key, "valid_from", sf.struct(*said).alias("_new")).unionByName(
        old.select(key, "valid_from", sf.struct(*said).alias("_old")), allowMissingColumns=True
    )
    both = both.groupBy(key, "valid_from").agg(
        *(sf.first(name, ignorenulls=True).alias(name) for name in ("_new", "_old"))
    )
    operation = (
        sf.when(sf.col("_new").isNull(), DELETE)
        .when(sf.col("_old").isNull(), INSERT)
        .when(~sf.col("_new").eqNullSafe(sf.col("_old")), sf.lit(UPDATE))
    )
    found = both.withColumn(OPERATION, operation).where(sf.col(OPERATION).isNotNull())
    values = {name: sf.col(f"_new.{name}").alias(name) for name in said}
    return found.select(
        key,
        *(values[name] for name in told),
        "valid_from",
        *(values[name] for name in ("valid_to", "is_current", "version")),
        OPERATION,
    )


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
