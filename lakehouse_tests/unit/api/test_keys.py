"""What a key may send."""

from __future__ import annotations

import pytest

from lakehouse.api.keys import Allowance
from lakehouse.settings import load


def test_a_key_has_a_seconds_worth_and_waits_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("lakehouse.api.keys.time.monotonic", lambda: now)
    allowance = Allowance(10)
    assert [allowance.take("a", 5), allowance.take("a", 5)] == [0, 0]
    assert allowance.take("a", 1) == pytest.approx(0.1)
    assert allowance.take("b", 10) == 0, "another key has its own"
    now = 0.1
    assert allowance.take("a", 1) == 0
    now = 100.0
    assert allowance.take("a", 25) == 0, "a larger batch is taken when a whole second was saved up"
    assert allowance.take("a", 1) == pytest.approx(1.6), "and owed afterwards"


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        ({}, False),
        ({"api_keys_required": True}, True),
        ({"api_host": "0.0.0.0"}, True),
        ({"api_host": "10.0.0.1"}, True),
    ],  # noqa: S104
)
def test_outside_loopback_a_key_is_needed(given: dict[str, object], needed: bool) -> None:
    assert load(**given).needs_api_keys is needed
