"""The place into which files are dropped: what lies there, and where a file goes when it was looked at."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lakehouse.errors import FileGoneError

DONE, REFUSED = "done", "refused"
REPORT = ".report.txt"
UNFINISHED = (".part", ".tmp", ".crdownload", ".filepart")
"""Endings that programs give to a file while they write it."""

State = Sequence[int | str]
"""What is another after every change; fit for JSON."""


def is_finished(name: str) -> bool:
    """Whether a name is not one that programs give to what they still write."""
    return bool(name) and not name.startswith(".") and not name.endswith(UNFINISHED)


def is_inside(name: str) -> bool:
    """Whether a name is that of something in the place itself, and leads nowhere else."""
    return Path(name).name == name != ".."


class Staging(ABC):
    """The place. What is in ``done`` and ``refused`` below it was looked at already."""

    @abstractmethod
    def waiting(self) -> dict[str, State]:
        """Files that lie there, by name, oldest first; not those that are named as unfinished."""

    @abstractmethod
    def fetched(self, name: str) -> AbstractContextManager[Path]:
        """The file as one of this machine, for as long as the context lasts.

        Raises:
            FileGoneError: another run has taken it.
            FileRefusedError: it is none that can be taken.
        """

    @abstractmethod
    def accept(self, name: str) -> str:
        """Put a file that was taken in away; returns where it is now."""

    @abstractmethod
    def refuse(self, name: str, why: str) -> str:
        """Put a file that cannot be taken in away, with a report beside it; returns where it is now."""


@dataclass(frozen=True)
class StagingFolder(Staging):
    """A folder of this machine."""

    folder: Path

    def waiting(self) -> dict[str, State]:
        """As said there; the folder is made where it is missing, so that there is one to drop files into."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = []
        for entry in os.scandir(self.folder):
            if is_finished(entry.name) and not entry.is_dir(follow_symlinks=False):
                state = entry.stat(follow_symlinks=False)
                found.append((state.st_mtime_ns, entry.name, state.st_size))
        return {name: [size, changed] for changed, name, size in sorted(found)}

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """As said there; the file itself."""
        path = self.folder / name
        if not path.exists() and not path.is_symlink():
            raise FileGoneError(f"{path} is gone")
        yield path

    def accept(self, name: str) -> str:
        """As said there."""
        return str(self._move(name, DONE))

    def refuse(self, name: str, why: str) -> str:
        """As said there."""
        moved = self._move(name, REFUSED)
        moved.with_name(moved.name + REPORT).write_text(why + "\n")
        return str(moved)

    def _move(self, name: str, where: str) -> Path:
        folder = self.folder / where
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target, number = folder / name, 1
        while target.exists() or target.is_symlink():
            number += 1
            target = folder / f"{number}-{name}"
        return (self.folder / name).rename(target)
