"""Dropped files are taken when nobody writes to them any more, and put away."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse import settings as settings_module
from lakehouse.adapters.files.staging import StagingFolder
from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.domains.pgr.automation import pgr_files, pgr_files_sensor
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.orchestration.staging import open_staging

GOOD = """event_time,tenant_id,service,entity_id,event_type
2024-12-17 10:00:00,t,PGR,C-1,CaseSubmitted
yesterday,t,PGR,C-2,CaseSubmitted
"""


class FakeIceberg(IcebergResource):
    """A catalog that is given."""

    def catalog(self) -> Catalog:
        return CATALOGS[-1]


CATALOGS: list[Catalog] = []
Tick = Callable[[], dg.SensorResult | dg.SkipReason]


@pytest.fixture
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog: SqlCatalog) -> StagingFolder:
    monkeypatch.setenv("LAKEHOUSE_STAGING", str(tmp_path / "staging"))
    CATALOGS.append(catalog)
    made = open_staging(settings_module.load())
    assert isinstance(made, StagingFolder)
    assert made.waiting() == {}
    return made


@pytest.fixture
def tick() -> Tick:
    instance = dg.DagsterInstance.ephemeral()
    cursor: list[str | None] = [None]

    def evaluate() -> dg.SensorResult | dg.SkipReason:
        context = dg.build_sensor_context(instance=instance, cursor=cursor[0], sensor_name="pgr_files")
        result = pgr_files_sensor(context)
        cursor[0] = result.cursor if isinstance(result, dg.SensorResult) else context.cursor
        assert isinstance(result, dg.SensorResult | dg.SkipReason)
        return result

    return evaluate


def run(request: dg.SensorResult | dg.SkipReason) -> None:
    assert isinstance(request, dg.SensorResult)
    (wanted,) = request.run_requests or []
    done = pgr_files.execute_in_process(run_config=wanted.run_config, resources={"iceberg": FakeIceberg()})
    assert done.success


def test_a_file_that_is_still_written_waits(staging: StagingFolder, tick: Tick) -> None:
    file = staging.folder / "events.csv"
    file.write_text(GOOD[:50])
    assert isinstance(tick(), dg.SkipReason)
    file.write_text(GOOD)
    assert isinstance(tick(), dg.SkipReason)
    assert isinstance(tick(), dg.SensorResult)


def test_a_good_file_is_landed_and_put_away(staging: StagingFolder, tick: Tick, catalog: SqlCatalog) -> None:
    (staging.folder / "events.csv").write_text(GOOD)
    tick()
    run(tick())
    assert [path.name for path in (staging.folder / "done").iterdir()] == ["events.csv"]
    assert catalog.load_table(SERVICE_EVENT.table.identifier).scan().to_arrow()["entity_id"].to_pylist() == ["C-1"]
    assert isinstance(tick(), dg.SkipReason)


def test_a_file_that_cannot_be_taken_is_put_away_with_a_report(
    staging: StagingFolder, tick: Tick, tmp_path: Path
) -> None:
    (staging.folder / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "secret.csv").write_text(GOOD)
    (staging.folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    tick()
    run(tick())
    refused = staging.folder / "refused"
    assert "no column event_time" in (refused / "other.csv.report.txt").read_text()
    assert "is a link" in (refused / "link.csv.report.txt").read_text()
    assert (tmp_path / "secret.csv").read_text() == GOOD


@pytest.mark.parametrize("name", ["../secret.csv", "done/secret.csv", "/etc/secret.csv", ".."])
def test_a_name_that_leads_out_of_the_folder_is_refused(staging: StagingFolder, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.csv").write_text(GOOD)
    config = {"ops": {"pgr_take_files": {"config": {"names": [name]}}}}
    with pytest.raises(dg.Failure, match="does not lie in the staging folder"):
        pgr_files.execute_in_process(run_config=config, resources={"iceberg": FakeIceberg()})
    assert (tmp_path / "secret.csv").read_text() == GOOD


def test_the_same_content_again_is_put_away_and_lands_nothing(
    staging: StagingFolder, tick: Tick, catalog: SqlCatalog
) -> None:
    for name in ("events.csv", "events-copy.csv"):
        (staging.folder / name).write_text(GOOD)
    tick()
    run(tick())
    assert len(list((staging.folder / "done").iterdir())) == 2
    assert len(catalog.load_table(SERVICE_EVENT.table.identifier).scan().to_arrow()) == 1


def test_unfinished_and_hidden_files_and_folders_are_left_alone(staging: StagingFolder) -> None:
    for name in ("events.csv.part", ".events.csv.swp"):
        (staging.folder / name).write_text(GOOD)
    (staging.folder / "mine").mkdir()
    assert staging.waiting() == {}
