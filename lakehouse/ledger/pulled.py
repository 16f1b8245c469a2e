"""The account of what was pulled from an API, window by window: what it said it has, held against the tables.

Counted here from the rows: each item that a pull saw must be there, in the version that it saw, each refused one among
the dead letters, and each pull must have landed as many rows as the table has of it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from lakehouse.adapters.iceberg.catalog import find_table
from lakehouse.adapters.iceberg.filters import equal
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.contracts.pull import CLOSED, PULL_RECORD
from lakehouse.ledger.account import Account, some
from lakehouse.ledger.api import Api
from lakehouse.ledger.commit import current_snapshot_id
from lakehouse.ledger.pulls import NOTHING, SHORT, Progress, newest, pack, sighted, under_way

ATTEMPTS = 3
MARK = "lakehouse.audit.pulls."
"""Prefix of the property of the table of pulls with what an audit has found to be complete: snapshots of the tables."""

_NUMBERS = ("pull_window", "pull_id", "outcome", "said", "refused", "completed_at")


def pull_accounts(catalog: Catalog, api: Api, *, deep: bool) -> list[Account]:
    """The accounts of an API's windows: of each the newest pull, or the one that is under way.

    Nothing is read while the tables are as an earlier audit found them complete, unless ``deep``.
    """
    for _ in range(ATTEMPTS):
        tables = [find_table(catalog, name) for name in (api.contract.table, PULL_RECORD.table)]
        table, pulls_table = tables
        if table is None or pulls_table is None:
            return []
        accounts = _audited(catalog, api, table, pulls_table, deep=deep)
        # A pull that goes on meanwhile may be in one table as it was, and in the other as it is.
        later = [find_table(catalog, name) for name in (api.contract.table, PULL_RECORD.table)]
        if all(account.closes for account in accounts) or _snapshots(later) == _snapshots(tables):
            break
    return accounts


def _audited(catalog: Catalog, api: Api, table: Table, pulls_table: Table, *, deep: bool) -> list[Account]:
    snapshots = _snapshots([table, pulls_table])
    mark = pulls_table.properties.get(MARK + api.source)
    if not deep and mark and json.loads(mark) == snapshots:
        return [_verified(api, pull) for pull in newest(_of(pulls_table, api, _NUMBERS)).values()]
    ended = _of(pulls_table, api, ("*",))
    rows = table.scan(selected_fields=("pull_id", api.item_id, api.item_hash)).to_arrow()
    letters = _letters(find_table(catalog, DEAD_LETTER.table), api)
    known = set(ended["pull_id"].to_pylist())
    begun = under_way(table.properties, api.source)
    open_ = {window: progress for window, progress in begun.items() if progress.pull_id not in known}
    accounts = [*_accounts(api, ended, open_, rows, letters)]
    if all(account.closes for account in accounts) and not begun:
        # Someone else committed meanwhile: then the next audit reads a little more.
        with contextlib.suppress(CommitFailedException), pulls_table.transaction() as transaction:
            transaction.set_properties({MARK + api.source: json.dumps(snapshots)})
    return accounts


def _snapshots(tables: Iterable[Table | None]) -> list[int | None]:
    return [current_snapshot_id(table) if table is not None else None for table in tables]


def _accounts(
    api: Api, ended: pa.Table, open_: Mapping[str, Progress], rows: pa.Table, letters: set[str]
) -> Iterable[Account]:
    """Accounts of the windows; rows that no pull speaks of are one of the table."""
    landed = dict(zip(*_counted(rows["pull_id"]), strict=True))
    latest = newest(ended)
    accounts = {window: Account(api.source, None, window=window) for window in (*latest, *open_)}
    seen = {window: sighted(pull["seen"]) for window, pull in latest.items()}
    begun = {window: sighted(pack(progress.seen)) for window, progress in open_.items()}
    held = pa.table({"id": rows[api.item_id], "short_hash": _short(rows[api.item_hash])})
    absent = _absent([*seen.items(), *begun.items()], held)
    lost: list[str] = []
    for pull in ended.select(["pull_id", "pull_window", "landed_rows"]).to_pylist():
        account = accounts.get(pull["pull_window"])
        if (count := landed.pop(pull["pull_id"], 0)) != pull["landed_rows"]:
            gap = f"pull {pull['pull_id']} landed {pull['landed_rows']} rows, the table holds {count}"
            (account.gaps if account else lost).append(gap)
    for window, pull in latest.items():
        account = accounts[window]
        refused = pull["letters"].split("\n") if pull["letters"] else []
        unknown = [letter for letter in refused if letter not in letters]
        account.position = pull["said"]
        account.bronze = seen[window].num_rows - len(absent.get(window, ()))
        account.dead_letters = len(refused) - len(unknown)
        if unknown:
            account.gaps.append(f"{len(unknown)} items were refused, and are no dead letters: {unknown[0]}")
        account.gaps += _contradictions(pull, seen[window].num_rows, len(refused))
    for window, progress in open_.items():
        account = accounts[window]
        account.in_flight = max(0, progress.said - len(progress.seen) - len(progress.letters))
        if (count := landed.pop(progress.pull_id, 0)) != progress.rows:
            account.gaps.append(f"the pull under way landed {progress.rows} rows, the table holds {count}")
    for window, items in absent.items():
        accounts[window].gaps.append(f"{len(items)} items that were seen are nowhere as they were: {some(items)}")
    yield from accounts.values()
    lost += [f"{count} rows of pull {pull_id}, of which nothing is known" for pull_id, count in landed.items()]
    if lost:
        yield Account(str(api.contract.table), None, gaps=lost)


def _contradictions(pull: Mapping[str, Any], seen: int, refused: int) -> Iterable[str]:
    """Where a pull's numbers do not add up, or are not those of its evidence."""
    said, landed, unchanged, repeats = (pull[name] for name in ("said", "landed_rows", "unchanged", "repeats"))
    if pull["outcome"] != CLOSED:
        yield (
            f"it changed while it was read, or has more than the API pages through: the API said {said}, "
            f"{seen + refused} were seen; pull it again"
        )
    elif seen + refused != said:
        yield f"the API said {said} items, {seen} were seen and {refused} refused"
    if refused != pull["refused"]:
        yield f"{pull['refused']} items refused, but {refused} dead letters named"
    if seen + repeats != landed + unchanged:
        yield f"{landed} rows and {unchanged} unchanged items, less {repeats} repeats, are not the {seen} items seen"


def _verified(api: Api, pull: Mapping[str, Any]) -> Account:
    """The account of a window that an earlier audit found complete."""
    return Account(
        api.source,
        None,
        position=pull["said"],
        bronze=pull["said"] - pull["refused"],
        dead_letters=pull["refused"],
        window=pull["pull_window"],
    )


def _absent(seen: Iterable[tuple[str, pa.Table]], held: pa.Table) -> dict[str, list[int]]:
    """By window the items that were seen in a version that the table does not hold."""
    parts = [part.append_column("window", pa.repeat(pa.scalar(window), part.num_rows)) for window, part in seen]
    if not parts:
        return {}
    absent = pa.concat_tables(parts).join(held, ["id", "short_hash"], join_type="left anti")
    found: dict[str, list[int]] = {}
    for row in absent.sort_by("id").to_pylist():
        found.setdefault(row["window"], []).append(row["id"])
    return found


def _short(hashes: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.utf8_slice_codeunits(hashes.cast(pa.string()), 0, SHORT), NOTHING)


def _counted(values: pa.ChunkedArray) -> tuple[list[str], list[int]]:
    counted = pc.value_counts(values.cast(pa.string()).combine_chunks())
    return counted.field("values").to_pylist(), counted.field("counts").to_pylist()


def _of(table: Table, api: Api, columns: tuple[str, ...]) -> pa.Table:
    return table.scan(row_filter=equal("source", api.source), selected_fields=columns).to_arrow()


def _letters(table: Table | None, api: Api) -> set[str]:
    if table is None:
        return set()
    found = table.scan(row_filter=equal("source", api.source), selected_fields=("dead_letter_id",)).to_arrow()
    return set(found["dead_letter_id"].to_pylist())
