"""Events as clients post them: checked against the contract, completed, and encoded for the topic.

What is accepted here, the stream accepts: it applies the same contract, and a record that it refused would be an event
that a client was told is taken and that is counted nowhere. So times are written anew, in one form, and ids as text;
what else a client tells of an event, `data`, is passed on byte for byte.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Raw, Struct

from lakehouse.contracts.contract import EARLIEST, ID_LENGTH, LATEST
from lakehouse.domains.players.contract import HIGHEST_SCORE, SCORE_EVENT

MAX_EVENT_BYTES = 64 * 1024
MAX_DEPTH = 30
"""Objects and arrays inside one another, the event itself included."""
MAX_NAME = 1_000
"""Characters of a name in `data`."""
MAX_NUMBER = 10**300
FUTURE = timedelta(hours=1)
SUSPECT_BYTES = 1_000
"""Up to this size no name and no number of `data` can be too long."""

NAMESPACE = uuid.UUID("6d1f8a0e-6a55-5b0c-9d0b-3c1c6f1f6a11")
"""Of the ids that are made of idempotency keys."""

TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?")
"""ISO 8601, with UTC where there is no offset."""

Id = Annotated[str, Meta(min_length=1, max_length=ID_LENGTH)]


class Event(Struct, forbid_unknown_fields=True):
    """One event, as it is posted."""

    event_type: Id
    player_id: Id | int
    game_id: Id | int
    timestamp: str | int
    data: Raw = Raw(b"{}")
    event_id: uuid.UUID | None = None


class Record(Struct):
    """One event, as it is on the topic."""

    event_id: str
    event_type: str
    player_id: str
    game_id: str
    timestamp: datetime
    data: Raw
    ingested_at: datetime


class Message(NamedTuple):
    """A record, encoded."""

    event_id: str
    event_type: str
    key: bytes
    value: bytes


class Refused(ValueError):
    """An event is not as it should be; the text says what is wrong with it."""

    def __init__(self, reason: str, field: str | None = None) -> None:
        """Of the whole event, or of one field."""
        super().__init__(reason)
        self.field = field


_EVENT = msgspec.json.Decoder(Event)
_DATA = msgspec.json.Decoder(dict[str, Any])
_ARRAY = msgspec.json.Decoder(list[Raw])
_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_TOO_DEEP = f"objects and arrays are nested more than {MAX_DEPTH} deep"


def accept(body: bytes | Raw, now: datetime, given_id: uuid.UUID | None = None) -> Message:
    """The message of an event.

    Args:
        body: JSON.
        now: When it came, UTC.
        given_id: Its id, if it carries none itself; unset: a new one.

    Raises:
        Refused: it is not as the contract says.
    """
    if len(memoryview(body)) > MAX_EVENT_BYTES:
        raise Refused(f"the event is larger than {MAX_EVENT_BYTES:,} bytes")
    try:
        event = _EVENT.decode(body)
        data = _data(bytes(event.data))
        event_id = str(event.event_id or given_id or uuid.uuid4())
        player = _text(event.player_id, "player_id")
        record = Record(
            event_id,
            _text(event.event_type, "event_type"),
            player,
            _text(event.game_id, "game_id"),
            _time(event.timestamp, now),
            event.data,
            now,
        )
        if event.event_type == SCORE_EVENT:
            _check_score(data.get("score"))
        return Message(event_id, event.event_type, player.encode(), msgspec.json.encode(record))
    except msgspec.ValidationError as error:
        place = _PLACE.search(str(error))
        raise Refused(_said(error), (place[1] or None) if place else None) from None
    except UnicodeError:
        raise Refused("the event is not valid UTF-8") from None
    except RecursionError:
        raise Refused(_TOO_DEEP) from None
    except msgspec.DecodeError as error:
        raise Refused(str(error)) from None


def split(body: bytes, *, is_lines: bool) -> list[bytes | Raw]:
    """The events of a batch, each still JSON.

    Args:
        body: A JSON array, or a JSON text a line.
        is_lines: Which of the two.

    Raises:
        Refused: it is no JSON array.
    """
    if is_lines:
        return [line for line in body.split(b"\n") if line.strip()]
    try:
        return list(_ARRAY.decode(body))
    except RecursionError:
        raise Refused(_TOO_DEEP) from None
    except msgspec.DecodeError as error:
        raise Refused(f"expected a JSON array of events: {_said(error)}") from None


def ids_of(key: str, owner: str) -> Iterator[uuid.UUID]:
    """Ids of the events of a request that came with an idempotency key: the same each time it comes."""
    number = 0
    while True:
        yield uuid.uuid5(NAMESPACE, f"{owner}\0{key}\0{number}")
        number += 1


def _text(value: str | int, field: str) -> str:
    text = str(value)
    if "\0" in text:
        raise Refused("holds the character U+0000", field)
    if len(text) > ID_LENGTH:
        raise Refused(f"{len(text)} characters, at most {ID_LENGTH} are allowed", field)
    return text


def _time(value: str | int, now: datetime) -> datetime:
    try:
        if isinstance(value, int):
            at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=value)
        elif TIME.fullmatch(value):
            found = datetime.fromisoformat(value)
            at = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        else:
            raise ValueError(value)
    except (ValueError, OverflowError):
        raise Refused("not a time: expected ISO 8601, or milliseconds since 1970", "timestamp") from None
    if not EARLIEST <= at <= LATEST:
        raise Refused("not between 1900 and 2200", "timestamp")
    if at > now + FUTURE:
        raise Refused("more than 1 h ahead of now", "timestamp")
    return at


def _check_score(score: Any) -> None:
    if type(score) is not int:
        raise Refused(f"a whole number is required of a {SCORE_EVENT}", "data.score")
    if abs(score) > HIGHEST_SCORE:
        raise Refused(f"not between {-HIGHEST_SCORE:,} and {HIGHEST_SCORE:,}", "data.score")


def _data(text: bytes) -> dict[str, Any]:
    """What is told of an event beside its fields."""
    try:
        data = _DATA.decode(text)
    except msgspec.ValidationError as error:
        raise Refused(_said(error), "data") from None
    _check_data(text, data)
    return data


def _said(error: msgspec.DecodeError) -> str:
    return _PLACE.sub("", str(error)).replace("`", "")


def _check_data(text: bytes, data: dict[str, Any]) -> None:
    """Look for what JSON allows and the stream does not; most data is too small and too plain to hold any of it."""
    is_deep = text.count(b"{") + text.count(b"[") >= MAX_DEPTH
    if not is_deep and len(text) <= SUSPECT_BYTES and b"\\u" not in text:
        return
    waiting: list[tuple[Any, int]] = [(data, 2)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, dict | list) and depth > MAX_DEPTH:
            raise Refused(_TOO_DEEP, "data")
        if isinstance(value, dict):
            if any(len(name) > MAX_NAME for name in value):
                raise Refused(f"a name has more than {MAX_NAME:,} characters", "data")
            waiting += [(one, depth + 1) for one in (*value, *value.values())]
        elif isinstance(value, list):
            waiting += [(one, depth + 1) for one in value]
        elif isinstance(value, str) and "\0" in value:
            raise Refused("holds the character U+0000", "data")
        elif isinstance(value, int) and abs(value) > MAX_NUMBER:
            raise Refused("holds a number that is too large", "data")
