"""When a pipeline must be brought back."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lakehouse import stream
from lakehouse.domains.conversions.stream import PIPELINE
from lakehouse.domains.pipelines import pipeline_named
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings, load
from lakehouse.stream import StreamStatus

RUNNING = StreamStatus("conversions", "RUNNING", is_alive=True, checkpoint_age_seconds=20.0)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a place where the pipeline was started."""
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    started = tmp_path / "flink" / "state" / PIPELINE.name / "started.json"
    started.parent.mkdir(parents=True)
    started.write_text("{}")
    return load()


@pytest.mark.parametrize(
    ("found", "trouble"),
    [
        (RUNNING, None),
        (replace(RUNNING, state="RESTARTING"), None),
        (StreamStatus("conversions", "STOPPED"), "no job runs: STOPPED"),
        (StreamStatus("conversions", "FAILED", problem="disk full"), "no job runs: disk full"),
        (replace(RUNNING, checkpoint_age_seconds=601.0), "no checkpoint was completed for 601 s: RUNNING"),
        (
            replace(RUNNING, checkpoint_age_seconds=None, started_at=LONG_AGO, problem="no slots"),
            r"no checkpoint was completed for \d{5,} s: no slots",
        ),
    ],
)
def test_a_dead_or_stuck_job_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, found: StreamStatus, trouble: str | None
) -> None:
    monkeypatch.setattr(stream, "status", lambda *_: found)
    told = stream.trouble(settings, PIPELINE)
    assert told == trouble or (told and trouble and re.fullmatch(trouble, told))


def test_a_job_that_was_just_started_has_time_for_its_first_checkpoint(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = replace(RUNNING, checkpoint_age_seconds=None, started_at=datetime.now(UTC))
    monkeypatch.setattr(stream, "status", lambda *_: found)
    assert stream.trouble(settings, PIPELINE) is None


def test_what_was_never_started_or_was_stopped_is_left_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "status", lambda *_: StreamStatus("conversions", "FINISHED"))
    (settings.home / "flink" / "state" / PIPELINE.name / "started.json").unlink()
    assert stream.trouble(settings, PIPELINE) is None


def test_a_pipeline_that_there_is_not_is_named() -> None:
    with pytest.raises(LakehouseError, match="there is no pipeline nonsense; there is players, conversions"):
        pipeline_named("nonsense")
