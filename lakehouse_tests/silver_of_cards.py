"""Silver of Magic's cards, written by PyIceberg as a story has it, in place of what Spark makes of the topics."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from lakehouse.adapters.iceberg.catalog import connect, ensure_table
from lakehouse.contracts.arrow import arrow_schema
from lakehouse.contracts.contract import Column, Contract, Type
from lakehouse.domains.mtg.tables import CARD_MEMBERS, CARD_VERSION, PRICE, SET, SET_MEMBERS
from lakehouse.settings import Settings
from lakehouse_tests.cards import Object, Price, Story, Version

TOLD = datetime(2026, 1, 1, tzinfo=UTC)
AUDIT = {"_audit_run_id": "test", "_audit_loaded_at": TOLD, "_audit_source_snapshot_id": 1}


def write_silver(settings: Settings, story: Story, prices: Sequence[Price] = ()) -> None:
    """Make silver say what a story has told, and these prices: all rows anew."""
    _write(settings, SET, set_rows(story), is_new=True)
    _write(settings, CARD_VERSION, card_rows(story), is_new=True)
    _write(settings, PRICE, price_rows(prices), is_new=True)


def add_to_silver(settings: Settings, story: Story, prices: Sequence[Price]) -> None:
    """Append the sets, cards and prices of a story to those that are there: none of them may be known."""
    _write(settings, SET, set_rows(story), is_new=False)
    _write(settings, CARD_VERSION, card_rows(story), is_new=False)
    _write(settings, PRICE, price_rows(prices), is_new=False)


def set_rows(story: Story) -> list[Object]:
    """Rows of `silver.mtg_sets`."""
    return [
        _members(SET_MEMBERS, one)
        | {"set_code": code, "tokens": len(one.get("tokens", ())), "set_object": json.dumps(one)}
        | {"is_deleted": False, "build_date": built}
        for code, (one, built) in story.sets.items()
    ]


def card_rows(story: Story) -> list[Object]:
    """Rows of `silver.mtg_cards`."""
    return [
        _version(version, number)
        for versions in story.versions.values()
        for number, version in enumerate(versions, start=1)
    ]


def price_rows(prices: Iterable[Price]) -> list[Object]:
    """Rows of `silver.mtg_prices`."""
    return [price._asdict() | {"currency": price.currency or None, "build_date": price.price_date} for price in prices]


def silver_table(contract: Contract, rows: Iterable[Object]) -> pa.Table:
    """Rows as Arrow, as the contract has them."""
    schema = arrow_schema(contract)
    return pa.Table.from_pylist([AUDIT | row for row in rows], schema=schema)


def _write(settings: Settings, contract: Contract, rows: list[Object], *, is_new: bool) -> None:
    table = ensure_table(connect(settings), contract)
    if is_new and table.scan().count():
        table.overwrite(silver_table(contract, rows))
    elif rows:
        table.append(silver_table(contract, rows))


def _version(version: Version, number: int) -> Object:
    card = version.card
    return _members(CARD_MEMBERS, card) | {
        "uuid": card["uuid"],
        "set_code": card["setCode"],
        "card_object": json.dumps(card),
        "content_hash": "",
        "valid_from": _midnight(version.begin),
        "valid_to": version.end and _midnight(version.end),
        "is_current": version.end is None,
        "version": number,
        "edhrec_rank": version.volatile.get("edhrecRank"),
        "volatile": json.dumps(version.volatile),
        "told_on": version.begin,
    }


def _members(columns: Iterable[Column], told: Object) -> Object:
    return {column.name: _cell(column, told.get(column.path or column.name)) for column in columns}


def _cell(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.type is Type.STRING and not isinstance(value, str):
        return json.dumps(value)
    return date.fromisoformat(value) if column.type is Type.DATE else value


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
