"""The manifest when several processes ask for it at once, which is what Dagster's servers do when they start."""

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lakehouse.adapters.dbt import project

SLOW_DBT = f"""#!{sys.executable}
import sys, time
from pathlib import Path
folder = Path(sys.argv[sys.argv.index("--target-path") + 1])
with (Path(__file__).parent / "parsed").open("a") as log:
    log.write("once\\n")
(folder / "partial_parse.msgpack").touch()
with (folder / "manifest.json").open("w") as file:
    file.write('{{"nodes": ')
    file.flush()
    time.sleep(0.5)
    file.write("{{}}}}")
"""
ASKING = 4


@pytest.fixture
def dbt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, and a dbt that stops in the middle of writing its manifest."""
    folder = tmp_path / "dbt_project"
    folder.mkdir()
    (folder / "dbt_project.yml").write_text("name: tests\n")
    program = tmp_path / "dbt"
    program.write_text(SLOW_DBT)
    program.chmod(0o755)
    for name, path in (
        ("DBT_PROJECT", folder),
        ("TARGET", folder / "target"),
        ("MANIFEST", folder / "target" / "manifest.json"),
        ("DBT", program),
    ):
        monkeypatch.setattr(project, name, path)
    return tmp_path


def test_it_is_parsed_once_for_all_who_ask_at_the_same_time(dbt: Path) -> None:
    with ThreadPoolExecutor(ASKING) as pool:
        found = [json.loads(path.read_text()) for path in pool.map(lambda _: project.ensure_manifest(), range(ASKING))]
    assert found == [{"nodes": {}}] * ASKING
    assert (dbt / "parsed").read_text().split() == ["once"]
    left = sorted(path.name for path in (dbt / "dbt_project" / "target").iterdir())
    assert left == ["manifest.json", "manifest.lock", "partial_parse.msgpack"]


def test_whoever_reads_the_last_one_meanwhile_never_sees_half_of_the_next(dbt: Path) -> None:
    manifest = project.ensure_manifest()
    time.sleep(0.01)
    (dbt / "dbt_project" / "model.sql").write_text("select 1\n")
    asking = threading.Thread(target=project.ensure_manifest)
    asking.start()
    reads = 0
    while asking.is_alive():
        assert json.loads(manifest.read_text()) == {"nodes": {}}
        reads += 1
    assert reads
    assert (dbt / "parsed").read_text().split() == ["once", "once"]
