"""A writer that loses races decides again from the table as it is, for as long as it has patience."""

from __future__ import annotations

import threading

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.contracts.arrow import in_schema
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.errors import LedgerConflictError
from lakehouse.ledger import commit
from lakehouse.ledger.commit import append, until_won

NO_ROWS = in_schema(DEAD_LETTER, {}, 0)


def count_up(table: Table, name: str) -> None:
    """Add one to the number in a property."""
    append(table, NO_ROWS, {name: str(int(table.properties.get(name, 0)) + 1)}, {})


def test_it_loses_many_races_and_wins_one(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "REST_SECONDS", 0.001)
    table = ensure_table(catalog, DEAD_LETTER)
    lost = 2 * commit.ATTEMPTS
    left = lost

    def attempt() -> str:
        nonlocal left
        if left:
            left -= 1
            count_up(catalog.load_table(DEAD_LETTER.table.identifier), "theirs")
        count_up(table, "ours")
        return "won"

    assert until_won(table, attempt) == "won"
    properties = catalog.load_table(DEAD_LETTER.table.identifier).properties
    assert (properties["theirs"], properties["ours"]) == (str(lost), "1")


def test_it_gives_up_when_its_patience_is_at_an_end(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "REST_SECONDS", 0.001)
    monkeypatch.setattr(commit, "PATIENCE_SECONDS", 0)
    table = ensure_table(catalog, DEAD_LETTER)

    def attempt() -> None:
        count_up(catalog.load_table(DEAD_LETTER.table.identifier), "theirs")
        count_up(table, "ours")

    with pytest.raises(LedgerConflictError, match=f"lost {commit.ATTEMPTS} races"):
        until_won(table, attempt)
    assert "ours" not in catalog.load_table(DEAD_LETTER.table.identifier).properties


def test_no_commit_of_many_writers_is_lost(catalog: SqlCatalog) -> None:
    ensure_table(catalog, DEAD_LETTER)
    failed: list[BaseException] = []

    def write() -> None:
        table = catalog.load_table(DEAD_LETTER.table.identifier)
        try:
            for _ in range(10):
                until_won(table, lambda: count_up(table, "count"))
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failed == []
    assert catalog.load_table(DEAD_LETTER.table.identifier).properties["count"] == "40"
