"""Files, the staging folder, SQL and replays on the real servers, as a user of the command line and of Trino."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from pathlib import Path

import pytest

from lakehouse.definitions import defs
from lakehouse.docs import build_docs, serve_docs
from lakehouse.settings import load
from lakehouse_tests.conftest import Feed, Stack, audit_of_topic
from lakehouse_tests.events import event

pytestmark = [pytest.mark.integration]

LAKEHOUSE = str(Path(sys.executable).with_name("lakehouse"))

HEADER = "event_time,tenant_id,service,entity_id,event_type\n"
ROW = "2024-12-17 10:00:00,t,PGR,C-{},CaseSubmitted\n"


def cli(*arguments: str, code: int = 0) -> str:
    command = [LAKEHOUSE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def account(source: str) -> dict[str, object]:
    command = [LAKEHOUSE, "audit", "--deep", "--json"]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    found: dict[str, object] = next(account for account in report["accounts"] if account["source"] == source)
    return found


def test_a_file_whose_taking_in_is_killed_again_and_again_is_landed_once(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / f"{uuid.uuid4().hex}.csv"
    chance = random.Random(7)
    rows = [ROW.format(number) if number % 50 else "rubbish\n" for number in range(400_000)]
    path.write_text(HEADER + "".join(rows))
    command = [LAKEHOUSE, "ingest", "file", str(path)]
    for _ in range(4):
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(2, 6))
        running.send_signal(signal.SIGKILL)
        running.wait()
    source = cli("ingest", "file", str(path)).split(": ")[0]
    held = "select count(*), count(distinct source_row) from iceberg.bronze.{} where source_file = ?"
    assert stack.sql(held.format("service_events_raw"), source) == [[392_000, 392_000]]
    assert stack.sql(held.format("dead_letters"), source) == [[8_000, 8_000]]
    found = account(source)
    assert (found["bronze"], found["dead_letters"], found["gaps"]) == (392_000, 8_000, [])


def test_a_dropped_file_is_taken_by_the_job_of_its_sensor(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_STAGING", str(tmp_path / "staging"))
    folder = Path(load().staging_place)
    folder.mkdir()
    name = f"{uuid.uuid4().hex}.csv"
    (folder / name).write_text(HEADER + ROW.format(1) + "rubbish\n")
    config = {"ops": {"pgr_take_files": {"config": {"names": [name]}}}}
    assert defs.resolve_job_def("pgr_files").execute_in_process(run_config=config).success
    assert (folder / "done" / name).exists()
    statement = "select entity_id from iceberg.bronze.service_events_raw where source_file like ?"
    assert stack.sql(statement, f"{name}@%") == [["C-1"]]
    delivered = stack.sql("select accepted_rows, dead_letters from iceberg.bronze.deliveries where name = ?", name)
    assert delivered == [[1, 1]]


def test_a_file_that_is_none_is_refused_in_one_line(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("a,b\n1,2\n")
    said = cli("ingest", "file", str(path), code=1)
    assert said.startswith("refused: events.csv: no column event_time")
    assert "Traceback" not in said


def test_a_dead_letter_that_passes_after_a_fix_is_replayed_once(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = feed.send([(b"a", event(entity_id="x" * 101), "TOO_LONG"), (b"b", event(entity_id="C-2"), None)])
    with feed.drain() as draining:
        assert draining.wait(timeout=120) == 0
    letter = next(f"{feed.topic}:{m.partition}:{m.offset}" for m in sent if m.error_type)
    assert "0 would become rows, 1 stay dead letters" in cli(
        "dead-letters", "replay", "--source", feed.topic, "--dry-run"
    )
    script = (
        "from dataclasses import replace; import lakehouse.domains.pgr.contract as c; "
        "fixed = replace(c.SERVICE_EVENT, fields=tuple(replace(f, max_length=200) if f.name == 'entity_id' else f "
        "for f in c.SERVICE_EVENT.fields)); c.SERVICE_EVENT = fixed; from lakehouse.cli import main; main()"
    )
    for accepted in (1, 0):
        command = [sys.executable, "-c", script, "dead-letters", "replay", "--id", letter]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
        assert f"{accepted} became rows, 0 stay dead letters" in done.stdout, done.stdout + done.stderr
    rows = feed.stack.sql(
        "select kafka_partition, kafka_offset, replayed_at is not null from iceberg.bronze.service_events_raw"
        " where kafka_topic = ?", feed.topic,
    )  # fmt: skip
    assert sorted(rows) == sorted([m.partition, m.offset, m.error_type is not None] for m in sent)
    report = audit_of_topic(deep=True)
    assert report.verdict == "complete"
    assert [sum(getattr(a, name) for a in report.accounts if not a.direct) for name in ("bronze", "replayed")] == [1, 1]
    assert "became a row" in cli("dead-letters", "show", letter)


def test_the_docs_are_one_page_on_loopback(stack: Stack) -> None:
    folder = build_docs(stack.settings)
    with serve_docs(folder, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for path in ("/", "/target/manifest.json"):
            with urllib.request.urlopen(address + path, timeout=30) as answer:
                page = answer.read().decode()
            assert page.lstrip().lower().startswith("<!doctype html")
            assert "Whether the case is open" in page or "pgr_case_lifecycle" in page
        server.shutdown()


def test_replay_must_be_told_which(stack: Stack) -> None:
    done = subprocess.run([LAKEHOUSE, "dead-letters", "replay"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "say which: --id, --reason, --source or --since" in done.stderr
