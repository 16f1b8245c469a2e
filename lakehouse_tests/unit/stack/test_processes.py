"""What counts as ours, and what a taken port says."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lakehouse.errors import StackError
from lakehouse.stack import processes
from lakehouse.stack.files import launcher_script
from lakehouse.stack.server import Port


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program started as the supervisor starts one."""
    argv = [sys.executable, "-c", "import time; time.sleep(600)", "a server"]
    record = tmp_path / "sleeper.pid.json"
    spec: dict[str, object] = {"argv": argv, "cwd": str(tmp_path), "env": {}, "user": None, "record": str(record)}
    (tmp_path / "spec.json").write_text(json.dumps(spec | {"stop_signal": "TERM", "stop_seconds": 5}))
    process = subprocess.Popen([sys.executable, "-I", str(launcher_script()), str(tmp_path / "spec.json"), "digest"])
    while psutil.Process(process.pid).cmdline()[-1:] != ["a server"]:
        assert process.poll() is None
    yield process
    process.kill()
    process.wait()


def test_a_server_is_recognised_by_what_it_wrote_down(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    (record,) = processes.records(tmp_path)
    assert (record.program, record.pid) == ("sleeper", sleeper.pid)
    found = record.process()
    assert found is not None
    processes.end(found, record.stop_signal, 5)
    assert record.process() is None


@pytest.mark.parametrize("change", [{"created": 1.0}, {"argv": ["another", "program"]}, {"pid": 2**22 - 1}])
def test_another_process_with_the_same_number_is_not_ours(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], change: dict[str, object]
) -> None:
    path = tmp_path / "sleeper.pid.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    (record,) = processes.records(tmp_path)
    assert record.process() is None


def test_a_taken_port_names_its_holder_and_the_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = Port(taken.getsockname()[1], "LAKEHOUSE_KAFKA_PORT")
        with pytest.raises(StackError, match=rf"taken by .*{os.getpid()}.*set LAKEHOUSE_KAFKA_PORT"):
            processes.require_free(port, "Kafka")
    processes.require_free(port, "Kafka")
