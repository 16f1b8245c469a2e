"""Downloads against a small server on loopback."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from lakehouse.errors import StackError
from lakehouse.stack.download import Download, download_all

CONTENT = bytes(range(256)) * 4096


@dataclass
class Repository:
    """What the server did, and how it should misbehave."""

    address: str = ""
    ranges: list[str | None] = field(default_factory=list)
    cut_first_answer_at: int | None = None
    knows_ranges: bool = True


@pytest.fixture
def repository() -> Iterator[Repository]:
    told = Repository()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            told.ranges.append(asked)
            if not self.path.endswith("file.jar"):
                self.send_error(404)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and told.knows_ranges else 0
            body = CONTENT[start:]
            if not body:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut, told.cut_first_answer_at = told.cut_first_answer_at, None
            self.wfile.write(body[:cut])

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield told
        server.shutdown()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakehouse.stack.download.time.sleep", lambda _: None)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "org" / "file.jar"


def fetch(
    repository: Repository, target: Path, content: bytes = CONTENT, paths: tuple[str, ...] = ("file.jar",)
) -> None:
    urls = tuple(f"{repository.address}/{path}" for path in paths)
    download_all([Download(urls, target, hashlib.sha256(content).hexdigest())], Console(quiet=True))


def test_a_connection_that_breaks_is_continued_where_it_stopped(repository: Repository, target: Path) -> None:
    repository.cut_first_answer_at = 300_000
    fetch(repository, target)
    assert target.read_bytes() == CONTENT
    assert [asked is None for asked in repository.ranges] == [True, False]


def test_what_an_earlier_command_left_is_used(repository: Repository, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("file.jar.part").write_bytes(CONTENT[:1000])
    fetch(repository, target)
    assert target.read_bytes() == CONTENT
    assert repository.ranges == ["bytes=1000-"]


def test_a_part_that_is_complete_is_not_fetched_again(repository: Repository, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("file.jar.part").write_bytes(CONTENT)
    fetch(repository, target)
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_starts_over(repository: Repository, target: Path) -> None:
    repository.knows_ranges = False
    target.parent.mkdir()
    target.with_name("file.jar.part").write_bytes(b"something else")
    fetch(repository, target)
    assert target.read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(repository: Repository, target: Path) -> None:
    with pytest.raises(StackError, match=r"file\.jar: wrong checksum"):
        fetch(repository, target, content=b"what was pinned")
    assert list(target.parent.iterdir()) == []


def test_the_next_repository_is_asked_when_the_first_has_no_such_file(repository: Repository, target: Path) -> None:
    fetch(repository, target, paths=("nowhere", "file.jar"))
    assert target.read_bytes() == CONTENT


def test_a_file_that_no_repository_has_is_named(repository: Repository, target: Path) -> None:
    with pytest.raises(StackError, match=r"file\.jar cannot be fetched.*404"):
        fetch(repository, target, paths=("nowhere",))
