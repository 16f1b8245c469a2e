"""Turns fetched artifacts into folders a JVM can start from, in the user's cache, complete or not there at all."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lakehouse.errors import StackError
from lakehouse.stack.artifacts import Artifacts, repository
from lakehouse.stack.files import make_folder


def assemble(artifacts: Artifacts, fill: Callable[[Path], None]) -> None:
    """Make the folder of a server by ``fill`` in a temporary place, then move it where it belongs."""
    if artifacts.are_installed:
        return
    make_folder(artifacts.folder.parent)
    with tempfile.TemporaryDirectory(dir=artifacts.folder.parent, prefix=f".{artifacts.folder.name}-") as temporary:
        new = Path(temporary) / "new"
        new.mkdir()
        fill(new)
        try:
            new.rename(artifacts.folder)
        except OSError:
            # Another stack of this user was faster; what it made is the same.
            if not artifacts.are_installed:
                raise


def link_files(artifacts: Artifacts, folder: Path) -> None:
    """Put all artifacts side by side, without taking room twice where the disk allows."""
    for artifact in artifacts.files:
        _link_or_copy(repository() / artifact.path, folder / artifact.filename)


def unpack(archive: Path, folder: Path, parts: Sequence[str]) -> None:
    """Unpack chosen parts of a tar archive, without its top folder.

    The archive may store equal files once and link to them from elsewhere (Trino's plugins do), so a chosen file's
    content may lie outside the chosen parts.
    """
    prefixes = tuple(f"{part}/" for part in parts)
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
        wanted: dict[str, list[Path]] = {}
        for member in members:
            _, _, inner = member.name.partition("/")
            if inner.startswith(prefixes) and not member.isdir():
                if ".." in Path(inner).parts:
                    raise StackError(f"{archive.name} is refused: {member.name} points outside of it")
                wanted.setdefault(member.linkname if member.islnk() else member.name, []).append(folder / inner)
        for member in members:
            content = tar.extractfile(member) if member.name in wanted and member.isreg() else None
            if content:
                first, *others = wanted.pop(member.name)
                for target in (first, *others):
                    target.parent.mkdir(parents=True, exist_ok=True)
                with first.open("wb") as file:
                    shutil.copyfileobj(content, file)
                for target in others:
                    _link_or_copy(first, target)
    if wanted:
        raise StackError(f"{archive.name} is incomplete: it lacks {next(iter(wanted))}")


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
