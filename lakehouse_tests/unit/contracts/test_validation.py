"""What the contract of a service event accepts, what it refuses, and why."""

import json
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.contracts.json_text import MAX_DEPTH
from lakehouse.contracts.validation import Validator, Verdict
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse_tests.events import ABSENT, event

VALIDATOR = Validator(SERVICE_EVENT)


def validate(*payloads: bytes | None) -> Verdict:
    return VALIDATOR.validate(pa.array(payloads, pa.binary()))


def accepted(payload: bytes) -> dict[str, Any]:
    verdict = validate(payload)
    assert verdict.refused.to_pylist() == []
    row: dict[str, Any] = verdict.accepted.to_pylist()[0]
    return row


def reason(payload: bytes | None) -> str:
    verdict = validate(payload)
    assert verdict.accepted.num_rows == 0
    return str(verdict.refused["error_type"][0].as_py())


@pytest.mark.parametrize(
    ("payload", "error_type"),
    [
        (None, "NULL_VALUE"),
        (b"", "EMPTY_VALUE"),
        (b"\xff\xfe", "INVALID_UTF8"),
        (b'{"event_id": "a', "INVALID_JSON"),
        (b"\xef\xbb\xbf" + event(), "INVALID_JSON"),
        (event() + b" trailing", "INVALID_JSON"),
        (b'{"a": "\\ud800"}', "INVALID_JSON"),
        (event(extra=float("nan")), "INVALID_JSON"),
        (event(extra=-float("inf")), "INVALID_JSON"),
        (event()[:-1] + b",}", "INVALID_JSON"),
        (event(attributes_json={"a": float("nan")}), "INVALID_JSON"),
        (event().replace(b"OPEN", b"O\nPEN"), "INVALID_JSON"),
        (b"null", "NOT_AN_OBJECT"),
        (b"[1]", "NOT_AN_OBJECT"),
        (b"[" * 100_000 + b"]" * 100_000, "NOT_AN_OBJECT"),
        (event(attributes_json=json.loads('{"a":' * 100 + "1" + "}" * 100)), "TOO_DEEP"),
        (event(status="a\x00b"), "NUL_CHARACTER"),
        (event(attributes_json='{"a": "\\u0000"}'), "NUL_CHARACTER"),
        (event(tenant_id=ABSENT), "MISSING_FIELD"),
        (event(tenant_id=None), "MISSING_FIELD"),
        (event(tenant_id=""), "MISSING_FIELD"),
        (event(tenant_id=5), "WRONG_TYPE"),
        (event(tenant_id={"a": 1}), "WRONG_TYPE"),
        (event(event_time=1_734_429_600_000), "WRONG_TYPE"),
        (event(attributes_json=[1]), "WRONG_TYPE"),
        (event(entity_id="x" * 101), "TOO_LONG"),
        (event(event_time="2024-02-30 00:00:00"), "INVALID_TIMESTAMP"),
        (event(event_time="2024-12-17"), "INVALID_TIMESTAMP"),
        (event(event_time="2024-12-17T24:00:00Z"), "INVALID_TIMESTAMP"),
        (event(event_time="2024-12-17T10:00:00+25:00"), "INVALID_TIMESTAMP"),
        (event(event_time="0001-01-01T00:00:00Z"), "INVALID_TIMESTAMP"),
        (event(event_date="17.12.2024"), "INVALID_DATE"),
        (event(event_date="2024-12-18"), "DATE_MISMATCH"),
        (event(attributes_json="not json"), "INVALID_ATTRIBUTES"),
        (event(attributes_json="[1]"), "INVALID_ATTRIBUTES"),
    ],
)
def test_a_bad_record_is_refused_with_its_reason(payload: bytes | None, error_type: str) -> None:
    assert reason(payload) == error_type


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-12-17 10:00:00", datetime(2024, 12, 17, 10, tzinfo=UTC)),
        ("2024-12-17T10:00", datetime(2024, 12, 17, 10, tzinfo=UTC)),
        ("2024-12-17T10:00:00Z", datetime(2024, 12, 17, 10, tzinfo=UTC)),
        ("2024-12-17T10:00:00.123456789+05:30", datetime(2024, 12, 17, 4, 30, 0, 123456, tzinfo=UTC)),
        ("2024-12-17T01:00:00-0800", datetime(2024, 12, 17, 9, tzinfo=UTC)),
    ],
)
def test_event_time_is_read_in_every_documented_form(text: str, moment: datetime) -> None:
    assert accepted(event(event_time=text))["event_time"] == moment


def test_event_date_is_the_utc_day_of_the_event() -> None:
    assert accepted(event(event_time="2024-12-17T01:00:00+05:30"))["event_date"] == date(2024, 12, 16)


def test_attributes_are_the_same_text_whether_sent_as_object_or_as_string() -> None:
    as_object = accepted(event(attributes_json={"a": 1, "b": ["x", None]}))
    as_string = accepted(event(attributes_json='{"a": 1,\n "b": ["x", null]}'))
    assert as_object["attributes_json"] == as_string["attributes_json"] == '{"a":1,"b":["x",null]}'
    assert as_object["event_id"] == as_string["event_id"]


def test_attributes_may_be_absent_null_or_the_text_null() -> None:
    assert [accepted(event(attributes_json=value))["attributes_json"] for value in (ABSENT, None, "null", "")] == [
        None
    ] * 4


def test_a_derived_event_id_depends_on_every_field_of_the_content() -> None:
    same = {accepted(event())["event_id"], accepted(event(event_time="2024-12-17T10:00:00Z"))["event_id"]}
    assert len(same) == 1
    others = [
        event(**{name: "other"}) for name in ("tenant_id", "service", "entity_id", "event_type", "status", "ward_id")
    ]
    others += [event(event_time="2024-12-17 10:00:01"), event(attributes_json={}), event(channel=None)]
    ids = {accepted(payload)["event_id"] for payload in others}
    assert len(ids) == len(others)
    assert not ids & same


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "inf", "-nan", "+INF"])
@pytest.mark.parametrize("place", ["{{}}", "[{}]", "[1,{}]", "[1, {} ,2]", '{{"a":{}}}', '{{"a" : {}\n}}', "{},"])
def test_what_the_parser_takes_but_is_not_json_is_refused_wherever_it_stands(place: str, value: str) -> None:
    document = b'{"extra": ' + place.replace("{{}}", "{}").format(value).encode() + b"," + event()[1:]
    assert reason(document) == "INVALID_JSON"


@pytest.mark.parametrize("end", [b",}", b", }", b',"a":[1,]}', b',"a":[1 , ]}', b',"a":{"b":1,\n}}'])
def test_a_trailing_comma_is_refused_wherever_it_stands(end: bytes) -> None:
    assert reason(event()[:-1] + end) == "INVALID_JSON"


def test_a_null_and_the_text_that_stands_for_it_have_different_ids() -> None:
    assert accepted(event(status=None))["event_id"] != accepted(event(status="null"))["event_id"]


def test_unknown_fields_are_accepted_and_kept_in_the_raw_payload() -> None:
    payload = event(department="Water", note="nan, inf and a comma,]")
    assert accepted(payload)["raw_payload"].encode() == payload


def test_a_value_of_a_megabyte_passes() -> None:
    assert len(accepted(event(note="x" * 1_000_000))["raw_payload"]) > 1_000_000


def test_nesting_up_to_the_bound_passes() -> None:
    levels = MAX_DEPTH - 2
    nested = json.loads('{"a":' * levels + "1" + "}" * levels)
    assert accepted(event(attributes_json=nested))["attributes_json"].startswith('{"a":{"a"')


def test_messages_name_the_field_and_what_was_found() -> None:
    verdict = validate(event(tenant_id=5), event(entity_id="x" * 101), event(event_time="yesterday {x}"))
    assert verdict.refused.sort_by("row")["error_message"].to_pylist() == [
        "tenant_id: expected a string, found number",
        "entity_id: 101 characters, at most 100 are allowed",
        "event_time: not a time: yesterday {x}; expected 2024-12-17 10:00:00 (UTC) or ISO 8601",
    ]


PAYLOADS = st.lists(
    st.one_of(
        st.none(),
        st.binary(max_size=30),
        st.builds(event, tenant_id=st.one_of(st.text(max_size=120), st.integers(), st.none())),
        st.builds(event, event_time=st.one_of(st.text(max_size=30), st.datetimes().map(str))),
        st.builds(event, attributes_json=st.recursive(st.none() | st.text() | st.floats(), st.lists, max_leaves=5)),
        st.builds(
            event, attributes_json=st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.floats(), max_size=4)
        ),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=60)
@given(PAYLOADS)
def test_every_record_is_in_exactly_one_table_and_judged_alone(payloads: list[bytes | None]) -> None:
    together = validate(*payloads)
    rows = together.accepted["row"].to_pylist() + together.refused["row"].to_pylist()
    assert sorted(rows) == list(range(len(payloads)))
    for row in together.accepted["row"].to_pylist():
        assert validate(payloads[row]).accepted.num_rows == 1


DOCUMENTS = [
    "{}",
    ' { "a" :\n1.50 , "b": "\\u00e9\\/", "a": "\u00e9", "c": -0, "d": null } ',
    '{"a": [1, {"b": 2}]}',
    '{"a": 1e2, "b": 12345678901234567890}',
    '{"a": 01}',
    '{"a": 1,}',
    '{"a": NaN}',
    '{"a": "\\u0000"}',
    '{"a": "\\ud800"}',
    '{"a": "tab\there"}',
    '{"a": 1} {}',
    '[1, {"a": 1}]',
    '"{}"',
    "null",
    "x",
    '{"a":' * 70 + "1" + "}" * 70,
]
FIELDS = st.fixed_dictionaries(
    {},
    optional={column.name: st.none() | st.text(max_size=40) for column in SERVICE_EVENT.fields}
    | {
        "event_id": st.text(max_size=120),
        "event_time": st.sampled_from(["2024-12-17 10:00:00", "2024-12-17T23:30:00-02:00", "2024-02-30 00:00:00"]),
        "event_date": st.sampled_from([None, "", "2024-12-17", "2024-12-18", "17.12.2024"]),
        "attributes_json": st.sampled_from(
            [
                None,
                "",
                *DOCUMENTS,
                {"a": 1},
                {"a": -0.25, "b": "\u00e9\U0001f600", "c": None, "d": True},
                {"a": 10**30},
                {"a": {"b": "\x00"}},
            ]
        ),
    },
)


@settings(deadline=None, max_examples=60)
@given(st.lists(FIELDS, min_size=1, max_size=4), st.booleans())
def test_a_plain_record_is_judged_like_any_other(records: list[dict[str, Any]], is_ascii: bool) -> None:
    assert_judged_alike([json.dumps(json.loads(event(**record)), ensure_ascii=is_ascii) for record in records])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_text_that_may_hold_an_object_is_judged_like_any_other(document: str) -> None:
    assert_judged_alike([event(attributes_json=document).decode()])


def assert_judged_alike(texts: list[str]) -> None:
    """A number in a field that the contract does not know makes a record one that is not plain."""
    plain = validate(*(text.encode() for text in texts))
    other = validate(*(f'{text[:-1]}, "unknown": 1}}'.encode() for text in texts))
    kept = SERVICE_EVENT.raw_payload
    assert plain.accepted.drop_columns(kept).sort_by("row") == other.accepted.drop_columns(kept).sort_by("row")
    assert plain.refused.sort_by("row") == other.refused.sort_by("row")


GOOD = {column.name: "x" for column in SERVICE_EVENT.fields} | {
    "event_date": "2024-12-17",
    "event_time": "2024-12-17 10:00:00",
    "attributes_json": '{"a": 1}',
}
TEXTS = st.sampled_from([None, "", "\u00e9" * 60, "y" * 101, "a\x00b", "2024-12-17T23:30:00-02:00", '{"a": NaN}'])
CELLS = st.dictionaries(st.sampled_from(list(GOOD)), TEXTS, max_size=3).map(lambda changes: GOOD | changes)
BAD = {column.name: "z" * 101 for column in SERVICE_EVENT.fields} | {"tenant_id": None, "event_id": ""}


def judged_cells(rows: list[dict[str, str | None]], defaults: dict[str, str]) -> Verdict:
    columns = pa.schema([(column.name, pa.string()) for column in SERVICE_EVENT.fields])
    cells = pa.Table.from_pylist(rows, columns)
    return Validator(SERVICE_EVENT, defaults).validate_cells(cells, pa.nulls(len(rows), pa.binary()))


@settings(max_examples=60, deadline=None)
@given(st.lists(CELLS, min_size=1, max_size=4), st.sampled_from([{}, {"service": "PGR"}]))
def test_a_bad_row_in_every_column_changes_nothing_for_its_neighbours(
    rows: list[dict[str, str | None]], defaults: dict[str, str]
) -> None:
    """Alone, columns are judged at a glance where that is enough; beside the bad row, every cell on its own."""
    alone, beside = judged_cells(rows, defaults), judged_cells([*rows, BAD], defaults)
    assert alone.accepted.equals(beside.accepted)
    assert alone.refused.sort_by("row").to_pylist() == beside.refused.sort_by("row").to_pylist()[:-1]
