"""What tests of the RAWG domain share: a server with few games, a client for it, what the tables hold."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from pyiceberg.catalog import Catalog

from lakehouse.contracts.pull import PULL_RECORD
from lakehouse.domains.rawg.api import API
from lakehouse.domains.rawg.pull import Pulled, pull
from lakehouse.domains.rawg.server import RawgServer
from lakehouse.domains.rawg.site import Game, game_of
from lakehouse.domains.rawg.source import Client, Pace
from lakehouse.domains.rawg.windows import Window
from lakehouse.ledger.account import Account
from lakehouse.ledger.pulled import pull_accounts
from lakehouse.naming import DEAD_LETTERS, RAWG_GAMES, TableName

KEY = "very-secret-key"
OLD = "2020-02-02T02:02:02"

Row = dict[str, Any]


def item(game_id: int, **fields: Any) -> bytes:
    """An item of a list."""
    said = {"id": game_id, "slug": f"game-{game_id}", "name": f"Game {game_id}", "released": "2024-08-15"}
    return msgspec.json.encode({**said, "updated": OLD, "rating": 3.5, "genres": [], **fields})


def game(game_id: int, **fields: Any) -> Game:
    """A game on the server, created in the order of ids."""
    return game_of(item(game_id, **fields), created=game_id)


def client(server: RawgServer, folder: Path, **given: Any) -> Client:
    """A client that waits for nothing."""
    given = {"key": KEY, "backoff": 0.01, **given}
    return Client(server.url, pace=Pace(10_000, folder / "pace"), **given)


def pull_all(
    server: RawgServer, catalog: Catalog, folder: Path, windows: Sequence[Window], *, again: bool = True, **given: Any
) -> Pulled:
    """A run over windows."""
    return pull(client(server, folder), catalog, windows, run_id=f"test-{uuid.uuid4()}", again=again, **given)


def rows(catalog: Catalog, table: TableName = RAWG_GAMES) -> list[Row]:
    """All rows of a table."""
    found: list[Row] = catalog.load_table(table.identifier).scan().to_arrow().to_pylist()
    return found


def current(catalog: Catalog) -> dict[int, Row]:
    """The current version of each game that is there."""
    found: dict[int, Row] = {}
    least = datetime.min.replace(tzinfo=UTC)
    for row in sorted(rows(catalog), key=lambda row: (row["updated_at"] or least, row["fetched_at"], row["pull_id"])):
        found[row["game_id"]] = row
    return {game_id: row for game_id, row in found.items() if row["change"] == "seen"}


def payloads(catalog: Catalog) -> dict[int, Any]:
    """What the current versions say."""
    return {game_id: msgspec.json.decode(row["raw_payload"]) for game_id, row in current(catalog).items()}


def on_server(games: Iterable[Game], wanted: Callable[[Game], bool] = lambda game: True) -> dict[int, Any]:
    """What the server's games say."""
    return {game.game_id: msgspec.json.decode(game.item) for game in games if wanted(game)}


def letters(catalog: Catalog) -> list[Row]:
    """Dead letters of the API."""
    return [row for row in rows(catalog, DEAD_LETTERS) if row["source"] == API.source]


def pulls(catalog: Catalog) -> list[Row]:
    """Pulls that ended."""
    return rows(catalog, PULL_RECORD.table)


def accounts(catalog: Catalog, *, deep: bool = True) -> dict[str, Account]:
    """Accounts by window."""
    return {account.window or account.source: account for account in pull_accounts(catalog, API, deep=deep)}


def gaps(catalog: Catalog, *, deep: bool = True) -> list[str]:
    """All that is wrong."""
    return [gap for account in accounts(catalog, deep=deep).values() for gap in account.gaps]
