"""What the contracts of Magic's sets, cards and prices accept and refuse."""

import json
from typing import Any

import pyarrow as pa
import pytest

from lakehouse.contracts.validation import Validator
from lakehouse.domains.mtg.contract import CARD_MESSAGE

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
