"""What is taken of what clients post, and what becomes of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.api.events import MAX_DEPTH, MAX_EVENT_BYTES, Event, Record, Refused, accept, ids_of, split
from lakehouse.domains.players.contract import PLAYER_EVENT

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "event_type": "player_score",
    "player_id": "p1",
    "game_id": "g1",
    "timestamp": "2026-05-01T11:59:00+02:00",
    "data": {"score": 10, "text": "“ü”"},
}


def posted(**changes: Any) -> bytes:
    return json.dumps(GOOD | changes).encode()


def test_it_carries_the_fields_of_the_contract() -> None:
    paths = {column.path or column.name for column in PLAYER_EVENT.fields}
    top = {path for path in paths if "." not in path}
    assert set(Event.__struct_fields__) == top
    assert set(Record.__struct_fields__) == top | {"ingested_at"}


def test_an_event_is_completed() -> None:
    message = accept(posted(), NOW)
    record = json.loads(message.value)
    assert record == {
        "event_id": message.event_id,
        "event_type": "player_score",
        "player_id": "p1",
        "game_id": "g1",
        "timestamp": "2026-05-01T09:59:00Z",
        "data": {"score": 10, "text": "“ü”"},
        "ingested_at": "2026-05-01T12:00:00Z",
    }
    assert (message.key, message.event_type) == (b"p1", "player_score")
    assert UUID(message.event_id).version == 4


def test_data_is_passed_on_byte_for_byte() -> None:
    data = b'{ "score":10 ,"big":1180591620717411303424,"exact":0.10000000000000000001}'
    body = b'{"event_type":"player_score","player_id":7,"game_id":"g","timestamp":0,"data":%s}' % data
    message = accept(body, NOW)
    assert data in message.value
    assert message.key == b"7"


def test_an_id_that_comes_with_the_event_is_kept_and_a_given_one_is_used_for_others() -> None:
    own = "6F9619FF-8B86-D011-B42D-00C04FC964FF"
    given_id = UUID(int=5)
    assert accept(posted(event_id=own), NOW, given_id).event_id == own.lower()
    assert accept(posted(), NOW, given_id).event_id == str(given_id)


def test_the_ids_of_an_idempotency_key_are_the_same_each_time_and_others_for_others() -> None:
    def first(key: str, owner: str) -> list[UUID]:
        ids = ids_of(key, owner)
        return [next(ids) for _ in range(3)]

    assert first("a", "x") == first("a", "x")
    assert len({*first("a", "x"), *first("b", "x"), *first("a", "y")}) == 9


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        (b"", None, "truncated"),
        (b"[]", None, "Expected object, got array"),
        (b"\xff", None, "malformed"),
        (b'{"event_type":"\xff"}', None, "UTF-8"),
        (b'{"a":' * 2_000 + b"1" + b"}" * 2_000, None, "unknown field a"),
        (posted(more=1), None, "unknown field more"),
        (posted(event_type=""), "event_type", "length >= 1"),
        (posted(event_type="x" * 101), "event_type", "length <= 100"),
        (posted(event_type=None), "event_type", "Expected str"),
        (posted(player_id=1.5), "player_id", "got float"),
        (posted(player_id=10**101), "player_id", "characters"),
        (posted(game_id="a\0b"), "game_id", "U+0000"),
        (posted(event_id="not-a-uuid"), "event_id", "UUID"),
        (posted(data=[1]), "data", "Expected object"),
        (posted(data={"note": ["a\0b"]}), "data", "U+0000"),
        (posted(data={"a\0b": 1}), "data", "U+0000"),
        (posted(data={"x" * 1_001: 1}), "data", "1,000 characters"),
        (posted(data={"score": 1, "n": int("9" * 1_100)}), "data", "too large"),
        (posted(data={"score": "10"}), "data.score", "whole number"),
        (posted(data={"score": 1.0}), "data.score", "whole number"),
        (posted(data={"score": True}), "data.score", "whole number"),
        (posted(data={}), "data.score", "whole number"),
        (posted(data={"score": 10**9 + 1}), "data.score", "not between"),
        (posted(timestamp="yesterday"), "timestamp", "not a time"),
        (posted(timestamp="2026-02-30T10:00:00Z"), "timestamp", "not a time"),
        (posted(timestamp="2026-W18-5T10:00:00Z"), "timestamp", "not a time"),
        (posted(timestamp="1899-12-31T23:59:59Z"), "timestamp", "1900"),
        (posted(timestamp=10**18), "timestamp", "not a time"),
        (posted(timestamp=True), "timestamp", "got bool"),
        (posted(timestamp=(NOW + timedelta(hours=1, seconds=1)).isoformat()), "timestamp", "ahead"),
        (posted(data={"x": "y" * MAX_EVENT_BYTES}), None, "larger"),
    ],
)
def test_what_is_wrong_is_told_with_its_field(body: bytes, field: str | None, reason: str) -> None:
    with pytest.raises(Refused, match="(?i)" + reason.replace("+", r"\+")) as error:
        accept(body, NOW)
    assert error.value.field == field


@pytest.mark.parametrize("missing", ["event_type", "player_id", "game_id", "timestamp"])
def test_what_is_missing_is_named(missing: str) -> None:
    body = json.dumps({name: value for name, value in GOOD.items() if name != missing}).encode()
    with pytest.raises(Refused, match=f"missing required field {missing}"):
        accept(body, NOW)


@given(st.integers(1, 60))
def test_depth_is_told_by_counting(depth: int) -> None:
    inner: Any = 1
    for _ in range(depth):
        inner = [inner]
    body = posted(data={"score": 1, "x": inner})
    if depth + 2 <= MAX_DEPTH:
        accept(body, NOW)
    else:
        with pytest.raises(Refused, match="nested"):
            accept(body, NOW)


def test_many_brackets_are_not_yet_deep() -> None:
    accept(posted(data={"score": 1, "x": [[1]] * 100, "y": "[" * 100}), NOW)


def test_a_batch_is_taken_apart() -> None:
    events = [posted(), b"7", posted(player_id="p2")]
    lines = split(b"\n".join([events[0], b"", *events[1:], b"  "]), is_lines=True)
    array = split(b"[" + b",".join(events) + b"]", is_lines=False)
    assert [bytes(event) for event in lines] == [bytes(event) for event in array] == events
    for body, reason in ((b'{"a":1}', "JSON array"), (b"[1", "JSON array"), (b"[" * 100_000, "nested")):
        with pytest.raises(Refused, match=reason):
            split(body, is_lines=False)
