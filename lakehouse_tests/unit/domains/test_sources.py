"""Generated events: repeatable, and as broken as asked for."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from lakehouse.domains.conversions.source import conversion_events, roman
from lakehouse.domains.disorder import Message, Shares
from lakehouse.domains.pgr.source import service_events

END = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize("make", [service_events, conversion_events])
def test_the_same_seed_makes_the_same_events(make: Callable[..., Iterator[Message]]) -> None:
    shares = Shares(late=0.1, duplicate=0.1, malformed=0.1)
    first, again, other = (list(make(300, seed=seed, end=END, shares=shares)) for seed in (1, 1, 2))
    assert len(first) == 300
    assert first == again
    assert first != other


def test_conversions_are_true_and_end_in_time() -> None:
    events = [json.loads(value or b"") for _, value in conversion_events(2_000, end=END, days=2)]
    spelt = [{name.replace("_", "").lower(): value for name, value in event.items()} for event in events]
    assert len({event["eventid"] for event in spelt}) == len(spelt)
    assert {event["eventtype"] for event in spelt} == {"SINGLE", "RANGE"}
    assert any("event_id" in event for event in events)
    assert any("eventId" in event for event in events)
    for event in spelt:
        at = event["eventtime"]
        moment = datetime.fromtimestamp(at / 1000, UTC) if isinstance(at, int) else datetime.fromisoformat(at)
        assert END - timedelta(days=2) <= moment <= END
        if event.get("outputroman"):
            assert event["outputroman"] == roman(event["inputnumber"])
    keys = Counter(event["userid"] for event in spelt if event["userid"])
    drifted = {e["apikeyprefix"] for e in spelt if e["userid"] == keys.most_common(1)[0][0]}
    assert len(drifted) > 1, "the attributes of users change"
    assert any(event["userid"] is None for event in spelt)


def test_duplicates_are_the_same_record_again_and_rubbish_is_none() -> None:
    sent = list(conversion_events(1_000, end=END, shares=Shares(duplicate=0.2, malformed=0.2)))
    times = Counter(value for _, value in sent)
    assert sum(count - 1 for value, count in times.items() if value and len(value) > 60) > 100


@pytest.mark.parametrize(
    ("number", "numeral"),
    [
        (1, "I"),
        (4, "IV"),
        (9, "IX"),
        (14, "XIV"),
        (40, "XL"),
        (90, "XC"),
        (400, "CD"),
        (1994, "MCMXCIV"),
        (3999, "MMMCMXCIX"),
    ],
)
def test_numerals(number: int, numeral: str) -> None:
    assert roman(number) == numeral
