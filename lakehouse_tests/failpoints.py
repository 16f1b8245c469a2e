"""Named points of a commit at which a test does something: ends the process, freezes it, takes the disk away.

The product knows nothing of them. They are at seams that others offer: the catalog's files (`py-io-impl`), its
database's events, its `commit_table`. Nothing stands in for anything: files are written and rows changed for real.
"""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar
from unittest.mock import patch

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io import PY_IO_IMPL
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
from pyiceberg.table import Table
from sqlalchemy import event

from lakehouse.contracts.validation import Validator, Verdict
from lakehouse.naming import DEAD_LETTERS, DELIVERIES, SERVICE_EVENTS

COMMIT = ("after data files", "after manifests", "before the swap", "in the swap", "after the swap")
"""Steps of one commit. In the swap the catalog's row is changed, and the transaction that does it still open."""
_LETTERS = {step: f"dead letters {step}" for step in COMMIT} | {"after the swap": "after dead letters"}
STEPS = ("after poll", "after validation", *_LETTERS.values(), *COMMIT, "before reporting")
"""Steps of a batch with rows and dead letters; the first and the last are those of whoever reads the topic."""
NAMES = {
    SERVICE_EVENTS: {step: step for step in COMMIT},
    DEAD_LETTERS: _LETTERS,
    DELIVERIES: {"after the swap": "after recording"},
}
"""What the steps of a commit to a table are called; those of the other tables have no name."""
DISKS: dict[str, Callable[[str], bool]] = {
    "data": lambda location: location.endswith(".parquet"),
    "manifests": lambda location: location.endswith(".avro"),
    "metadata": lambda location: location.endswith(".metadata.json"),
}
"""What may be on a disk that is full."""

OnStep = Callable[[str], None]


class WatchedFileIO(PyArrowFileIO):
    """Files of a catalog: tells which one is about to be written, and fails where it was told to."""

    on_file: ClassVar[Callable[[str], None]] = staticmethod(lambda location: None)
    full: ClassVar[str | None] = None
    """The kind of files, of `DISKS`, for which no space is left."""
    gone: ClassVar[str | None] = None
    """Part of the locations that do not answer."""

    def new_output(self, location: str) -> PyArrowFile:
        """A file to write; without space one that takes no byte: the kernel itself says so."""
        self._require(location)
        WatchedFileIO.on_file(location)
        full = WatchedFileIO.full
        return _Full(self) if full and DISKS[full](location) else super().new_output(location)

    def new_input(self, location: str) -> PyArrowFile:
        """A file to read."""
        self._require(location)
        return super().new_input(location)

    def _require(self, location: str) -> None:
        if WatchedFileIO.gone and WatchedFileIO.gone in location:
            raise OSError(errno.EIO, "Input/output error", location)


class _Full(PyArrowFile):
    """The device that is always full, where there is always room for another name."""

    def __init__(self, io: PyArrowFileIO) -> None:
        super().__init__("file:///dev/full", "/dev/full", io.fs_by_scheme("file", ""))

    def exists(self) -> bool:
        return False


@contextmanager
def watched(catalog: SqlCatalog, on_step: OnStep) -> Iterator[None]:
    """Call ``on_step`` with the name of each step that this catalog's commits, and any validation, come to.

    Whatever it raises comes out of that step. Tables are to be opened inside; one catalog of a process at a time.
    """
    committing: str | None = None

    def reached(step: str, location: str | None) -> None:
        for table, names in NAMES.items():
            if location and f"/{table.table}/" in location and step in names:
                on_step(names[step])

    def on_file(location: str) -> None:
        if location.endswith("-m0.avro"):
            reached("after data files", location)
        elif location.endswith(".metadata.json"):
            reached("after manifests", committing)

    def on_statement(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE"):
            reached("before the swap", committing)

    def on_commit(_connection: object) -> None:
        reached("in the swap", committing)

    commit_table = catalog.commit_table

    def commit_and_tell(table: Table, *arguments: Any) -> Any:
        nonlocal committing
        committing = f"{table.location()}/"
        try:
            answer = commit_table(table, *arguments)
            reached("after the swap", committing)
        finally:
            committing = None
        return answer

    def told(validate: Callable[..., Verdict]) -> Callable[..., Verdict]:
        def validate_and_tell(*arguments: Any) -> Verdict:
            verdict = validate(*arguments)
            on_step("after validation")
            return verdict

        return validate_and_tell

    catalog.properties[PY_IO_IMPL] = f"{__name__}.{WatchedFileIO.__name__}"
    event.listen(catalog.engine, "before_cursor_execute", on_statement)
    event.listen(catalog.engine, "commit", on_commit)
    try:
        with (
            patch.object(WatchedFileIO, "on_file", staticmethod(on_file)),
            patch.object(catalog, "commit_table", commit_and_tell),
            patch.object(Validator, "validate", told(Validator.validate)),
            patch.object(Validator, "validate_cells", told(Validator.validate_cells)),
        ):
            yield
    finally:
        event.remove(catalog.engine, "before_cursor_execute", on_statement)
        event.remove(catalog.engine, "commit", on_commit)
        del catalog.properties[PY_IO_IMPL]


class Killed(BaseException):
    """Stands for the end of the process at a step: nothing catches it."""


@contextmanager
def killed_in(function: str) -> Iterator[None]:
    """The block comes to its end where a function is called, of that dotted name; it is an error when none is."""
    with pytest.raises(Killed), patch(function, side_effect=Killed(function)):
        yield


@contextmanager
def killed_at(catalog: SqlCatalog, step: str) -> Iterator[None]:
    """The block comes to its end at that step; it is an error when it does not come to the step."""

    def on_step(name: str) -> None:
        if name == step:
            raise Killed(step)

    with pytest.raises(Killed), watched(catalog, on_step):
        yield
    # With the process its connections would have ended, and what was open on them would be undone.
    catalog.engine.dispose()


def run_killed(
    work: str,
    function: str,
    *,
    calls: int = 1,
    after: float = 0.0,
    is_done: bool = False,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run Python in a process of its own that is killed (`kill -9`) when it calls a function; it must come to that.

    Args:
        work: The code.
        function: Dotted name, where it is looked up.
        calls: At which of its calls.
        after: Seconds that the call goes on meanwhile.
        is_done: Whether the call comes to its end first.
        environment: Of the process; that of this one, if not given.
    """
    module, _, name = function.rpartition(".")
    code = f"""
import itertools, os, pydoc, signal, threading
owner, calls = pydoc.locate({module!r}), itertools.count(1)
called = owner.{name}
def die(*given, **more):
    if next(calls) != {calls}:
        return called(*given, **more)
    if {is_done}:
        called(*given, **more)
    if not {after}:
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Timer({after}, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return called(*given, **more)
owner.{name} = die
{work}
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, f"{function} was not come to: {done.stderr[-4_000:]}"
