"""Requests to an HTTP service from a process of its own, as fast as answers come or at a rate.

At a rate the moments of all requests are fixed beforehand, at random, and a latency begins when its request was due,
not when there was a connection for it: so a service that stops for a while is blamed for all that would have come
meanwhile. The ids of the events that were acknowledged are written to a file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import uuid
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import uvloop

from benchmarks.child import Child
from benchmarks.players import GAMES, events, game

BOARD = "board"
"""What is asked for: a board, or else so many events are posted a request."""
STOCK = 4_000
"""Events that differ in more than their id."""
LATE_SECONDS = 60.0
QUANTILES = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_ID = "-0000-4000-8000-%012x"
"""Ids are as long as any, and are filled into a body that is written once."""


class Posts:
    """Requests that post events, each with ids of its own."""

    def __init__(self, size: int) -> None:
        self.size, self._run = size, uuid.uuid4().hex[:8]
        stock = [self._body(*event) for event in events(max(STOCK, size), seed=size)]
        bodies = [stock[at : at + size] for at in range(0, len(stock) - size + 1, size)]
        self._templates = [_post(of[0], "") if size == 1 else _post(f"[{','.join(of)}]", "/batch") for of in bodies]

    def __call__(self, number: int) -> bytes:
        """Make a request."""
        first = number * self.size
        return self._templates[number % len(self._templates)] % tuple(range(first, first + self.size))

    def ids(self, number: int) -> list[str]:
        """Of the events of a request."""
        return [self._run + _ID % at for at in range(number * self.size, (number + 1) * self.size)]

    def _body(self, player: str, game: str, kind: str, at: datetime, score: int | None) -> str:
        data = {} if score is None else {"score": score, "match": {"round": 3}}
        event = {"event_id": self._run + _ID, "event_type": kind, "player_id": player, "game_id": game}
        return json.dumps(event | {"timestamp": at.isoformat(), "data": data}, separators=(",", ":"))


class Boards:
    """Requests that ask for the first players of a game."""

    size = 1

    def __call__(self, number: int) -> bytes:
        """Make a request."""
        path = f"/api/v1/games/{game(number % GAMES)}/leaderboards/alltime"
        return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()

    def ids(self, _: int) -> list[str]:
        """None."""
        return []


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    transport: asyncio.Transport

    def __init__(self, on_answer: Callable[[Connection, bool], None]) -> None:
        self._on_answer, self._held = on_answer, bytearray()
        self.number, self.due = 0, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what requests are written to."""
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, number: int, due: float, request: bytes) -> None:
        """Send a request that was due at a moment."""
        self.number, self.due = number, due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Put an answer together."""
        self._held += data
        head = self._held.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(self._held, 0, head)
        if length and len(self._held) < head + 4 + int(length[1]):
            return
        is_good = self._held.startswith(b"HTTP/1.1 200")
        self._held.clear()
        self._on_answer(self, is_good)


class Load:
    """What is asked, and what came of it."""

    def __init__(self, requests: Posts | Boards, count: int, seconds: float, rate: float | None) -> None:
        self.requests, self.count, self.seconds, self.rate = requests, count, seconds, rate
        self.latencies: list[float] = []
        self.good: list[int] = []
        """Numbers of the requests that were answered with 200."""
        self.asked = 0
        self._idle: deque[Connection] = deque()
        self._waiting: deque[float] = deque()
        """When requests were due that there is no connection for."""
        self._end = float("inf")

    async def run(self, host: str, port: int) -> None:
        """Connect, wait for the signal, ask, and tell."""
        loop = asyncio.get_running_loop()
        for _ in range(self.count):
            _, connection = await loop.create_connection(lambda: Connection(self._on_answer), host, port)
            self._idle.append(connection)
        self._now = loop.time
        child = Child()
        await (self._at_rate(self.rate) if self.rate else self._as_fast_as_it_goes())
        async with asyncio.timeout(LATE_SECONDS):
            while self._waiting or len(self._idle) < self.count:
                await asyncio.sleep(0.001)
        found = pc.quantile(pa.array(self.latencies), list(QUANTILES.values())).to_pylist()
        child.done(
            len(self.good) * self.requests.size,
            len(self.good),
            failed=self.asked - len(self.good),
            **{name: round(1000 * value, 2) for name, value in zip(QUANTILES, found, strict=True)},
        )

    async def _as_fast_as_it_goes(self) -> None:
        self._end = self._now() + self.seconds
        while self._idle:
            self._ask(self._idle.popleft(), self._now())
        await asyncio.sleep(self.seconds)

    async def _at_rate(self, rate: float) -> None:
        chance = random.Random(1)  # noqa: S311
        due = start = self._now()
        while (due := due + chance.expovariate(rate)) < start + self.seconds:
            if (early := due - self._now()) > 0:
                await asyncio.sleep(early)
            if self._idle:
                self._ask(self._idle.popleft(), due)
            else:
                self._waiting.append(due)

    def _ask(self, connection: Connection, due: float) -> None:
        connection.ask(self.asked, due, self.requests(self.asked))
        self.asked += 1

    def _on_answer(self, connection: Connection, is_good: bool) -> None:
        now = self._now()
        self.latencies.append(now - connection.due)
        if is_good:
            self.good.append(connection.number)
        if self._waiting:
            self._ask(connection, self._waiting.popleft())
        elif not self.rate and now < self._end:
            self._ask(connection, now)
        else:
            self._idle.append(connection)


def _post(body: str, path: str) -> bytes:
    length = len(body.replace(_ID, _ID % 0))
    return (
        f"POST /api/v1/events{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n{body}"
    ).encode()


def main() -> None:
    """Read the flags, ask, write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int, help="of the service, on loopback")
    parser.add_argument("what", help=f"events a request, or `{BOARD}`")
    parser.add_argument("connections", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("ids", type=Path, help="file to which the ids of acknowledged events are added")
    parser.add_argument("--rate", type=float, help="requests a second; default: as fast as answers come")
    arguments = parser.parse_args()
    requests = Boards() if arguments.what == BOARD else Posts(int(arguments.what))
    load = Load(requests, arguments.connections, arguments.seconds, arguments.rate)
    uvloop.run(load.run("127.0.0.1", arguments.port))
    with arguments.ids.open("a") as file:
        for number in load.good:
            file.writelines(f"{id_}\n" for id_ in requests.ids(number))


if __name__ == "__main__":
    main()
