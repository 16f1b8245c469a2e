"""What a RAWG server of ours has and answers, without the network: games, lists by filter and order, details."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import msgspec

PAGE_SIZE, LARGEST_PAGE = 20, 40
REACH = 10_000
"""Items of a list that can be paged through."""

NO_KEY = b'{"error": "The key parameter is not provided"}'
WRONG_KEY = b'{"error": "The API key is not found"}'
NO_PAGE = b'{"detail":"Invalid page."}'
NO_GAME = b'{"detail":"Not found."}'


class Game(msgspec.Struct, frozen=True):
    """A game as lists sort and filter it, and where its item comes from."""

    game_id: int
    slug: str
    released: str | None
    updated: str | None
    created: float
    """Place in the order by creation."""
    body: bytes | Callable[[Game], bytes]
    """Its item, or what makes it when it is asked for."""
    version: int = 0
    details: bytes | Callable[[Game], bytes] | None = None
    """What is answered when it is asked for alone, or what makes it; the item, if not given."""

    @property
    def item(self) -> bytes:
        """As a list gives it."""
        return self.body if isinstance(self.body, bytes) else self.body(self)

    @property
    def answer(self) -> bytes:
        """As it is given when it is asked for alone."""
        return self.details(self) if callable(self.details) else self.details or self.item


def game_of(item: bytes, created: float = 0, details: bytes | None = None) -> Game:
    """A game from its item, which may be anything: what cannot be read of it is taken as not there."""
    try:
        said: dict[str, Any] = msgspec.json.decode(item)
        assert isinstance(said, dict)
    except (msgspec.DecodeError, UnicodeDecodeError, AssertionError, RecursionError):
        said = {}
    released, updated = (
        value if isinstance(value := said.get(name), str) else None for name in ("released", "updated")
    )
    number = said.get("id")
    game_id = number if isinstance(number, int) else hash(item)
    return Game(game_id, str(said.get("slug", "")), released, updated, created, item, details=details)


class Site:
    """The games, which may change while they are read."""

    def __init__(self, games: Iterable[Game] = (), *, keys: Iterable[str] = ()) -> None:
        """Take games.

        Args:
            games: To begin with.
            keys: That are accepted; any, if none is given.
        """
        self.keys = set(keys)
        self.lock = threading.RLock()
        self._games: dict[int, Game] = {}
        self._merged: dict[int, int] = {}
        self._lists: dict[tuple[str, str, str], list[Game]] = {}
        for game in games:
            self._games[game.game_id] = game

    @property
    def games(self) -> list[Game]:
        """All games, in no order."""
        with self.lock:
            return list(self._games.values())

    def put(self, *games: Game) -> None:
        """Add or change games."""
        with self.lock:
            for game in games:
                self._games[game.game_id] = game
            self._lists.clear()

    def remove(self, game_id: int) -> None:
        """Delete a game."""
        with self.lock:
            del self._games[game_id]
            self._lists.clear()

    def merge(self, game_id: int, into: int) -> None:
        """Delete a game; who asks for it is led to another one."""
        with self.lock:
            self.remove(game_id)
            self._merged[game_id] = into

    def find(self, filters: Mapping[str, str]) -> list[Game]:
        """A list in its order: of some days of release (``dates``) and update (``updated``), by ``ordering``."""
        asked = filters.get("dates", ""), filters.get("updated", ""), filters.get("ordering", "")
        with self.lock:
            if asked not in self._lists:
                self._lists[asked] = self._find(*asked)
            return self._lists[asked]

    def _find(self, dates: str, updated: str, ordering: str) -> list[Game]:
        games = list(self._games.values())
        for field, asked in (("released", dates), ("updated", updated)):
            if asked:
                first, _, last = asked.partition(",")
                within = self._sorted_by(field)
                start = bisect.bisect_left(within, first, key=lambda game: getattr(game, field)[:10])
                end = bisect.bisect_right(within, last, key=lambda game: getattr(game, field)[:10])
                ids = {game.game_id for game in games}
                games = [game for game in within[start:end] if game.game_id in ids]
        field = ordering.removeprefix("-")
        if field not in ("released", "updated", "created"):
            field = "created"
        # Games without a value come last, and so first where the order is turned round.
        games.sort(key=lambda game: (getattr(game, field) is None, getattr(game, field), game.game_id))
        return games[::-1] if ordering.startswith("-") else games

    def _sorted_by(self, field: str) -> list[Game]:
        """Games that have the field, by it."""
        key = (field, "", "")
        if key not in self._lists:
            have = [game for game in self._games.values() if getattr(game, field) is not None]
            self._lists[key] = sorted(have, key=lambda game: getattr(game, field))
        return self._lists[key]

    def refusal(self, asked: Mapping[str, str]) -> bytes | None:
        """What is said to a caller without a good key."""
        if not asked.get("key"):
            return NO_KEY
        return WRONG_KEY if self.keys and asked["key"] not in self.keys else None

    def list_page(self, address: str, asked: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body of a list's page.

        Args:
            address: Of the list, for links to other pages; these repeat what was asked, the key too.
            asked: Filters, ``ordering``, ``page``, ``page_size``, ``key``.
        """
        games = self.find(asked)
        page, size = _number(asked.get("page"), 1), min(_number(asked.get("page_size"), PAGE_SIZE), LARGEST_PAGE)
        start = (page - 1) * size
        if page < 1 or size < 1 or start >= REACH or (start >= len(games) and page > 1):
            return 404, NO_PAGE

        def link(number: int) -> bytes:
            return msgspec.json.encode(f"{address}?{urlencode({**asked, 'page': number})}")

        following = link(page + 1) if start + size < min(len(games), REACH) else b"null"
        previous = link(page - 1) if page > 1 else b"null"
        items = b",".join(game.item for game in games[start : start + size])
        head = b'{"count":%d,"next":%s,"previous":%s,"results":[' % (len(games), following, previous)
        return 200, head + items + b'],"seo_title":"All Games","noindex":false,"filters":{},"nofollow_collections":[]}'

    def details(self, name: str) -> tuple[int, bytes]:
        """Status and body of a game, by its id or slug; of one that was merged, where it is now."""
        with self.lock:
            number = int(name) if name.isdecimal() else None
            if number in self._merged:
                return 200, msgspec.json.encode({"redirect": True, "slug": self._games[self._merged[number]].slug})
            found = [game for game in self._games.values() if number == game.game_id or name == game.slug]
        return (200, found[0].answer) if found else (404, NO_GAME)


def now() -> str:
    """This moment as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() else (default if text is None else 0)
