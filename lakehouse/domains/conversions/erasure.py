"""Erasing a user: no row, no letter, no older snapshot and no file of the conversions tells of him afterwards.

His conversions become those of an anonymous user, so every count of conversions stays what it was. Rows and letters
keep their coordinates and say when they were erased; who it was is said nowhere, and to no engine: his id is compared
by PyIceberg, in this process alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, In, NotNull
from pyiceberg.table.snapshots import Operation

from lakehouse.adapters.iceberg.catalog import ensure_table, find_table
from lakehouse.adapters.iceberg.filters import equal
from lakehouse.contracts.contract import Contract
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.contracts.lineage import ERASED_AT
from lakehouse.contracts.replay import REPLAY
from lakehouse.domains.conversions import backfill, gold, silver, tables
from lakehouse.domains.conversions.contract import CONVERSION_EVENT, spellings
from lakehouse.errors import LakehouseError
from lakehouse.ledger.built import Built, pass_over
from lakehouse.maintenance.compaction import compact
from lakehouse.maintenance.erasure import Change, Selection, forget, is_remembered, rewrite, select
from lakehouse.maintenance.state import measure
from lakehouse.naming import CONVERSIONS, CONVERSIONS_DLQ, CONVERSIONS_TOPIC, DIM_USERS, TableName

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from lakehouse.adapters.spark.workspace import Workspace
    from lakehouse.settings import Settings

ATTEMPTS = 5
USER = tables.USER_ID.name
SOURCES = (CONVERSIONS_TOPIC.name, CONVERSIONS_DLQ.name, str(CONVERSIONS))
"""Of the dead letters that may tell of a user."""
ERASED = "erased on request"
"""What the required texts of a letter say instead of what was wrong with its record."""

Step = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """What a table holds of a user."""

    table: TableName
    rows: int
    """Rows that tell of him."""
    is_remembered: bool
    """Whether older snapshots do as well, in files of their own."""


def find(catalog: Catalog, user: str) -> list[Found]:
    """What the tables hold of a user; tables that hold nothing are left out."""
    found = []
    for contract, selection in _places(user):
        table = find_table(catalog, contract.table)
        if table is not None:
            one = Found(contract.table, select(table, selection).num_rows, is_remembered(table, selection))
            found += [one] if one.rows or one.is_remembered else []
    return found


def erase(settings: Settings, work: Workspace, user: str, *, on_step: Step = lambda step: None) -> None:
    """Erase a user from everything that is landed. Where it was ended, repeating it completes it.

    Silver and gold read on meanwhile: no reader's position is left in the snapshots that go.

    Args:
        settings: Where Trino is, which is asked where rows were deleted by files beside theirs, which hold them still.
        work: Where, as everyone sees it; nobody else makes silver and gold meanwhile.
        user: The id, as in `user_id`.
        on_step: Told what is being done.

    Raises:
        LakehouseError: a name of somebody's keeps an older snapshot, events of the user go on being landed, or other
            writers won every race.
    """
    catalog, now = work.catalog, datetime.now(UTC)
    _prepare(settings, work, user)
    done: dict[TableName, int] = {}

    def settle(
        contract: Contract, change: Change = _unchanged, operation: Operation = Operation.REPLACE, **said: str
    ) -> None:
        table, selection = find_table(catalog, contract.table), telling_of(contract, user, catalog)
        if table is not None and (select(table, selection).num_rows or is_remembered(table, selection)):
            on_step(f"erasing from {contract.table}")
            said = {f"lakehouse.{name}": value for name, value in said.items()}
            done[contract.table] = rewrite(table, selection, change, said, operation=operation)

    def make(build: Callable[[Workspace], Built]) -> None:
        built = build(work)
        on_step(f"{built.table} has read on")

    for _ in range(ATTEMPTS):
        settle(CONVERSION_EVENT, partial(blanked, CONVERSION_EVENT, now))
        make(silver.build_conversions)
        # What silver has taken of him since, a full rebuild would find in bronze.
        if not _rows(catalog, CONVERSION_EVENT, user).num_rows:
            break
    else:
        raise LakehouseError("events of this user go on being landed; erase again when they have ended")
    make(silver.build_users)
    _put_together(settings, catalog, DIM_USERS)
    days = pc.unique(_rows(catalog, tables.CONVERSION, user, "event_time")["event_time"].cast(pa.date32()))
    named = {silver.DAYS: silver.saying(sorted(map(str, days.to_pylist())))}
    settle(tables.CONVERSION, partial(blanked, tables.CONVERSION, now), Operation.OVERWRITE, **named)
    settle(tables.USER_VERSION, lambda rows, selected: rows.filter(pc.invert(selected)), Operation.OVERWRITE)
    # His versions are gone, those of others are as they were: there is nothing to make anew.
    pass_over(work, tables.USER_VERSION, work.plan(CONVERSIONS, tables.USER_VERSION))
    settle(DEAD_LETTER, partial(blanked, DEAD_LETTER, now))
    settle(REPLAY, partial(blanked, REPLAY, now))
    make(gold.build_dim_user)
    settle(tables.USER)
    make(gold.build_fact)
    settle(tables.FACT)
    for mart in (tables.DAILY, tables.HOURLY, tables.POPULARITY):
        make(partial(gold.build_mart, contract=mart))
    on_step("removing older snapshots and their files")
    for name, number in reversed(done.items()):
        forget(catalog, name, number)
    if left := find(catalog, user):
        raise LakehouseError(f"{', '.join(str(one.table) for one in left)} still tell of this user; erase again")


def _prepare(settings: Settings, work: Workspace, user: str) -> None:
    """Make older snapshots nobody's: complete or drop backfills, and stop where a name keeps one."""
    backfill.roll_forward(work)
    backfill.drop_failed(work)
    for contract, _ in _places(user):
        table = find_table(work.catalog, contract.table)
        if table is None:
            continue
        if names := sorted(set(table.refs()) - {"main"}):
            raise LakehouseError(
                f"{contract.table}: {', '.join(names)} would keep an older snapshot; drop it first, then erase again"
            )
        _put_together(settings, work.catalog, contract.table)
    for contract in (CONVERSION_EVENT, DEAD_LETTER):
        ensure_table(work.catalog, contract)


def _put_together(settings: Settings, catalog: Catalog, name: TableName) -> None:
    """Write files anew whose rows were deleted by other files, beside them: they hold them still."""
    if measure(catalog.load_table(name.identifier)).delete_files:
        compact(settings, name)


def _places(user: str) -> Iterable[tuple[Contract, Selection]]:
    own = (CONVERSION_EVENT, tables.CONVERSION, tables.USER_VERSION, tables.USER, tables.FACT)
    return [*((contract, by_id(user)) for contract in own), (DEAD_LETTER, _letters(user))]


def telling_of(contract: Contract, user: str, catalog: Catalog) -> Selection:
    """What of a table tells of a user; of the log of replays, what was said of letters that are erased."""
    if contract is REPLAY:
        return _attempts(catalog)
    return _letters(user) if contract is DEAD_LETTER else by_id(user)


def _rows(catalog: Catalog, contract: Contract, user: str, *columns: str) -> pa.Table:
    return select(catalog.load_table(contract.table.identifier), telling_of(contract, user, catalog), *columns)


def by_id(user: str) -> Selection:
    """Rows of a user, of tables that have his id in a column."""
    return Selection(
        equal(USER, user), (USER,), lambda rows: pc.fill_null(pc.equal(rows[USER], pa.scalar(user)), False)
    )


def _letters(user: str) -> Selection:
    """Dead letters that tell of a user, as far as a record tells that nobody could read."""
    pattern = pattern_of(user)

    def among(rows: pa.Table) -> pa.ChunkedArray:
        tells = pc.match_substring_regex(rows["original_payload"].cast(pa.binary()), pattern)
        return pc.and_(pc.is_in(rows["source"].cast(pa.string()), pa.array(SOURCES)), pc.fill_null(tells, False))

    within = In("source", set(SOURCES))  # type: ignore[call-arg,arg-type]
    return Selection(within, ("source", "original_payload"), among)


def pattern_of(user: str) -> str:
    """Regular expression (RE2, for bytes) for records that tell of a user, also such as are damaged or cut off."""
    names = "|".join(map(_spelled, spellings(USER)))
    return rf"""(?s)(?:^|[^A-Za-z0-9_])(?:{names})[\s"'\\:=\[{{]+{_spelled(user)}(?:\.0+)?(?:[\s"'\\,;\]}}]|$)"""


def _spelled(text: str) -> str:
    """Regular expression for a text in JSON: each character as it is or escaped."""
    spelled = []
    for character in text:
        units = character.encode("utf-16-be").hex(" ", 2).split()
        escaped = "".join(rf"\\u(?i:{unit})" for unit in units)
        short = re.escape(json.dumps(character, ensure_ascii=False)[1:-1])
        spelled.append(f"(?:{'|'.join(dict.fromkeys((re.escape(character), short, escaped)))})")
    return "".join(spelled)


def _attempts(catalog: Catalog) -> Selection:
    """Attempts to replay letters that are erased: what was wrong is told with words out of the record."""
    letters = catalog.load_table(DEAD_LETTER.table.identifier)
    is_erased = NotNull(ERASED_AT.name)  # type: ignore[call-arg,arg-type]
    ids = letters.scan(row_filter=is_erased, selected_fields=("dead_letter_id",)).to_arrow()["dead_letter_id"]
    ids = ids.cast(pa.string()).combine_chunks()

    def among(rows: pa.Table) -> pa.ChunkedArray:
        is_told = pc.fill_null(pc.not_equal(rows["error_message"], ERASED), False)
        return pc.and_(pc.is_in(rows["dead_letter_id"].cast(pa.string()), ids), is_told)

    return Selection(AlwaysTrue(), ("dead_letter_id", "error_message"), among)


def blanked(contract: Contract, now: datetime, rows: pa.Table, selected: pa.ChunkedArray) -> pa.Table:
    """The rows, the selected ones without what is personal, and with the time where the table has it."""
    instead: dict[str, object] = {column.name: None for column in contract.columns if column.is_personal}
    if "error_message" in rows.column_names:
        instead |= {"error_message": ERASED}
    if ERASED_AT.name in rows.column_names:
        instead |= {ERASED_AT.name: now}
    for name, value in instead.items():
        field = rows.schema.field(name)
        blanked = pc.if_else(selected, pa.scalar(value, field.type), rows[name])
        rows = rows.set_column(rows.schema.get_field_index(name), field, blanked)
    return rows


def _unchanged(rows: pa.Table, selected: pa.ChunkedArray) -> pa.Table:
    raise AssertionError("what gold tells of a user is gone when it has read on")
