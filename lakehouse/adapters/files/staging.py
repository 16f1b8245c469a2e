"""The folder into which files are dropped: what lies there, and where a file goes when it was looked at."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DONE, REFUSED = "done", "refused"
UNFINISHED = (".part", ".tmp", ".crdownload", ".filepart")
"""Endings that programs give to a file while they write it."""

State = tuple[int, int]
"""Size and time of the last change, ns."""


@dataclass(frozen=True)
class Staging:
    """The folder. Files in ``done`` and ``refused`` below it were looked at already."""

    folder: Path

    def waiting(self) -> dict[str, State]:
        """Files that lie there, by name, oldest first; not those that are named as unfinished.

        The folder is made where it is missing, so that there is one to drop files into.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = []
        for entry in os.scandir(self.folder):
            if entry.name.startswith(".") or entry.name.endswith(UNFINISHED) or entry.is_dir(follow_symlinks=False):
                continue
            state = entry.stat(follow_symlinks=False)
            found.append((state.st_mtime_ns, entry.name, state.st_size))
        return {name: (size, changed) for changed, name, size in sorted(found)}

    def accept(self, name: str) -> Path:
        """Put a file that was taken in away."""
        return self._move(name, DONE)

    def refuse(self, name: str, why: str) -> Path:
        """Put a file that cannot be taken in away, with a report beside it."""
        moved = self._move(name, REFUSED)
        moved.with_name(moved.name + ".report.txt").write_text(why + "\n")
        return moved

    def _move(self, name: str, where: str) -> Path:
        folder = self.folder / where
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target, number = folder / name, 1
        while target.exists() or target.is_symlink():
            number += 1
            target = folder / f"{number}-{name}"
        return (self.folder / name).rename(target)
