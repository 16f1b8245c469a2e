"""Items: taken out of pages byte for byte, judged one by one, told apart by what they say of the game."""

from __future__ import annotations

from datetime import UTC, date, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.domains.rawg.items import BrokenPage, Game, Misfit, content_hash, judge, read_page, redact

DEEP = b"[" * 3000 + b"]" * 3000

BAD = {
    b'{"name":"x"}': "MISSING_FIELD",
    b'{"id":null}': "WRONG_TYPE",
    b'{"id":"5"}': "WRONG_TYPE",
    b'{"id":true}': "WRONG_TYPE",
    b'{"id":1.5}': "WRONG_TYPE",
    b'{"id":0}': "OUT_OF_RANGE",
    b'{"id":-4}': "OUT_OF_RANGE",
    b'{"id":9223372036854775808}': "OUT_OF_RANGE",
    b'{"id":123456789012345678901234567890}': "OUT_OF_RANGE",
    b"5": "NOT_AN_OBJECT",
    b"null": "NOT_AN_OBJECT",
    b'{"id":1,"name":"\\ud800"}': "INVALID_JSON",
    b'{"id":1,"name":"\\u0000"}': "NUL_CHARACTER",
    b'{"id":1,"\\u0000":3}': "NUL_CHARACTER",
    b'{"id":1,"x":NaN}': "INVALID_JSON",
    b'{"id":1,"rating":1e999}': "OUT_OF_RANGE",
    b'{"id":1,"released":"2024-02-30"}': "INVALID_DATE",
    b'{"id":1,"updated":"yesterday"}': "INVALID_TIMESTAMP",
    b'{"id":1,"updated":"0001-01-01T00:00:00+14:00"}': "INVALID_TIMESTAMP",
    b'{"id":1,"rating":"good"}': "WRONG_TYPE",
    b'{"id":1,"genres":{}}': "WRONG_TYPE",
    b'{"id":1,"name":"\xff"}': "INVALID_UTF8",
    b'{"id":1,"x":' + DEEP + b"}": "TOO_DEEP",
}


@pytest.mark.parametrize(("item", "error_type"), BAD.items(), ids=range(len(BAD)))
def test_an_item_that_cannot_be_kept_is_refused_with_its_reason(item: bytes, error_type: str) -> None:
    verdict = judge(item)
    assert isinstance(verdict, Misfit)
    assert verdict.error_type == error_type
    assert verdict.message


def test_one_bad_item_does_not_hurt_the_others_of_its_page() -> None:
    good = [b'{"id":1,"name":"a \\"b\\" ]}"}', b'{ "id" : 2 }']
    for bad in BAD:
        if bad[:1] == b"{":
            page = b'{"count":3,"next":"x","results": [' + good[0] + b", " + bad + b",\n" + good[1] + b'],"x":{}}'
            read = read_page(page)
            assert (read.count, read.has_next, read.items) == (3, True, [good[0], bad, good[1]])


@pytest.mark.parametrize("end", range(0, 120, 7))
def test_a_page_that_is_cut_off_is_no_page(end: int) -> None:
    page = (
        b'{"count":3,"next":null,"results":[{"id":1,"name":"\\ud800"},{"id":2,"tags":[{"id":3}]},{"id":3,"name":"]}"}]}'
    )
    with pytest.raises(BrokenPage):
        read_page(page[: min(end, len(page) - 1)])


def test_times_without_a_zone_are_utc_and_absent_ones_are_null() -> None:
    assert judge(b'{"id":7,"updated":"2024-08-10T17:43:58","released":"2013-09-17"}') == Game(
        7,
        datetime(2024, 8, 10, 17, 43, 58, tzinfo=UTC),
        date(2013, 9, 17),
        content_hash(b'{"id":7,"updated":"2024-08-10T17:43:58","released":"2013-09-17"}'),
    )
    bare = judge(b'{"id":7,"updated":null}')
    assert isinstance(bare, Game)
    assert (bare.updated_at, bare.release_date) == (None, None)


def test_decorations_and_order_make_no_version_and_everything_else_does() -> None:
    item = b'{"id":1,"added":5,"user_game":null,"tags":[{"id":2,"games_count":7,"image_background":"a"}]}'
    same = b'{"tags":[{"games_count":8,"id":2,"image_background":"b"}], "added":5,"id":1,"user_game":{"id":3}}'
    assert content_hash(item) == content_hash(same)
    for other in (item.replace(b'"added":5', b'"added":6'), item.replace(b'"id":2', b'"id":3')):
        assert content_hash(other) != content_hash(item)


@given(
    st.recursive(
        st.none() | st.integers(-9, 9) | st.text(max_size=3),
        lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=3), part, max_size=3),
        max_leaves=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_items_come_out_of_a_page_as_they_went_in(extra: object) -> None:
    items = [msgspec.json.encode({"id": number, "x": extra}) for number in (1, 2)]
    page = b'{"next":null,"results":[' + b",".join(items) + b'],"count":2}'
    assert read_page(page).items == items
    # The same, when something else in the page keeps a strict parser away.
    odd = b'{"next":null,"results":[' + b",".join([*items, b'{"id":NaN}']) + b'],"count":3}'
    assert read_page(odd).items == [*items, b'{"id":NaN}']


def test_keys_in_addresses_are_taken_out() -> None:
    text = b'{"id":1,"clip":"https://x/y?a=1&key=abc123&page=2","website":"https://z?key=abc123"}'
    assert redact(text) == b'{"id":1,"clip":"https://x/y?a=1&key=REDACTED&page=2","website":"https://z?key=REDACTED"}'
    text = rb'{"clip":"https://x/y?a=1\u0026key=abc123\u0026page=2","website":"https://z\u003Fkey=abc123"}'
    assert redact(text) == text.replace(b"abc123", b"REDACTED")
