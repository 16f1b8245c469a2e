"""A RAWG server of ours: real HTTP, the API's shapes, and as much misbehaviour as asked for.

For tests, the demo and benchmarks; `lakehouse rawg serve` runs it in the foreground.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from lakehouse.domains.rawg.items import read_page
from lakehouse.domains.rawg.site import Game, Site, game_of
from lakehouse.settings import LOOPBACK

PATH = "/api/games"


@dataclass
class Trouble:
    """How the server misbehaves; shares are of the requests, 0 to 1, and may be changed while it runs."""

    latency: float = 0.0
    """Seconds before an answer."""
    rate_limit: float = 0.0
    """Requests of a second; more are refused (429). 0: any number."""
    retry_after: int = 1
    """Seconds that a refused caller is told to wait."""
    too_many: float = 0.0
    """Refused (429) for no reason."""
    failing: float = 0.0
    """Answered with 502."""
    half: float = 0.0
    """Cut off in the middle of the body."""
    garbled: float = 0.0
    """Not JSON, with status 200."""
    empty: float = 0.0
    """Without items though there are some."""
    doubled: float = 0.0
    """With the first item of the page a second time, in place of the last."""
    moving: float = 0.0
    """After which a game takes another place in the order of lists."""
    cut: bool = False
    """Every connection is closed without an answer."""
    seed: int = 0
    before: Callable[[int], None] = field(default=lambda number: None)
    """Called before each answer with the request's number, from 1."""


class RawgServer:
    """The server, in threads of this process."""

    def __init__(self, site: Site, trouble: Trouble | None = None, port: int = 0) -> None:
        """Listen on loopback; port 0 takes any that is free."""
        self.site = site
        self.trouble = trouble or Trouble()
        self.requests = 0
        self.statuses: Counter[int] = Counter()
        self.arrivals: deque[float] = deque(maxlen=1_000_000)
        """When each request came, monotonic."""
        self.chance = random.Random(self.trouble.seed)  # noqa: S311
        self._lock = threading.Lock()

        class Handler(_Handler):
            rawg = self

        self._http = _Http((LOOPBACK, port), Handler)
        self.url = f"http://{LOOPBACK}:{self._http.server_address[1]}/api"

    def serve_forever(self) -> None:
        """Answer until told to end."""
        self._http.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        """End."""
        self._http.shutdown()
        self._http.server_close()

    def arrive(self) -> tuple[int, str | None]:
        """Count a request; its number, and what goes wrong with it."""
        with self._lock:
            self.requests += 1
            moment = time.monotonic()
            self.arrivals.append(moment)
            trouble, drawn = self.trouble, self.chance.random()
            if trouble.rate_limit:
                recent = sum(moment - at < 1 for at in list(self.arrivals)[-int(trouble.rate_limit) - 2 :])
                if recent > trouble.rate_limit:
                    return self.requests, "too_many"
            for name in ("too_many", "failing", "half", "garbled", "empty", "doubled"):
                if drawn < (share := getattr(trouble, name)):
                    return self.requests, name
                drawn -= share
            return self.requests, None

    def move(self) -> None:
        """With the chance that there is for it, give some game another place."""
        with self._lock:
            if self.chance.random() >= self.trouble.moving:
                return
            games = self.site.games
            if games:
                game, other = self.chance.choice(games), self.chance.choice(games)
                self.site.put(msgspec.structs.replace(game, created=other.created + self.chance.random() - 0.5))


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """End the connections, too, that callers keep open."""
        super().server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller who is gone is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    rawg: RawgServer
    protocol_version = "HTTP/1.1"
    timeout = 60
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        """Answer."""
        rawg, trouble = self.rawg, self.rawg.trouble
        number, wrong = rawg.arrive()
        if trouble.latency:
            time.sleep(trouble.latency)
        if trouble.cut:
            self.close_connection = True
            return
        trouble.before(number)
        status, body = self._answer(wrong)
        rawg.statuses[status] += 1
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", str(trouble.retry_after))
        self.end_headers()
        if wrong == "half":
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)
        if trouble.moving:
            rawg.move()

    def _answer(self, wrong: str | None) -> tuple[int, bytes]:
        address = urlsplit(self.path)
        asked = dict(parse_qsl(address.query))
        path = address.path.rstrip("/")
        if wrong == "too_many":
            return 429, b'{"error": "Too many requests"}'
        if wrong == "failing":
            return 502, b"<html><h1>502 Bad Gateway</h1></html>"
        refusal = self.rawg.site.refusal(asked)
        if refusal:
            return 401, refusal
        if path.startswith(f"{PATH}/"):
            return self.rawg.site.details(path.removeprefix(f"{PATH}/"))
        if path != PATH:
            return 404, b'{"detail":"Not found."}'
        status, body = self.rawg.site.list_page(f"http://{self.headers['Host']}{PATH}", asked)
        if status != 200:
            return status, body
        if wrong == "garbled":
            return 200, body[:-1] + b"]"
        if wrong in ("empty", "doubled"):
            items = read_page(body).items
            start = body.index(b'"results":[') + len(b'"results":[')
            end = body.rindex(b'],"seo_title"')
            kept = [] if wrong == "empty" else [*items[:-1], items[0]] if items else []
            return 200, body[:start] + b",".join(kept) + body[end:]
        return status, body

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Addresses hold keys: nothing is logged."""


@contextmanager
def running(site: Site, trouble: Trouble | None = None) -> Iterator[RawgServer]:
    """A server in threads of this process, on a free port, for as long as the block takes."""
    server = RawgServer(site, trouble)
    thread = threading.Thread(target=server.serve_forever, name="rawg-server", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


def games_of_files(paths: Iterable[Path]) -> Iterator[Game]:
    """Games of files of items: recorded pages, JSON arrays, or an item a line; in the API's shape."""
    for path in paths:
        text = path.read_bytes().strip()
        if text.startswith(b"["):
            items = [bytes(item) for item in msgspec.json.decode(text, type=list[msgspec.Raw])]
        elif b'"results"' in text[:2000] and b"\n{" not in text:
            items = read_page(text).items
        else:
            items = text.splitlines()
        for place, item in enumerate(items):
            yield game_of(item, created=place)
