"""What the live page follows: a board and a player, told as server-sent events whenever they have changed.

All who ask the same share one question to Redis a second, however many they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec
from redis import RedisError

from lakehouse.api.metrics import LISTENERS
from lakehouse.api.reads import Reader
from lakehouse.domains.players.boards import Period

MEDIA_TYPE = "text/event-stream"
POLL_SECONDS = 1.0
ANSWER_SECONDS = 2.0
"""After so long without an answer Redis is away, for those who listen."""
HEARTBEAT_SECONDS = 15.0
"""A stream without news says so often that it is alive: nobody on the way cuts it off, and a dead one is noticed."""
RETRY_MS = 2_000
"""After which a client that was cut off comes back."""
MAX_LISTENERS = 2_000
MAX_AT_ONCE = 20
"""Questions that Redis is asked at a time: each takes a connection."""
NEIGHBOURS = 5
"""Players that are told about around the one who is followed, that one included."""


@dataclass(frozen=True)
class Board:
    """The best of a game."""

    event: ClassVar = "board"
    game: str
    period: Period
    limit: int

    async def ask(self, reader: Reader) -> Any:
        """The board, as it is answered to those who ask once."""
        return await reader.board(self.game, self.period, self.limit, None)


@dataclass(frozen=True)
class Player:
    """One player: totals, and their place on a board; null where there is none."""

    event: ClassVar = "player"
    player: str
    game: str
    period: Period

    async def ask(self, reader: Reader) -> Any:
        """Totals and neighbours, as they are answered to those who ask once."""
        return {
            "player_id": self.player,
            "statistics": await reader.statistics(self.player),
            "around": await reader.board(self.game, self.period, NEIGHBOURS, self.player),
        }


Question = Board | Player


def frame(event: str, told: Any) -> bytes:
    """A server-sent event. JSON in one line: it escapes the line breaks that would end the event."""
    return b"event: %b\ndata: %b\n\n" % (event.encode(), msgspec.json.encode(told))


START = b"retry: %d\n\n" % RETRY_MS
HEARTBEAT = b": alive\n\n"
AWAY = frame("away", {"detail": "Redis does not answer; this goes on when it does"})


@dataclass(eq=False)
class _Watch:
    """A question that is asked again and again, as long as somebody listens."""

    polling: asyncio.Task[None]
    listeners: set[asyncio.Event] = field(default_factory=set)
    frame: bytes | None = None
    """The newest answer; None until there is one."""


class Live:
    """Those who listen, and what they listen to."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._watches: dict[Question, _Watch] = {}
        self._listeners: set[asyncio.Event] = set()
        self._at_once = asyncio.Semaphore(MAX_AT_ONCE)
        self._is_open = True

    @property
    def is_full(self) -> bool:
        """Whether nobody else may listen."""
        return len(self._listeners) >= MAX_LISTENERS

    async def listen(self, *questions: Question) -> AsyncGenerator[bytes, None]:
        """Answers to questions, all at first and then each that has changed, until `close`.

        Who reads slowly misses what was changed again meanwhile, and nothing is kept for them.
        """
        news = asyncio.Event()
        self._listeners.add(news)
        LISTENERS.set(len(self._listeners))
        watches = [self._join(question, news) for question in questions]
        told: list[bytes | None] = [None] * len(watches)
        try:
            yield START
            while self._is_open:
                known = [watch.frame for watch in watches]
                changed = [new for new, old in zip(known, told, strict=True) if new is not None and new is not old]
                if changed:
                    yield b"".join(changed)
                told = known
                try:
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await news.wait()
                except TimeoutError:
                    yield HEARTBEAT
                news.clear()
                for watch in watches:
                    if watch.polling.done():
                        watch.polling.result()
        finally:
            self._listeners.remove(news)
            LISTENERS.set(len(self._listeners))
            for question in questions:
                self._leave(question, news)

    def close(self) -> None:
        """End all streams."""
        self._is_open = False
        _wake(self._listeners)

    def _join(self, question: Question, news: asyncio.Event) -> _Watch:
        watch = self._watches.get(question)
        if watch is None:
            watch = self._watches[question] = _Watch(asyncio.create_task(self._poll(question)))
        watch.listeners.add(news)
        return watch

    def _leave(self, question: Question, news: asyncio.Event) -> None:
        watch = self._watches[question]
        watch.listeners.remove(news)
        if not watch.listeners:
            watch.polling.cancel()
            del self._watches[question]

    async def _poll(self, question: Question) -> None:
        watch = self._watches[question]
        try:
            while True:
                try:
                    async with self._at_once, asyncio.timeout(ANSWER_SECONDS):
                        found = frame(question.event, await question.ask(self._reader))
                except (RedisError, TimeoutError):
                    found = AWAY
                if found != watch.frame:
                    watch.frame = found
                    _wake(watch.listeners)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            # Where it failed in another way, those who listen fail with it, instead of waiting for ever.
            _wake(watch.listeners)


def _wake(listeners: set[asyncio.Event]) -> None:
    for news in listeners:
        news.set()
