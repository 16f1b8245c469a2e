"""Items of the API's lists: taken out of a page as received, judged, and told apart by what they say of the game."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Annotated, Any

import msgspec

from lakehouse.contracts.json_text import MAX_DEPTH, strict_problem
from lakehouse.domains.rawg.contract import MAX_ID, VOLATILE

HASH_DIGITS = 32
"""Hexadecimal digits of SHA-256 that are kept."""

REDACTED = b"REDACTED"
_KEY = re.compile(rb"((?:[?&]|\\u003[fF]|\\u0026)key=)[^&\"\\\s]*")
"""An API key in an address, whose signs JSON may write as their numbers."""


class BrokenPage(Exception):
    """An answer that is no page: cut off, or not JSON."""


class _Named(msgspec.Struct):
    id: int
    name: str
    slug: str


class _Platform(msgspec.Struct):
    platform: _Named
    released_at: str | None = None
    requirements_en: dict[str, Any] | None = None
    requirements_ru: dict[str, Any] | None = None


class _Store(msgspec.Struct):
    store: _Named


class _Rating(msgspec.Struct):
    id: int
    title: str
    count: int
    percent: float


class _Item(msgspec.Struct):
    """What an item must look like. A field that is not there is null; others are kept, whatever they are."""

    id: Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
    slug: str | None = None
    name: str | None = None
    released: str | None = None
    updated: str | None = None
    tba: bool | None = None
    rating: float | None = None
    rating_top: int | None = None
    ratings: list[_Rating] | None = None
    ratings_count: int | None = None
    reviews_count: int | None = None
    reviews_text_count: int | None = None
    added: int | None = None
    added_by_status: dict[str, int] | None = None
    metacritic: int | None = None
    playtime: int | None = None
    suggestions_count: int | None = None
    platforms: list[_Platform] | None = None
    genres: list[_Named] | None = None
    tags: list[_Named] | None = None
    stores: list[_Store] | None = None
    esrb_rating: _Named | None = None


class _Known(msgspec.Struct):
    id: int


class _Page(msgspec.Struct):
    count: int
    results: list[msgspec.Raw]
    next: str | None = None


@dataclass(frozen=True)
class Page:
    """A page of a list."""

    count: int
    """Items that the API says the whole list has."""
    items: list[bytes]
    """As received, keys redacted."""
    has_next: bool


@dataclass(frozen=True)
class Game:
    """An item that is good."""

    game_id: int
    updated_at: datetime | None
    release_date: date | None
    content_hash: str


@dataclass(frozen=True)
class Misfit:
    """Why an item is refused."""

    error_type: str
    message: str
    game_id: int | None = None
    """Of the game that it speaks of, where it says so."""


_pages = msgspec.json.Decoder(_Page)
_items = msgspec.json.Decoder(_Item)
_known = msgspec.json.Decoder(_Known)
_anything = msgspec.json.Decoder()


def read_page(body: bytes) -> Page:
    """Take a page apart. One bad item does not hurt the others.

    Raises:
        BrokenPage: it is none.
    """
    try:
        page = _pages.decode(body)
        items = [bytes(item) for item in page.results]
    except (msgspec.DecodeError, RecursionError):
        # An item may hold what no strict parser takes; the text between its braces is still an item.
        try:
            outer, items = _cut_out(body)
            page = _pages.decode(outer)
        except (msgspec.DecodeError, ValueError) as error:
            raise BrokenPage(str(error)) from None
    return Page(page.count, [redact(item) for item in items], page.next is not None)


def redact(text: bytes) -> bytes:
    """A text without the API keys of the addresses in it."""
    return _KEY.sub(rb"\1" + REDACTED, text) if b"key=" in text else text


_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_RESULTS = re.compile(rb'"results"\s*:\s*\[')


def _cut_out(body: bytes) -> tuple[bytes, list[bytes]]:
    """The page without its items, and these, found by braces and quotes alone.

    Raises:
        ValueError: the braces do not match.
    """
    start = _RESULTS.search(body)
    if not start:
        raise ValueError("the answer has no results")
    items: list[bytes] = []
    depth, begun = 0, start.end()
    for token in _TOKEN.finditer(body, start.end()):
        mark = token.group()
        if mark in (b"{", b"["):
            begun = token.start() if depth == 0 else begun
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
            if depth < 0:
                return body[: start.end()] + body[token.start() :], items
            if depth == 0:
                items.append(body[begun : token.end()])
    raise ValueError("the answer ends within an item")


def judge(item: bytes) -> Game | Misfit:
    """Say what an item is, or why it is refused."""
    verdict = _judge(item)
    return replace(verdict, game_id=_named_in(item)) if isinstance(verdict, Misfit) else verdict


def _named_in(item: bytes) -> int | None:
    try:
        return _known.decode(item).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _judge(item: bytes) -> Game | Misfit:
    try:
        text = item.decode()
    except UnicodeDecodeError as error:
        return Misfit("INVALID_UTF8", f"not UTF-8: {error.reason} at byte {error.start}")
    if b"\\u0000" in item and (problem := strict_problem(text)):
        return Misfit(*problem)
    try:
        game = _items.decode(item)
        updated, released = _moment(game.updated), _day(game.released)
        return Game(game.id, updated, released, content_hash(item))
    except msgspec.ValidationError as error:
        return _wrong(str(error))
    except (msgspec.DecodeError, RecursionError) as error:
        return Misfit(*(strict_problem(text) or ("INVALID_JSON", f"the item is not valid JSON: {error}")))
    except _Refused as error:
        return error.misfit


def content_hash(item: bytes) -> str:
    """Hash of what an item says of the game; the order of its fields and the decorations do not count."""
    said = _anything.decode(item)
    _strip(said)
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()[:HASH_DIGITS]


def _strip(value: Any, depth: int = 1) -> None:
    """Take the decorations out, in place: most of an item's time is spent here."""
    if depth > MAX_DEPTH:
        raise _Refused(Misfit("TOO_DEEP", f"more than {MAX_DEPTH} levels of nesting"))
    if type(value) is dict:
        for name in VOLATILE:
            value.pop(name, None)
        value = value.values()
    for part in value:
        if type(part) is dict or type(part) is list:
            _strip(part, depth + 1)


class _Refused(Exception):
    def __init__(self, misfit: Misfit) -> None:
        self.misfit = misfit


def _moment(text: str | None) -> datetime | None:
    """The API's times have no zone: they are UTC. One that brings a zone is taken by it."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _Refused(Misfit("INVALID_TIMESTAMP", f"updated: {text[:40]!r} is no time: {error}")) from None


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise _Refused(Misfit("INVALID_DATE", f"released: {text[:40]!r} is no day: {error}")) from None


def _wrong(said: str) -> Misfit:
    """A typed parser's complaint, as the kinds of failure we count."""
    if "missing required field `id`" in said:
        return Misfit("MISSING_FIELD", "id: missing")
    if said.startswith("Expected `object`"):
        return Misfit("NOT_AN_OBJECT", said)
    kind = "OUT_OF_RANGE" if ">=" in said or "<=" in said or "out of range" in said else "WRONG_TYPE"
    return Misfit(kind, said)
