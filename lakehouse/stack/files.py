"""Folders and files of the stack: owner only, written in one step, and errors of the disk in plain words."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lakehouse.errors import StackError
from lakehouse.settings import PROJECT, Settings

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
MEGABYTE = 1024 * 1024
LONGEST_SOCKET_FOLDER = 75
"""Bytes; supervisord adds a file name and its own suffix to it (the system's limit for a path is 104 to 108)."""


def cache_folder() -> Path:
    """Where unpacked software is kept, shared by all stacks of a user."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "lakehouse"


def server_folder(settings: Settings, server: str) -> Path:
    """Configuration and data of one server."""
    return settings.home / server


def log_file(settings: Settings, program: str) -> Path:
    """Where a program's output goes."""
    return settings.home / "logs" / f"{program}.log"


def run_folder(settings: Settings) -> Path:
    """What the supervision keeps about the running programs."""
    return settings.home / "run"


def make_folder(path: Path) -> Path:
    """Create a folder, readable by the owner only when it is new."""
    path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    return path


def write_file(path: Path, text: str, mode: int = PRIVATE_FILE) -> None:
    """Replace a file in one step; it never exists with wider rights than ``mode``, not even for a moment."""
    make_folder(path.parent)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def java_properties(values: Mapping[str, str]) -> str:
    """Render a ``.properties`` file so that Java reads back exactly these values."""
    return "".join(f"{key}={_escape(value)}\n" for key, value in values.items())


def _escape(value: str) -> str:
    escaped = "".join(_escape_char(char) for char in value)
    return "\\" + escaped if escaped.startswith(" ") else escaped


def _escape_char(char: str) -> str:
    known = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    if char in known:
        return known[char]
    if " " <= char <= "~":
        return char
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def require_space(path: Path, megabytes: int, what: str) -> None:
    """Refuse to begin what cannot be finished.

    Raises:
        StackError: when the disk that holds ``path`` has less room than needed.
    """
    free = free_megabytes(path)
    if free < megabytes:
        raise StackError(f"{what} needs {megabytes:,} MB on the disk of {path}, {free:,} MB are free: make room there")


def free_megabytes(path: Path) -> int:
    """Free room on the disk that holds a path, which need not exist yet."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free // MEGABYTE


@contextmanager
def disk_errors_explained() -> Iterator[None]:
    """Turn a full disk or a missing permission into one line that says what to do."""
    try:
        yield
    except OSError as error:
        where = error.filename or "the disk"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StackError(f"no room left for {where}: free some disk space, then run the command again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StackError(
                f"no permission to write {where}: give your user access to it, or choose another folder with "
                "LAKEHOUSE_HOME (data) or XDG_CACHE_HOME (software)"
            ) from error
        raise


def launcher_script() -> Path:
    """The script that turns into a server (see its own docstring)."""
    return PROJECT / "lakehouse" / "stack" / "launch.py"


def socket_folder(settings: Settings) -> Path:
    """A private folder short enough for sockets: their paths may have about 100 bytes, whatever `home` is."""
    folder = run_folder(settings)
    if len(os.fsencode(folder)) <= LONGEST_SOCKET_FOLDER:
        return make_folder(folder)
    digest = hashlib.sha256(str(settings.home).encode()).hexdigest()[:12]
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    folder = make_folder(base / f"lakehouse-{os.getuid()}-{digest}")
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise StackError(f"{folder} is not a private folder of yours: remove it, or set TMPDIR to a folder of yours")
    return folder
