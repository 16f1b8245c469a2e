"""Silver of Magic's sets, cards and prices, made by Spark of what bronze gained.

Whatever order messages came in, and however often: a table is the same, for a day of build decides what is newer.
"""

from __future__ import annotations

from datetime import date
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as sf

from lakehouse.adapters.iceberg.history import Mode, Read
from lakehouse.adapters.spark.scd2 import DELETE, INSERT, OPERATION, SINCE, UPDATE, Dimension, changes, merge
from lakehouse.adapters.spark.session import kept
from lakehouse.contracts.contract import Column as ContractColumn
from lakehouse.contracts.contract import Contract, Type
from lakehouse.contracts.lineage import AUDIT
from lakehouse.domains.mtg.tables import CARD_MEMBERS, CARD_OBJECT, CARD_VERSION, PRICE, SET, SET_MEMBERS
from lakehouse.ledger.built import Built, audited, pass_over
from lakehouse.ledger.misfits import refuse
from lakehouse.naming import MTG_CARDS, MTG_PRICES, MTG_SETS, TableName

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from lakehouse.adapters.spark.workspace import Workspace

CARDS = Dimension(
    key="uuid",
    attributes=("set_code", *(column.name for column in CARD_MEMBERS), CARD_OBJECT.name, "content_hash"),
    at="build_at",
    order=("kafka_timestamp", "kafka_partition", "kafka_offset"),
    latest=("edhrec_rank", "volatile"),
    latest_since="told_on",
    deleted="is_deleted",
)
_COORDINATES = ("kafka_topic", "kafka_partition", "kafka_offset")
_SPARK_TYPES = {
    Type.STRING: "string",
    Type.DATE: "date",
    Type.INT: "int",
    Type.LONG: "bigint",
    Type.DOUBLE: "double",
    Type.BOOLEAN: "boolean",
}
_BEFORE_ALL = date.min
"""Not after any build."""

Reason = tuple[str, str, str]
"""Error type, condition in SQL, and message."""

_CARD_REASONS: tuple[Reason, ...] = (
    ("NO_CARD", f"not is_deleted and ({CARD_OBJECT.name} is null or name is null)", "there is no card with a name"),
)
_SET_REASONS: tuple[Reason, ...] = (
    ("NO_SET", "not is_deleted and (set_object is null or name is null)", "there is no set with a name"),
)
_PRICE_REASONS: tuple[Reason, ...] = (
    (
        "INCOMPLETE_PRICE",
        "channel is null or provider is null or price_type is null or finish is null",
        "it does not say channel, provider, kind and finish",
    ),
    ("NOT_A_PRICE", "price is null", "it is no number of 12 digits before the point"),
    ("NEGATIVE_PRICE", "price < 0", "it is below zero"),
    ("TOO_PRECISE", "price <> try_cast(text as decimal(38, 20))", "it has more than 6 digits behind the point"),
)


def build_sets(work: Workspace) -> Built:
    """Take what is new in bronze: of each set it tells of, what its newest build says.

    Raises:
        LedgerConflictError: other writers of the dead letters won every race.
    """
    read = work.plan(MTG_SETS, SET)
    if read.mode is Mode.NOTHING:
        pass_over(work, SET, read)
        return Built(SET.table, read.mode, 0)
    known = _known(work, SET.table)
    # What comes in order takes the place of all that was said before, which need not be read again.
    with kept(_begins(work, read, known, "set_code", "build_date")) as begins:
        parsed = _members(_told_since(work, read, begins, "set_code"), "set", "set_object", SET_MEMBERS)
        parsed = parsed.withColumn("tokens", sf.expr("json_array_length(get_json_object(set_object, '$.tokens'))"))
        with kept(_judged(parsed, _SET_REASONS)) as judged:
            refused = _refuse(work, SET, judged.where("reason is not null"), "set_code")
            good = judged.where("reason is null")
            # A set that is gone keeps what was last said of it.
            names = [column.name for column in SET.fields if column.name not in ("is_deleted", "build_date")]
            said = _newest(good.where("not is_deleted"), ("set_code",)).select(names)
            in_place = begins.where(sf.col(SINCE) > sf.lit(_BEFORE_ALL))
            before = known.join(in_place, "set_code", "left_semi").join(said, "set_code", "left_anti").select(names)
            state = _newest(good, ("set_code",)).select("set_code", "is_deleted", "build_date")
            made = state.join(said.unionByName(before), "set_code", "left")
            held = known.join(begins, "set_code", "left_semi")
            count = _replace(work, SET, made, held, ("set_code",), read)
    return Built(SET.table, read.mode, count, refused)


def build_cards(work: Workspace) -> Built:
    """Take what is new in bronze into the history of the cards it tells of.

    Raises:
        LedgerConflictError: other writers of the dead letters won every race.
    """
    read = work.plan(MTG_CARDS, CARD_VERSION)
    if read.mode is Mode.NOTHING:
        pass_over(work, CARD_VERSION, read)
        return Built(CARD_VERSION.table, read.mode, 0)
    versions = _known(work, CARD_VERSION.table)
    # What comes in order adds to a card's history; else it is made anew: what was the latest of a version may not be.
    begins = _begins(work, read, versions, "uuid", "told_on")
    if read.mode is Mode.ALL:
        every = begins.select("uuid").union(versions.select("uuid")).distinct()
        begins = every.withColumn(SINCE, sf.lit(_BEFORE_ALL))
    with (
        kept(begins) as begins,
        kept(_judged(_observed(_told_since(work, read, begins, "uuid")), _CARD_REASONS)) as judged,
    ):
        refused = _refuse(work, CARD_VERSION, judged.where("reason is not null"), "uuid")
        observed = judged.where("reason is null").select(
            "uuid", CARDS.at, *CARDS.order, *CARDS.attributes, *CARDS.carried, "is_deleted"
        )
        since = begins.withColumn(SINCE, _at_midnight(SINCE))
        with changes(CARDS, versions, observed, since) as changed, kept(audited(changed, work, read)) as found:
            count = found.count()
            if count:
                with work.committing({MTG_CARDS: read.end}):
                    merge(work.target(CARD_VERSION.table), found, CARDS, [column.name for column in AUDIT])
    pass_over(work, CARD_VERSION, read)
    return Built(CARD_VERSION.table, read.mode, count, refused)


def build_prices(work: Workspace) -> Built:
    """Take what is new in bronze: of each card and day it tells of, the prices of the newest build.

    Raises:
        LedgerConflictError: other writers of the dead letters won every race.
    """
    read = work.plan(MTG_PRICES, PRICE)
    if read.mode is Mode.NOTHING:
        pass_over(work, PRICE, read)
        return Built(PRICE.table, read.mode, 0)
    with kept(work.rows(read).select("uuid", "price_date").distinct()) as touched:
        bounds = touched.agg(sf.min("price_date"), sf.max("price_date")).first()
        assert bounds
        on_days = sf.col("price_date").between(*(sf.lit(day) for day in bounds))
        told = work.as_of(read).where(on_days).join(touched, ["uuid", "price_date"], "left_semi")
        with kept(_judged(_exploded(_newest(told, ("uuid", "price_date"))), _PRICE_REASONS)) as judged:
            refused = _refuse(
                work, PRICE, judged.where("reason is not null").dropDuplicates(list(_COORDINATES)), "uuid"
            )
            made = judged.where("reason is null")
            known = _known(work, PRICE.table).where(on_days).join(touched, ["uuid", "price_date"], "left_semi")
            names = ("uuid", "price_date", "channel", "provider", "price_type", "finish", "currency")
            count = _replace(work, PRICE, made, known, names, read, within=("price_date", *bounds))
    return Built(PRICE.table, read.mode, count, refused)


def _begins(work: Workspace, read: Read, known: DataFrame, key: str, told_on: str) -> DataFrame:
    """What bronze has news of, and in `SINCE` from which day of build on it is to be read.

    That is the first day of the news, where all of it is later than what is known; else the beginning.

    Args:
        work: Where.
        read: The news.
        known: What is there already.
        key: Column that tells things apart.
        told_on: Column of what is known with the build that told of it.
    """
    news = work.rows(read).groupBy(key).agg(sf.min("build_date").alias("_first"))
    known = known.groupBy(key).agg(sf.max(told_on).alias("_told_on"))
    in_order = sf.col("_told_on").isNull() | (sf.col("_first") > sf.col("_told_on"))
    since = sf.when(in_order, sf.col("_first")).otherwise(sf.lit(_BEFORE_ALL))
    return news.join(known, key, "left").select(key, since.alias(SINCE))


def _told_since(work: Workspace, read: Read, begins: DataFrame, key: str) -> DataFrame:
    """All that bronze has of some things since a day of build for each; `begins` is read twice."""
    floor = begins.agg(sf.min(SINCE)).first()
    assert floor
    told = work.as_of(read).where(sf.col("build_date") >= sf.lit(floor[0])).join(begins, key)
    return told.where(sf.col("build_date") >= sf.col(SINCE)).drop(SINCE)


def _at_midnight(day: str) -> Column:
    """Midnight (UTC) of a column's days."""
    return sf.col(day).cast("timestamp")


def _known(work: Workspace, name: TableName) -> DataFrame:
    """A table as it is now, pinned; the name alone would be read again at each use."""
    head = work.head(name)
    return work.at(name, head.snapshot_id) if head else work.spark.read.table(name.spark)


def _newest(rows: DataFrame, key: tuple[str, ...]) -> DataFrame:
    """Of each key the row of the newest build, of that the one that came last."""
    names = ("build_date", "kafka_timestamp", "kafka_partition", "kafka_offset")
    newest_first = Window.partitionBy(*key).orderBy(*(sf.col(name).desc_nulls_last() for name in names))
    return rows.withColumn("_n", sf.row_number().over(newest_first)).where("_n = 1").drop("_n")


def _members(rows: DataFrame, member: str, object_name: str, columns: tuple[ContractColumn, ...]) -> DataFrame:
    """The rows with a message's object as JSON, and some of its members by themselves; what is absent is null."""
    rows = rows.withColumn(object_name, sf.from_json("raw_payload", f"struct<`{member}`: string>")[member])
    types = ", ".join(f"`{column.path or column.name}`: {_SPARK_TYPES[column.type]}" for column in columns)
    rows = rows.withColumn("_object", sf.from_json(object_name, f"struct<{types}>"))
    return rows.withColumns({c.name: sf.col("_object")[c.path or c.name] for c in columns}).drop("_object")


def _observed(rows: DataFrame) -> DataFrame:
    rows = _members(rows, "card", CARD_OBJECT.name, CARD_MEMBERS)
    return rows.withColumns(
        {
            "volatile": sf.from_json("raw_payload", "struct<volatile: string>")["volatile"],
            "edhrec_rank": sf.from_json("raw_payload", "struct<volatile: struct<edhrecRank: bigint>>")["volatile"][
                "edhrecRank"
            ],
            "told_on": sf.col("build_date"),
            CARDS.at: _at_midnight("build_date"),
        }
    )


def _exploded(rows: DataFrame) -> DataFrame:
    """A row a price, with the `text` of its number."""
    names = ("channel", "provider", "price_type", "finish", "currency")
    one = "struct<" + ", ".join(f"{name}: string" for name in (*names, "price")) + ">"
    rows = rows.withColumn("_price", sf.explode(sf.from_json("raw_payload", f"struct<prices: array<{one}>>")["prices"]))
    rows = rows.withColumns({name: sf.col("_price")[name] for name in names})
    # An exponent of millions would be written out, digit by digit; as no number at all it is refused.
    is_plain = ~sf.col("_price")["price"].rlike("[eE][+-]?[0-9]{3}")
    rows = rows.withColumn("text", sf.when(is_plain, sf.col("_price")["price"])).drop("_price")
    return rows.withColumn("price", sf.expr("try_cast(text as decimal(18, 6))"))


def _judged(rows: DataFrame, reasons: tuple[Reason, ...]) -> DataFrame:
    """The rows, each with the `reason` for which it is refused: error type and message, or null."""
    found: list[Column] = [
        sf.when(sf.expr(condition), sf.struct(sf.lit(kind).alias("error_type"), sf.lit(said).alias("error_message")))
        for kind, condition, said in reasons
    ]
    return rows.withColumn("reason", sf.coalesce(*found))


def _refuse(work: Workspace, contract: Contract, misfits: DataFrame, known_by: str) -> int:
    """Make letters of the rows with a reason; they are committed first, so a run that ends leaves nothing unsaid."""
    columns = (*_COORDINATES, sf.col(known_by).alias("event_id"), "raw_payload", "ingested_at", "reason.*")
    return refuse(work.catalog, contract, misfits.select(*columns).toArrow(), run_id=work.run_id)


def _replace(
    work: Workspace,
    contract: Contract,
    made: DataFrame,
    known: DataFrame,
    key: tuple[str, ...],
    read: Read,
    *,
    within: tuple[str, date, date] | None = None,
) -> int:
    """Put rows in the place of known ones, in one commit that touches those alone that are others now.

    Args:
        work: Where.
        contract: Of the table.
        made: What should be there.
        known: What is there of the same things.
        key: Columns that tell rows apart; a value may be null.
        read: What was read for it.
        within: A column of the key, and its first and last value: nowhere else is anything looked for.

    Returns:
        How many rows were added, changed or removed.
    """
    values = tuple(column.name for column in contract.fields if column.name not in key)
    new = made.select(*key, sf.struct(*values).alias("_new"))
    old = known.select(*key, sf.struct(*values).alias("_old"))
    both = new.unionByName(old, allowMissingColumns=True)
    both = both.groupBy(*key).agg(*(sf.first(name, ignorenulls=True).alias(name) for name in ("_new", "_old")))
    operation = (
        sf.when(sf.col("_new").isNull(), DELETE)
        .when(sf.col("_old").isNull(), INSERT)
        .when(~sf.col("_new").eqNullSafe(sf.col("_old")), sf.lit(UPDATE))
    )
    both = both.withColumn(OPERATION, operation).where(sf.col(OPERATION).isNotNull())
    columns = [column.name for column in contract.columns]
    found = audited(both.select(*key, "_new.*", OPERATION), work, read)
    with kept(found) as found:
        count = found.count()
        if count:
            target = work.target(contract.table)
            table = target.rpartition(".")[2]
            is_same = reduce(lambda a, b: a & b, (sf.col(f"{table}.{n}").eqNullSafe(sf.col(f"found.{n}")) for n in key))
            if within:
                name, first, last = within
                is_same &= sf.col(f"{table}.{name}").between(sf.lit(first), sf.lit(last))
            taken = {name: sf.col(f"found.{name}") for name in columns}
            with work.committing({read.table: read.end}):
                writer = found.alias("found").mergeInto(target, is_same)
                writer = writer.whenMatched(sf.col(f"found.{OPERATION}") == DELETE).delete()
                writer.whenMatched().update(taken).whenNotMatched().insert(taken).merge()
    pass_over(work, contract, read)
    return count
