"""What the contracts of Magic's sets, cards and prices accept and refuse."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from lakehouse.contracts.validation import Validator
from lakehouse.domains.mtg.contract import CARD_MESSAGE, PRICE_MESSAGE

VALIDATOR = Validator(CARD_MESSAGE)
CARD = {"name": "Brushwagg", "power": "1+*", "manaValue": 1000000.0, "foreignData": [{"name": "†"}]}


def message(**changes: Any) -> bytes:
    told = {"uuid": "u-1", "set_code": "NEO", "build_date": "2022-03-15", "is_deleted": False, "card": CARD}
    return json.dumps(told | changes).encode()


def test_the_whole_message_is_kept_as_it_was_sent() -> None:
    verdict = VALIDATOR.validate(pa.array([message()], pa.binary()))
    assert verdict.accepted["raw_payload"].to_pylist() == [message().decode()]


@pytest.mark.parametrize("is_deleted", [True, False])
def test_whether_a_card_is_gone_is_said_by_true_or_false(is_deleted: bool) -> None:
    verdict = VALIDATOR.validate(pa.array([message(is_deleted=is_deleted)], pa.binary()))
    assert verdict.accepted["is_deleted"].to_pylist() == [is_deleted]


@pytest.mark.parametrize(
    ("changes", "error_type"),
    [
        ({"is_deleted": None}, "MISSING_FIELD"),
        ({"is_deleted": 1}, "WRONG_TYPE"),
        ({"is_deleted": "perhaps"}, "INVALID_BOOLEAN"),
        ({"uuid": None}, "MISSING_FIELD"),
        ({"uuid": 7}, "WRONG_TYPE"),
        ({"build_date": "2022-02-30"}, "INVALID_DATE"),
    ],
)
def test_a_message_that_cannot_be_placed_is_refused(changes: dict[str, Any], error_type: str) -> None:
    verdict = VALIDATOR.validate(pa.array([message(**changes)], pa.binary()))
    assert verdict.refused["error_type"].to_pylist() == [error_type]


def test_a_null_value_is_no_deletion_but_refused() -> None:
    verdict = VALIDATOR.validate(pa.array([None], pa.binary()))
    assert verdict.refused["error_type"].to_pylist() == ["NULL_VALUE"]


@pytest.mark.parametrize(("days", "refused"), [(2, []), (3, ["BUILD_FROM_THE_FUTURE"])])
def test_a_build_of_a_day_that_has_not_come_is_refused(days: int, refused: list[str]) -> None:
    day = datetime.now(UTC).date() + timedelta(days=days)
    verdict = VALIDATOR.validate(pa.array([message(build_date=str(day))], pa.binary()))
    assert verdict.refused["error_type"].to_pylist() == refused


@pytest.mark.parametrize(("day", "refused"), [("2022-03-16", []), ("2022-03-17", ["PRICE_FROM_THE_FUTURE"])])
def test_a_price_of_a_day_after_its_build_is_refused(day: str, refused: list[str]) -> None:
    told = {"uuid": "u-1", "price_date": day, "build_date": "2022-03-15", "prices": []}
    verdict = Validator(PRICE_MESSAGE).validate(pa.array([json.dumps(told).encode()], pa.binary()))
    assert verdict.refused["error_type"].to_pylist() == refused
