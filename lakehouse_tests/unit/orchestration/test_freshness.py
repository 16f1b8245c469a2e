"""The look at what is served: reported when it changes, and not when nobody can tell."""

from __future__ import annotations

import dagster as dg
import pytest

from lakehouse.domains.players import checks
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings


def look(cursor: str | None) -> dg.SensorResult | dg.SkipReason:
    found = checks.freshness_sensor(dg.build_sensor_context(cursor=cursor))
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return found


def test_a_change_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: dict[str, int] = {}
    monkeypatch.setattr(checks, "has_begun", lambda pipeline: True)
    monkeypatch.setattr("lakehouse.domains.players.freshness.overdue", lambda settings, seconds: waiting)
    cursor, said = None, []
    for count in (0, 0, 7, 3, 0):
        waiting.clear()
        waiting.update({"player.statistics": count} if count else {})
        found = look(cursor)
        if isinstance(found, dg.SensorResult):
            (event,) = found.asset_events
            assert isinstance(event, dg.AssetCheckEvaluation)
            assert event.check_name == "served_within_a_minute"
            said.append(event.passed)
            cursor = found.cursor
    assert said == [True, False, True]


def test_servers_that_are_away_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def overdue(settings: Settings, seconds: float) -> dict[str, int]:
        raise LakehouseError("PostgreSQL does not answer")

    monkeypatch.setattr(checks, "has_begun", lambda pipeline: True)
    monkeypatch.setattr("lakehouse.domains.players.freshness.overdue", overdue)
    assert isinstance(look("True"), dg.SkipReason)
    monkeypatch.setattr(checks, "has_begun", lambda pipeline: False)
    assert isinstance(look("True"), dg.SkipReason)
