"""A server like MTGJSON's, over files of our own: for the demo, the tests and the benchmarks.

It serves a folder of JSON files over HTTP, each also compressed and each with its checksum, knows ranges, and
misbehaves when it is told to. `write_build` makes such a folder of sets and prices.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lakehouse.settings import LOOPBACK

PREFIX = "/api/v5/"
BLOCK = 64 * 1024
SHA256 = ".sha256"
_COMPRESSIONS: dict[str, Callable[[Path], Any]] = {
    ".gz": partial(gzip.open, mode="wb", compresslevel=6),
    ".bz2": partial(bz2.open, mode="wb"),
    ".xz": partial(lzma.open, mode="wb", preset=1),
}
_RANGE = re.compile(r"bytes=(\d+)-$")
_RESERVED = frozenset({"CON", "PRN", "AUX", "NUL"})
"""Names that a file cannot have everywhere: upstream puts a `_` behind them."""

Json = dict[str, Any]


class Mischief(StrEnum):
    """What a server can do wrong."""

    TRUNCATE = "truncate"
    """Close the connection in the middle of the file."""
    SHORTEN = "shorten"
    """Serve half of the file as if it were all."""
    CORRUPT = "corrupt"
    """Change a byte."""
    LIE = "lie"
    """Say another checksum."""
    BUSY = "busy"
    """429 with `Retry-After`."""
    UNAVAILABLE = "unavailable"
    """503 with `Retry-After`."""
    FAIL = "fail"
    """500."""
    STALL = "stall"
    """Send half and then nothing, until the client gives up."""
    SWAP = "swap"
    """In the middle of the file, go over to the next build."""


@dataclass
class Fault:
    """Something that goes wrong with some files, a number of times."""

    mischief: Mischief
    files: str
    """Regular expression for the names."""
    times: int = 1
    retry_after: str = "0"


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    name: str
    range: str | None
    status: int
    user_agent: str


@dataclass
class Shelf:
    """What the server serves now, how it misbehaves, and what it was asked."""

    folder: Path
    address: str = ""
    following: Path | None = None
    """Folder of the next build, for `Mischief.SWAP`."""
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    knows_ranges: bool = True
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, name: str) -> Fault | None:
        """What goes wrong with the file this time."""
        with self.lock:
            for fault in self.faults:
                is_checksum = name.endswith(SHA256)
                if fault.times and re.fullmatch(fault.files, name) and is_checksum == (fault.mischief is Mischief.LIE):
                    fault.times -= 1
                    return fault
        return None

    def find(self, name: str) -> Path | None:
        """The file of that name, compressed or summed up first where it has to be."""
        if "/" in name or name.startswith("."):
            return None
        path = self.folder / name
        with self.lock:
            return path if _make(path) else None

    def asked(self, pattern: str) -> list[Request]:
        """Requests for files whose names match."""
        return [request for request in self.requests if re.fullmatch(pattern, request.name)]


def _make(path: Path) -> bool:
    if path.is_file():
        return True
    source = path.with_suffix("")
    if path.suffix == SHA256 and _make(source):
        with source.open("rb") as file:
            path.write_text(hashlib.file_digest(file, "sha256").hexdigest())
        return True
    compress = _COMPRESSIONS.get(path.suffix)
    if compress is None or not source.is_file():
        return False
    part = path.with_name(f".{path.name}")
    with source.open("rb") as file, compress(part) as packed:
        shutil.copyfileobj(file, packed, BLOCK)
    part.replace(path)
    return True


class _Handler(BaseHTTPRequestHandler):
    shelf: Shelf
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with a file, or with what goes wrong."""
        shelf = self.shelf
        name = self.path.removeprefix(PREFIX)
        fault = shelf.fault(name)
        path = shelf.find(name) if self.path.startswith(PREFIX) else None
        if fault and fault.mischief in (Mischief.BUSY, Mischief.UNAVAILABLE, Mischief.FAIL):
            status = {Mischief.BUSY: HTTPStatus.TOO_MANY_REQUESTS, Mischief.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE}
            self._refuse(name, status.get(fault.mischief, HTTPStatus.INTERNAL_SERVER_ERROR), fault.retry_after)
        elif path is None:
            self._refuse(name, HTTPStatus.NOT_FOUND)
        elif fault and fault.mischief is Mischief.LIE:
            self._send(name, _Content([b"0" * 64], 64, "lie"), 0, None)
        else:
            self._serve(name, path, fault)

    def _serve(self, name: str, path: Path, fault: Fault | None) -> None:
        content = _content(path, fault, self.shelf)
        asked = _RANGE.match(self.headers.get("Range", "")) if self.shelf.knows_ranges else None
        known = self.headers.get("If-Range")
        start = int(asked[1]) if asked and known in (None, content.tag) else 0
        if start and start >= content.size:
            self._refuse(name, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            return
        self._send(name, content, start, fault)

    def _send(self, name: str, content: _Content, start: int, fault: Fault | None) -> None:
        self._log(name, HTTPStatus.PARTIAL_CONTENT if start else HTTPStatus.OK)
        self.send_response(HTTPStatus.PARTIAL_CONTENT if start else HTTPStatus.OK)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{content.size - 1}/{content.size}")
        self.send_header("Content-Length", str(content.size - start))
        self.send_header("ETag", content.tag)
        self.end_headers()
        left = content.size - start
        if fault and fault.mischief in (Mischief.TRUNCATE, Mischief.STALL):
            left //= 2
            self.close_connection = True
        # A client that had enough is no failure of the server.
        with suppress(ConnectionError):
            for block in content.after(start):
                self.wfile.write(block[:left])
                left -= len(block[:left])
                if not left:
                    break
            if fault and fault.mischief is Mischief.STALL:
                self.wfile.flush()
                self.shelf.stopped.wait()

    def _refuse(self, name: str, status: HTTPStatus, retry_after: str | None = None) -> None:
        self._log(name, status)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()

    def _log(self, name: str, status: HTTPStatus) -> None:
        request = Request(name, self.headers.get("Range"), int(status), self.headers.get("User-Agent", ""))
        self.shelf.requests.append(request)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@dataclass(frozen=True)
class _Content:
    blocks: Iterable[bytes]
    size: int
    tag: str

    def after(self, start: int) -> Iterator[bytes]:
        for block in self.blocks:
            if start < len(block):
                yield block[start:]
            start = max(0, start - len(block))


def _content(path: Path, fault: Fault | None, shelf: Shelf) -> _Content:
    size, stat = path.stat().st_size, path.stat()
    tag = f'"{stat.st_mtime_ns:x}-{size:x}"'
    mischief = fault.mischief if fault else None
    if mischief is Mischief.SHORTEN:
        return _Content([path.read_bytes()[: size // 2]], size // 2, tag)
    if mischief is Mischief.CORRUPT:
        whole = bytearray(path.read_bytes())
        whole[size // 2] ^= 0xFF
        return _Content([bytes(whole)], size, tag)
    if mischief is Mischief.SWAP and shelf.following:
        before = path.read_bytes()
        shelf.folder = shelf.following
        _make(shelf.folder / path.name)
        whole = bytearray(before)
        after = (shelf.folder / path.name).read_bytes()
        whole[size // 2 :] = after[size // 2 : size].ljust(size - size // 2, b"\0")
        return _Content([bytes(whole)], size, tag)
    return _Content(_blocks(path), size, tag)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[Shelf]:
    """Serve a folder on loopback while the block lasts; port 0 is any that is free."""
    shelf = Shelf(folder)
    handler = type("Handler", (_Handler,), {"shelf": shelf})
    with ThreadingHTTPServer((LOOPBACK, port), handler) as server:
        server.daemon_threads = True
        shelf.address = f"http://{LOOPBACK}:{server.server_port}{PREFIX}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield shelf
        finally:
            shelf.stopped.set()
            server.shutdown()


def file_name(code: str) -> str:
    """Name of a set's file, without its ending."""
    return f"{code}_" if code in _RESERVED else code


def write_build(
    folder: Path,
    date: str,
    version: str,
    sets: Mapping[str, Json],
    prices: Json | None = None,
    history: Json | None = None,
) -> Path:
    """Write a build's files into a folder, as MTGJSON has them.

    Args:
        folder: Made where it is missing.
        date: Day of the build.
        version: Its version.
        sets: The object of each set, cards and tokens included, by code.
        prices: The object of each card in `AllPricesToday`, by uuid.
        history: The same in `AllPrices`; that of `AllPricesToday`, if not given.
    """
    folder.mkdir(parents=True, exist_ok=True)
    meta = {"date": date, "version": version}

    def write(name: str, data: Any) -> None:
        (folder / f"{name}.json").write_text(json.dumps({"meta": meta, "data": data}, ensure_ascii=False))

    write("Meta", meta)
    left_out = ("cards", "tokens", "booster")
    write("SetList", [{k: v for k, v in told.items() if k not in left_out} for told in sets.values()])
    for code, told in sets.items():
        write(file_name(code), told)
    write("AllPrintings", dict(sets))
    if prices is not None:
        write("AllPricesToday", prices)
        write("AllPrices", history if history is not None else prices)
    return folder
