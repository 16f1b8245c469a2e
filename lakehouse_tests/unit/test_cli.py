"""What the commands make of their options."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from typer.testing import CliRunner

from lakehouse import job
from lakehouse.cli import app
from lakehouse.errors import LakehouseError


@pytest.mark.parametrize("domain", ["pgr", "conversions"])
@pytest.mark.parametrize(
    ("options", "days"),
    [
        (["--date", "2026-02-03"], (date(2026, 2, 3), date(2026, 2, 3))),
        (["--from", "2026-02-03", "--to", "2026-02-05"], (date(2026, 2, 3), date(2026, 2, 5))),
        ([], None),
        (["--from", "2026-02-03"], None),
        (["--date", "2026-02-03", "--to", "2026-02-05"], None),
    ],
)
def test_days_are_one_or_from_and_to(
    monkeypatch: pytest.MonkeyPatch, domain: str, options: list[str], days: tuple[date, date] | None
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(job, "backfill", lambda *given, **_: asked.append(given[2:4]))
    done = CliRunner().invoke(app, ["backfill", domain, *options])
    assert asked == ([days] if days else [])
    assert (done.exception is None) == bool(days)
    assert days or isinstance(done.exception, LakehouseError)
