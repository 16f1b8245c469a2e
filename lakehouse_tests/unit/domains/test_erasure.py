"""Which rows, letters and attempts tell of a user, and what is left of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.contracts.arrow import arrow_schema
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.contracts.replay import REPLAY
from lakehouse.domains.conversions.contract import CONVERSION_EVENT
from lakehouse.domains.conversions.erasure import ERASED, blanked, find, pattern_of, telling_of
from lakehouse.maintenance.erasure import select
from lakehouse_tests.conversions import Event, bronze

NOW = datetime(2026, 11, 26, tzinfo=UTC)


def letter(number: int, source: str, payload: bytes | None) -> dict[str, object]:
    told = {"dead_letter_id": f"{source}:0:{number}", "source": source, "original_payload": payload}
    reason = {"error_type": "WRONG_TYPE", "error_message": "status: 'of u-7' is no text", "original_key": b"key"}
    return told | reason | {"contract": "c", "failed_at": NOW, "kafka_topic": source, "kafka_offset": number}


@pytest.fixture
def filled(catalog: SqlCatalog) -> SqlCatalog:
    """Rows and letters of two users, and attempts to replay the letters, which are of three sources."""
    users = ("u-7", "u-8", None)
    rows = bronze([Event(n, f"e{n}", NOW, user_id=user) for n, user in enumerate(users)])
    ensure_table(catalog, CONVERSION_EVENT).append(rows)
    telling_of = [json.dumps({"userId": user, "status": {}}).encode() for user in ("u-7", "u-8")]
    sources = ("roman-numeral-events", "silver.conversions", "pgr-events")
    letters = [letter(n, source, payload) for source in sources for n, payload in enumerate([*telling_of, None])]
    ensure_table(catalog, DEAD_LETTER).append(pa.Table.from_pylist(letters, arrow_schema(DEAD_LETTER)))
    names = ("dead_letter_id", "source", "contract", "error_type", "error_message")
    tried = [{n: one[n] for n in names} | {"attempted_at": NOW, "run_id": "run"} for one in letters]
    ensure_table(catalog, REPLAY).append(pa.Table.from_pylist(tried, arrow_schema(REPLAY)))
    return catalog


def test_only_what_tells_of_the_user_is_found(filled: SqlCatalog) -> None:
    assert {str(one.table): one.rows for one in find(filled, "u-7")} == {
        "bronze.conversion_events": 1,
        "bronze.dead_letters": 2,
    }
    assert find(filled, "u") == []


def test_a_letter_keeps_where_it_came_from_and_why_it_was_refused(filled: SqlCatalog) -> None:
    table = filled.load_table(DEAD_LETTER.table.identifier)
    rows = table.scan().to_arrow().sort_by("dead_letter_id")
    chosen = telling_of(DEAD_LETTER, "u-7", filled).among(rows)
    after = blanked(DEAD_LETTER, NOW, rows, chosen)
    assert after.filter(pc.invert(chosen)) == rows.filter(pc.invert(chosen))
    blank = {"original_payload": None, "original_key": None, "error_message": ERASED, "erased_at": NOW}
    assert after.filter(chosen).to_pylist() == [one | blank for one in rows.filter(chosen).to_pylist()]
    # What an attempt says of a letter is found once that is erased.
    assert not select(filled.load_table(REPLAY.table.identifier), telling_of(REPLAY, "u-7", filled)).num_rows
    table.overwrite(after)
    tried = select(filled.load_table(REPLAY.table.identifier), telling_of(REPLAY, "u-7", filled))
    assert sorted(tried["dead_letter_id"].to_pylist()) == ["roman-numeral-events:0:0", "silver.conversions:0:0"]


@pytest.mark.parametrize(
    ("payload", "tells"),
    [
        (b'{"user_id": "u-7"}', True),
        (b'{"a": 1, "userId":"u-7", "b": 2}', True),
        (b'{"user_id": "\\u0075-7"}', True),
        (b'{"user\\u005fid": "u-7"}', True),
        (b'{"user_id": ["u-7"]}', True),
        (b"{'user_id': 'u-7'", True),
        (b'\xff{"user_id": "u-7', True),
        (b'"{\\"user_id\\": \\"u-7\\"}"', True),
        (b'{"user_id": "u-78"}', False),
        (b'{"user_id": "xu-7"}', False),
        (b'{"superuser_id": "u-7"}', False),
        (b'{"input_number": "u-7"}', False),
        (b'{"user_id": null, "status": "u-7"}', False),
    ],
)
def test_a_letter_tells_of_a_user_by_his_field_alone(payload: bytes, tells: bool) -> None:
    assert pc.match_substring_regex(pa.array([payload]), pattern_of("u-7")).to_pylist() == [tells]


def test_ids_of_any_characters_are_found() -> None:
    for user in ("7", "é.*(x)", 'a"b\\', "\U0001f600"):
        for escape in (True, False):
            payload = json.dumps({"user_id": user}, ensure_ascii=escape).encode()
            assert pc.match_substring_regex(pa.array([payload]), pattern_of(user)).to_pylist() == [True]
    assert pc.match_substring_regex(pa.array([b'{"user_id": 7.0}']), pattern_of("7")).to_pylist() == [True]
