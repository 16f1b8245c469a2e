"""Days processed again from the command line: one run of Dagster, over these days and no others."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from lakehouse.settings import Settings
from lakehouse.stack.dagster import Dagster
from lakehouse.stack.environment import exports
from lakehouse_tests.conftest import Feed
from lakehouse_tests.events import event

pytestmark = [pytest.mark.integration]

LAKEHOUSE = str(Path(sys.executable).parent / "lakehouse")


def backfill(settings: Settings, first: str, last: str) -> subprocess.CompletedProcess[str]:
    command = [LAKEHOUSE, "backfill", "pgr", "--from", first, "--to", last]
    return subprocess.run(command, env=exports(settings), capture_output=True, text=True, check=False)


@pytest.fixture
def instance(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance of the stack, though neither its web interface nor its daemon runs."""
    Dagster().configure(feed.stack.settings)
    for name, value in exports(feed.stack.settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LAKEHOUSE_KAFKA_TOPIC", feed.topic)
    with dg.DagsterInstance.get() as found:
        yield found


def test_a_range_of_days_is_one_run_over_these_days(feed: Feed, instance: dg.DagsterInstance) -> None:
    days = [f"2025-07-{number:02}" for number in range(1, 6)]
    events = [event(event_id=f"{feed.topic} {day}", tenant_id=feed.topic, event_time=f"{day} 10:00:00") for day in days]
    feed.send((b"key", value, None) for value in events)
    done = backfill(feed.stack.settings.model_copy(update={"kafka_topic": feed.topic}), days[1], days[3])
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 days of silver and gold were processed again" in done.stdout
    (run,) = instance.get_runs()
    assert (run.job_name, run.status) == ("pgr_daily", dg.DagsterRunStatus.SUCCESS)
    query = "select event_date from iceberg.silver.pgr_events where tenant_id = ? order by 1"
    assert [str(day) for (day,) in feed.stack.sql(query, feed.topic)] == days[1:4]


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("2025-07-02", "2025-07-01", "the first day, 2025-07-02, is after the last, 2025-07-01"),
        ("2019-12-31", "2025-07-01", "2019-12-31 is none of the days that can be processed again: 2020-01-01 to "),
        ("2025-07-01", "2999-01-01", "2999-01-01 is none of the days that can be processed again: 2020-01-01 to "),
    ],
)
def test_days_that_cannot_be_processed_are_one_clear_line(feed: Feed, first: str, last: str, message: str) -> None:
    done = backfill(feed.stack.settings, first, last)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {message}")
    assert done.stderr.count("\n") == 1
