"""A bucket instead of folders, on a real store: every way in, every engine, maintenance, and being refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from trino.dbapi import connect as connect_to_trino

from lakehouse.adapters.iceberg.catalog import open_catalog
from lakehouse.adapters.s3.client import open_client
from lakehouse.adapters.s3.staging import StagingPrefix
from lakehouse.client import Lakehouse
from lakehouse.domains.pgr.automation import pgr_files_sensor
from lakehouse.naming import SERVICE_EVENTS
from lakehouse.settings import Settings, bucket_and_key, load
from lakehouse.stack.dagster import Dagster
from lakehouse.stack.environment import exports
from lakehouse_tests.events import event
from lakehouse_tests.home import Home, open_home

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

BUCKET = "lake"
COUNT = 600
HEADER = "event_time,tenant_id,service,entity_id,event_type\n"
ROW = "2024-12-17 10:00:00,t,PGR,{},CaseSubmitted\n"
GOOD = HEADER + ROW.format("S-1") + "rubbish\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with open_home(tmp_path_factory.mktemp("s3") / "home") as made:
        made.environment |= {
            "LAKEHOUSE_WAREHOUSE": f"s3://{BUCKET}/warehouse",
            "LAKEHOUSE_STAGING": f"s3://{BUCKET}/staging",
            "LAKEHOUSE_COMPUTE_LOGS": f"s3://{BUCKET}/logs",
            "LAKEHOUSE_S3_ENDPOINT": "local",
            "LAKEHOUSE_DRAIN_IDLE_SEC": "1",
        }
        made.up("kafka", "trino")
        yield made


@pytest.fixture
def settings(home: Home, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of the home, which the environment of this process names too."""
    for name, value in exports(home.settings).items():
        monkeypatch.setenv(name, value)
    return load()


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    opened = open_catalog(settings)
    yield opened
    opened.close()


def sql(home: Home, statement: str, *parameters: Any) -> list[list[Any]]:
    connection = connect_to_trino(  # type: ignore[no-untyped-call]
        host="127.0.0.1", port=home.settings.trino_port, user="tests", catalog="iceberg", timezone="UTC"
    )
    try:
        cursor = connection.cursor()
        cursor.execute(statement, list(parameters) or None)
        return [list(row) for row in cursor.fetchall()]
    finally:
        connection.close()


def put(settings: Settings, key: str, text: str) -> None:
    open_client(settings).put_object(Bucket=BUCKET, Key=key, Body=text.encode())


def keys(settings: Settings, prefix: str) -> set[str]:
    pages = open_client(settings).get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return {found["Key"].removeprefix(prefix) for page in pages for found in page.get("Contents", ())}


def drain(home: Home, **more: str) -> None:
    command = [sys.executable, "-m", "lakehouse_tests.faults.driver"]
    environment = os.environ | home.environment | more
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


def audit(home: Home) -> dict[str, Any]:
    done = home.run("audit", "--deep", "--json")
    report: dict[str, Any] = json.loads(done.stdout)
    assert (report["verdict"], done.returncode) == ("complete", 0), report
    return report


def test_events_are_landed_in_the_bucket_and_read_there_by_every_engine(home: Home, catalog: Catalog) -> None:
    done = home.run("produce", "pgr", "--count", str(COUNT), "--malformed", "0.1")
    assert done.returncode == 0, done.stderr
    drain(home)
    assert Lakehouse(catalog).append("service_events_raw", [json.loads(event())]).accepted == 1
    sql(
        home,
        f"insert into {SERVICE_EVENTS.sql} (event_date, event_time, tenant_id, service, entity_id, event_type)"
        " values (date '2026-11-21', timestamp '2026-11-21 10:00:00 UTC', 't', 'PGR', 'Q-1', 'A')",
    )
    accounts = [account for account in audit(home)["accounts"] if account["source"] == home.settings.kafka_topic]
    rows, letters = (sum(account[name] for account in accounts) for name in ("bronze", "dead_letters"))
    assert (rows + letters, letters > 0) == (COUNT, True)
    assert sql(home, f"select count(*) from {SERVICE_EVENTS.sql}") == [[rows + 2]]
    table = catalog.load_table(SERVICE_EVENTS.identifier)
    assert table.scan().to_arrow().num_rows == rows + 2
    assert table.inspect.files()["file_path"].to_pylist()[0].startswith(f"s3://{BUCKET}/warehouse/bronze/")
    assert not (home.settings.home / "warehouse").exists()


def test_a_dropped_object_is_taken_by_the_job_that_its_sensor_asks_for(
    home: Home, settings: Settings, tmp_path: Path
) -> None:
    for name, text in {
        "good.csv": GOOD,
        "größer.csv": GOOD,
        "bad.csv": "a,b\n1,2\n",
        "half.csv.part": GOOD,
    }.items():
        put(settings, f"staging/{name}", text)
    Dagster().configure(settings)
    first, cursor = tick(None)
    assert isinstance(first, dg.SkipReason)
    second, cursor = tick(cursor)
    assert isinstance(second, dg.SensorResult)
    (request,) = second.run_requests or []
    # JSON is YAML.
    (tmp_path / "run.yaml").write_text(json.dumps(request.run_config))
    job = ["-m", "lakehouse.definitions", "-j", "pgr_files", "-c", str(tmp_path / "run.yaml")]
    command = [sys.executable, "-m", "dagster", "job", "execute", *job]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert keys(settings, "staging/") == {
        "done/good.csv",
        "done/größer.csv",
        "refused/bad.csv",
        "refused/bad.csv.report.txt",
        "half.csv.part",
    }
    report = open_client(settings).get_object(Bucket=BUCKET, Key="staging/refused/bad.csv.report.txt")["Body"].read()
    assert b"no column event_time" in report
    statement = f"select count(*) from {SERVICE_EVENTS.sql} where entity_id = 'S-1'"
    assert sql(home, statement) == [[1]]
    assert isinstance(tick(cursor)[0], dg.SkipReason)
    written = keys(settings, "logs/storage/")
    assert any(key.endswith(".err") for key in written), written
    audit(home)


def tick(cursor: str | None) -> tuple[dg.SensorResult | dg.SkipReason, str | None]:
    context = dg.build_sensor_context(instance=dg.DagsterInstance.ephemeral(), cursor=cursor, sensor_name="pgr_files")
    result = pgr_files_sensor(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result, result.cursor if isinstance(result, dg.SensorResult) else context.cursor


def test_an_object_that_was_replaced_while_it_was_taken_waits_for_its_turn(settings: Settings) -> None:
    place = f"staging-{uuid.uuid4().hex}"
    staging = StagingPrefix(settings, f"s3://{BUCKET}/{place}")
    put(settings, f"{place}/a.csv", GOOD)
    with staging.fetched("a.csv") as path:
        put(settings, f"{place}/a.csv", HEADER)
        assert path.read_text() == GOOD
    assert staging.accept("a.csv") == f"s3://{BUCKET}/{place}/a.csv"
    assert list(staging.waiting()) == ["a.csv"]
    with staging.fetched("a.csv"):
        pass
    staging.accept("a.csv")
    put(settings, f"{place}/a.csv", GOOD)
    with staging.fetched("a.csv"):
        pass
    assert bucket_and_key(staging.accept("a.csv")) == (BUCKET, f"{place}/done/2-a.csv")
    assert keys(settings, f"{place}/") == {"done/a.csv", "done/2-a.csv"}


def test_an_object_is_taken_by_the_command_line_once(home: Home, settings: Settings) -> None:
    put(settings, "in/events.csv", HEADER + ROW.format("I-1"))
    first, second = (home.run("ingest", "file", f"s3://{BUCKET}/in/events.csv") for _ in range(2))
    assert "1 rows, 0 dead letters" in first.stdout
    assert "taken in before; nothing was written" in second.stdout
    missing = home.run("ingest", "file", f"s3://{BUCKET}/in/nothing.csv", f"s3://{BUCKET}/in/events.xls")
    assert missing.returncode == 1
    assert "refused: there is no object in/nothing.csv in bucket lake" in missing.stdout
    assert "refused: events.xls is none of the known formats" in missing.stdout


def test_maintenance_works_in_the_bucket(home: Home, settings: Settings, catalog: Catalog) -> None:
    done = home.run("produce", "pgr", "--count", "200")
    assert done.returncode == 0, done.stderr
    drain(home, LAKEHOUSE_BATCH_SIZE="20")
    table = catalog.load_table(SERVICE_EVENTS.identifier)
    before = table.scan().to_arrow().num_rows
    prefix = f"{bucket_and_key(table.location())[1]}/"
    left_over = f"{prefix}data/of-a-killed-writer.parquet"
    put(settings, left_over, "nothing")
    put(settings, f"{prefix}data/young.parquet", "nothing")
    days_ago = time.time() - 10 * 24 * 3600
    os.utime(settings.home / "s3" / "data" / BUCKET / left_over, (days_ago, days_ago))
    eager = {"LAKEHOUSE_SMALL_FILES_KEPT": "2", "LAKEHOUSE_SNAPSHOTS_KEPT": "1"}
    done = home.run("maintain", str(SERVICE_EVENTS), "--json", **eager)
    assert done.returncode == 0, done.stderr
    (upkeep,) = json.loads(done.stdout)
    assert (upkeep["is_compacted"], upkeep["orphan_files"], upkeep["after"]["small_files"]) == (True, 1, 0)
    assert upkeep["expired_snapshots"] > 10
    table.refresh()
    assert table.scan().to_arrow().num_rows == before
    held = keys(settings, prefix)
    assert "data/young.parquet" in held
    assert "data/of-a-killed-writer.parquet" not in held
    kept = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    found = {key for key in held if key.endswith(".metadata.json")}
    assert found == {bucket_and_key(uri)[1].removeprefix(prefix) for uri in kept}
    audit(home)


def test_a_table_that_was_made_in_a_folder_is_still_read_there(home: Home, catalog: Catalog, tmp_path: Path) -> None:
    rows = pa.table({"a": [1, 2, 3]})
    table = catalog.create_table("bronze.made_before", rows.schema, location=(tmp_path / "made before").as_uri())
    table.append(rows)
    assert sql(home, "select sum(a) from iceberg.bronze.made_before") == [[6]]
    catalog.drop_table("bronze.made_before")


@pytest.mark.parametrize(
    ("said", "given"),
    [
        ("refuses the keys for bucket lake (SignatureDoesNotMatch)", {"S3_PASSWORD": "wrong-secret"}),
        ("there is no bucket nowhere at", {"WAREHOUSE": "s3://nowhere/warehouse"}),
        ("http://127.0.0.1:1 does not answer", {"S3_ENDPOINT": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "k"}),
    ],
)
def test_being_refused_is_one_line(home: Home, said: str, given: dict[str, str]) -> None:
    more = {f"LAKEHOUSE_{name}": value for name, value in given.items()}
    more.setdefault("LAKEHOUSE_AWS_SECRET_ACCESS_KEY", "wrong-secret")
    done = home.run("audit", **more)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert said in done.stderr
    assert "wrong-secret" not in done.stderr


def test_the_state_of_the_store_is_shown_and_its_key_is_not(home: Home) -> None:
    found = home.status()["s3"]
    assert (found["state"], found["is_healthy"], found["version"]) == ("running", True, "4.1.0")
    elsewhere = {"LAKEHOUSE_S3_ENDPOINT": home.settings.s3_url}
    external = json.loads(home.run("status", "--json", **elsewhere).stdout)
    assert next(server["problem"] for server in external if server["name"] == "s3")
    secret = home.settings.s3_password.get_secret_value()
    assert len(secret) > 20
    for arguments in (("settings",), ("doctor",), ("logs", "s3", "--lines", "100000")):
        done = home.run(*arguments)
        assert secret not in done.stdout + done.stderr
    refused = home.run("up", "s3", LAKEHOUSE_WAREHOUSE="", LAKEHOUSE_STAGING="", LAKEHOUSE_COMPUTE_LOGS="")
    assert "the settings have no use for S3" in refused.stderr


def test_what_the_store_holds_survives_its_crash(home: Home, catalog: Catalog) -> None:
    rows = catalog.load_table(SERVICE_EVENTS.identifier).scan().to_arrow().num_rows
    for pid in home.status()["s3"]["pids"]:
        os.kill(pid, 9)
    home.up("s3")
    assert sql(home, f"select count(*) from {SERVICE_EVENTS.sql}") == [[rows]]
