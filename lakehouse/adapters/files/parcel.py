"""A file as it lies there: its format, its identity, and that it stays the same while it is read."""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from lakehouse.errors import FileRefusedError

MAX_BYTES = 256 * 1024**3
"""Uncompressed; a gzip bomb ends here."""

MAX_RATIO = 200
"""Uncompressed bytes for each stored one, beyond the first `RATIO_FROM`: text of events is packed 5 to 30 times."""

RATIO_FROM = 64 * 1024**2
READ_BYTES = 256 * 1024
"""Small enough that the memory of one block serves the next."""


class Format(StrEnum):
    """What is in a file, by its name."""

    CSV = "csv"
    PARQUET = "parquet"
    JSON_LINES = "jsonl"


_FORMATS = {
    ".csv": Format.CSV,
    ".parquet": Format.PARQUET,
    ".jsonl": Format.JSON_LINES,
    ".ndjson": Format.JSON_LINES,
}
_OTHERS = {
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"\x1f\x8b": "packed by gzip; name it so, and pack it once",
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or save it as CSV",
    b"PAR1": "Parquet; name it so",
}
"""First bytes of what is no text, whatever the file's name says."""

SUFFIXES = f"{' '.join(_FORMATS)}, each also with .gz"


@dataclass(frozen=True)
class DataFile:
    """A file that was opened once and hashed."""

    path: Path
    format: Format
    is_gzip: bool
    sha256: str
    """Hash of the content, uncompressed: the same content has the same under any name, packed or not."""
    is_utf8: bool
    """Whether all of it is."""
    _state: tuple[int, ...]

    @contextmanager
    def open(self) -> Iterator[pa.NativeFile]:
        """The content, uncompressed, as a stream.

        Raises:
            FileRefusedError: the file is another one now, or cannot be unpacked.
        """
        with _opened(self.path) as file:
            self._must_be_unchanged(file)
            yield _unpacked(file) if self.is_gzip else pa.PythonFile(file, "r")
            self._must_be_unchanged(file)

    def _must_be_unchanged(self, file: BinaryIO) -> None:
        if _state_of(file) != self._state:
            raise FileRefusedError(f"{self.path.name} is being written: it changed while it was read")


def inspect(path: Path, on_bytes: Callable[[int], None] = lambda read: None) -> DataFile:
    """Look at a file: its format by its name, its identity by its content.

    Args:
        path: The file; not a link.
        on_bytes: Called with the number of stored bytes read so far.

    Raises:
        FileRefusedError: saying why it cannot be taken.
    """
    format_, is_gzip = format_of(path)
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_utf8 = True
    with _opened(path) as file:
        state = _state_of(file)
        if os.fstat(file.fileno()).st_size == 0:
            raise FileRefusedError(f"{path.name} is empty")
        stream = _unpacked(file) if is_gzip else file
        total = 0
        try:
            while block := stream.read(READ_BYTES):
                if total == 0 and format_ is not Format.PARQUET:
                    _must_be_text(path, block)
                digest.update(block)
                is_utf8 = is_utf8 and _decodes(decoder, block)
                total += len(block)
                stored = file.tell()
                on_bytes(stored)
                if total > MAX_BYTES or total > max(RATIO_FROM, MAX_RATIO * stored):
                    raise FileRefusedError(f"{path.name} unpacks to far more than it should: a gzip bomb?")
        except OSError as error:
            raise FileRefusedError(f"{path.name} cannot be read: {error}") from None
        if _state_of(file) != state:
            raise FileRefusedError(f"{path.name} is being written: it changed while it was read")
    return DataFile(path, format_, is_gzip, digest.hexdigest(), is_utf8, state)


def _must_be_text(path: Path, block: bytes) -> None:
    for start, what in _OTHERS.items():
        if block.startswith(start):
            raise FileRefusedError(f"{path.name} is {what}")


def format_of(path: Path) -> tuple[Format, bool]:
    """Format and whether it is packed.

    Raises:
        FileRefusedError: the name says neither, or cannot be shown.
    """
    if not path.name.isprintable():
        raise FileRefusedError(f"{path.name!r} has a name with unprintable characters; rename it")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    is_gzip = bool(suffixes) and suffixes[-1] == ".gz"
    last = suffixes[-2 if is_gzip else -1] if len(suffixes) > is_gzip else ""
    if last not in _FORMATS:
        raise FileRefusedError(f"{path.name} is none of the known formats: {SUFFIXES}")
    return _FORMATS[last], is_gzip


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes) -> bool:
    if block.isascii() and not decoder.getstate()[0]:
        return True
    try:
        decoder.decode(block)
    except UnicodeDecodeError:
        return False
    return True


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        is_link = path.is_symlink()
        raise FileRefusedError(f"{path} {'is a link' if is_link else f'cannot be opened: {error.strerror}'}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileRefusedError(f"{path} is not a file")
    with os.fdopen(descriptor, "rb") as file:
        yield cast(BinaryIO, file)


def _unpacked(file: BinaryIO) -> pa.NativeFile:
    return pa.CompressedInputStream(pa.PythonFile(file, "r"), "gzip")


def _state_of(file: BinaryIO) -> tuple[int, ...]:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
