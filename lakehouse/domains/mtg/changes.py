"""What a build says that is not known yet, as messages: its rows are held against what bronze holds, by DuckDB.

Builds may be taken in any order, and again. A message is due for what differs from the newest that was said up to the
day of the build. Where a later build was taken before, and had nothing new to say about a thing that changes now, it
says again what it said: else the older build's word would go on to hold after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.expressions import And, BooleanExpression

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.adapters.iceberg.filters import at_least, at_most
from lakehouse.adapters.iceberg.history import ALL_ROWS
from lakehouse.contracts.contract import Contract
from lakehouse.domains.mtg.contract import BUILD_RECORD, CARD_MESSAGE, PRICE_MESSAGE, SET_MESSAGE
from lakehouse.domains.mtg.source import ALL_PRINTINGS, Build
from lakehouse.domains.mtg.spool import KEYS, PAYLOAD, VOLATILE_PAYLOAD, Part

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

MEMORY = "192MB"
"""What DuckDB may use; more goes to the disk."""
AT_ONCE = 1_000
"""Messages that are made at once."""

MEMBERS = {
    SET_MESSAGE.name: {"set": PAYLOAD},
    CARD_MESSAGE.name: {"card": PAYLOAD, "volatile": VOLATILE_PAYLOAD},
    PRICE_MESSAGE.name: {"prices": PAYLOAD},
}
"""Members of a message that hold MTGJSON's object, and their columns in a spool."""
_IDENTITY = {SET_MESSAGE.name: ("set_code",), CARD_MESSAGE.name: ("uuid",), PRICE_MESSAGE.name: ("uuid", "price_date")}
_COORDINATES = ("kafka_topic", "kafka_partition", "kafka_offset")


@dataclass(frozen=True)
class Messages:
    """Messages for a topic, and how many of each kind there are."""

    changed: int
    gone: int
    said_again: int
    batches: Iterator[pa.RecordBatch]
    """Columns ``key`` and ``value``, texts, in the order in which they must be sent."""


def find_changes(
    catalog: Catalog, contract: Contract, spool: Path, build: Build, parts: Sequence[Part], folder: Path
) -> Messages:
    """Messages that a build makes due.

    Args:
        catalog: Where bronze is.
        contract: Which kind of message.
        spool: What the build says, as `spool` writes it.
        build: Which build.
        parts: What of it the spool holds; of these, what is missing there is gone.
        folder: For what does not fit into memory.
    """
    comparison = _Comparison(catalog, contract, spool, build, parts, folder)
    comparison.load()
    return comparison.messages()


class _Comparison:
    def __init__(
        self, catalog: Catalog, contract: Contract, spool: Path, build: Build, parts: Sequence[Part], folder: Path
    ) -> None:
        self._contract, self._spool, self._build, self._parts = contract, spool, build, parts
        self._table = ensure_table(catalog, contract)
        self._builds = ensure_table(catalog, BUILD_RECORD)
        self._identity = _IDENTITY[contract.name]
        self._is_price = contract is PRICE_MESSAGE
        self._objects = MEMBERS[contract.name]
        self._on = ", ".join(self._identity)
        self._duckdb = duckdb.connect(
            str(folder / f"{contract.name}.duckdb"),
            config={"memory_limit": MEMORY, "temp_directory": str(folder), "threads": 2},
        )

    def load(self) -> None:
        """Fill the tables that the questions are asked of; objects and hashes stay in the spool, until they are sent.

        `said`: what the build says; `state`: what was known up to its day; `later`: when after it something was said
        again; `changed` and `gone`; `again`: what a later build, of ``next_date``, has to repeat.
        """
        day = self._build.date.isoformat()
        self._duckdb.execute(f"create table said as {self._said()}")
        known = [c.name for c in self._contract.fields if c.name not in ("build_version",)]
        self._read("known", [*known, *_COORDINATES, "kafka_timestamp"], at_most("build_date", day))
        whole = ", ".join(f"{n} := {n}" for n in (*known, *_COORDINATES) if n not in self._identity)
        self._duckdb.execute(f"""
            create table state as select {self._on}, unnest(newest) from (
                select {self._on}, arg_max(struct_pack({whole}), (build_date, kafka_timestamp, kafka_offset)) as newest
                from known group by all
            )""")
        self._read("after", [*self._identity, "build_date"], at_least("build_date", day))
        self._duckdb.execute(f"""
            create table later as select {self._on}, min(build_date) as build_date from after
            where build_date > date '{day}' group by all""")
        is_deleted = "false" if self._is_price else "state.is_deleted"
        self._duckdb.execute(f"""
            create table changed as select said.* exclude (payload_hash) from said left join state using ({self._on})
            where {is_deleted} is distinct from false or state.payload_hash is distinct from said.payload_hash""")
        self._duckdb.execute(f"""
            create table gone as select * from state anti join said using ({self._on})
            where {"false" if self._is_price else f"not is_deleted and {self._is_in_scope()}"}""")
        self._load_again(day)

    def messages(self) -> Messages:
        """What is to be sent: what later builds say again comes first, so that a run that ends early is made good."""
        counts = [self._count(name) for name in ("changed", "gone", "again")]
        return Messages(counts[0], counts[1], counts[2], self._batches())

    def _said(self) -> str:
        """The spool, with the types of bronze. Of a thing that is told of twice, one is left without its key."""
        others_of_key = [name for name in KEYS[self._contract.name] if name not in self._identity]
        first, *others = self._identity
        rows = f"read_parquet('{self._spool}', file_row_number = true)"
        typed = [f"try_cast({name} as date) as {name}" if name.endswith("_date") else name for name in others]
        return f"""
            select file_row_number, if(firsts.file_row_number is null, null, {first}) as {first},
                {", ".join([*typed, *others_of_key, "payload_hash"])}
            from {rows} left join (
                select min(file_row_number) as file_row_number from {rows} group by {self._on}
            ) as firsts using (file_row_number)"""

    def _is_in_scope(self) -> str:
        names = [part.name for part in self._parts]
        if ALL_PRINTINGS in names:
            return "true"
        listed = ", ".join(_quoted(name) for name in names)
        return f"set_code in ({listed})" if listed else "false"

    def _load_again(self, day: str) -> None:
        self._read("taken", ["part", "build_date", "build_version", "first_date", "last_date"], ALL_ROWS)
        covers = (
            "price_date between first_date and last_date"
            if self._is_price
            else f"part in (set_code, {_quoted(ALL_PRINTINGS)})"
        )
        touched = ["changed"] if self._is_price else ["changed", "gone"]
        keys = list(KEYS[self._contract.name])
        union = " union ".join(f"select {', '.join(keys)} from {name}" for name in touched)
        # Of a price that was not known nothing can be said again: a build that has none of a day says nothing of it.
        kind = "join" if self._is_price else "left join"
        self._duckdb.execute(f"""
            create table again as
            with touched as ({union}),
            next as (
                select {", ".join(keys)}, min(taken.build_date) as next_date,
                    min_by(taken.build_version, taken.build_date) as next_version
                from touched join taken on {covers} where taken.build_date > date '{day}' group by all
            )
            select next.*, state.* exclude ({", ".join(keys)})
            from next {kind} state using ({self._on}) left join later using ({self._on})
            where later.build_date is null or later.build_date > next_date""")

    def _batches(self) -> Iterator[pa.RecordBatch]:
        if self._count("again"):
            day = self._build.date.isoformat()
            self._read("payloads", [*_COORDINATES, "raw_payload"], at_most("build_date", day))
            join = " and ".join(f"payloads.{name} = again.{name}" for name in _COORDINATES)
            objects = ", ".join(
                f"json_extract(raw_payload, '$.{member}')::varchar as {column}"
                for member, column in self._objects.items()
            )
            self._duckdb.execute(f"""
                create table repeated as
                select again.*, {objects}
                from again left join payloads on {join}""")
            dated = {"build_date": "next_date", "build_version": "next_version"}
            was_there = "true" if self._is_price else "coalesce(not is_deleted, false)"
            yield from self._made(f"repeated where {was_there}", dated, is_deleted=False)
            if not self._is_price:
                yield from self._made(f"repeated where not {was_there}", dated, is_deleted=True)
        own = {"build_date": f"date '{self._build.date}'", "build_version": _quoted(self._build.version)}
        yield from self._changed(own)
        yield from self._made("gone", own, is_deleted=True)

    def _changed(self, values: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
        """What changed, with its objects: a row group of the spool at a time, however large all of them are."""
        if not self._count("changed"):
            return
        hashes = [column.name for column in self._contract.fields if column.name.endswith("_hash")]
        first = 0
        with pq.ParquetFile(self._spool) as spool:
            for group in range(spool.num_row_groups):
                rows = spool.read_row_group(group, [*hashes, *self._objects.values()])
                numbers = pa.arange(first, first + rows.num_rows)
                self._duckdb.register("told", rows.append_column("file_row_number", numbers))
                changed = f"changed where file_row_number between {first} and {first + rows.num_rows - 1}"
                yield from self._made(f"told join (from {changed}) using (file_row_number)", values, is_deleted=False)
                first += rows.num_rows
                pa.default_memory_pool().release_unused()

    def _made(self, rows: str, values: Mapping[str, str], *, is_deleted: bool) -> Iterator[pa.RecordBatch]:
        left_out = {"payload_hash", "content_hash"} if is_deleted else set()
        names = [column.name for column in self._contract.fields if column.name not in left_out]
        known = {**values, "is_deleted": "true" if is_deleted else "false"}
        members = {name: f"coalesce(to_json({known.get(name, name)})::varchar, 'null')" for name in names}
        if not is_deleted:
            members |= self._objects
        key = "coalesce(uuid, set_code)" if self._contract is CARD_MESSAGE else self._identity[0]
        # One function that takes all: an operator between each two would make as many copies of the object.
        listed = ", ',', ".join(f"""'"{name}":', {value}""" for name, value in members.items())
        found = self._duckdb.sql(
            f"select coalesce({key}, '') as key, concat('{{', {listed}, '}}') as value from {rows}"
        )
        yield from found.to_arrow_reader(AT_ONCE)

    def _read(self, name: str, columns: Sequence[str], where: BooleanExpression) -> None:
        """Make columns of bronze known to DuckDB under a name, to be read once."""
        table = self._builds if name == "taken" else self._table
        if self._is_price and table is self._table:
            dates = [day for part in self._parts for day in (part.first_date, part.last_date) if day]
            if dates:
                within = And(at_least("price_date", min(dates)), at_most("price_date", max(dates)))
                where = And(where, within)
        self._duckdb.register(name, _reader(table, columns, where))

    def _count(self, name: str) -> int:
        ((count,),) = self._duckdb.execute(f"select count(*) from {name}").fetchall()
        return int(count)


def _reader(table: Table, columns: Sequence[str], where: BooleanExpression) -> pa.RecordBatchReader:
    table.refresh()
    return table.scan(row_filter=where, selected_fields=tuple(columns)).to_arrow_batch_reader()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
