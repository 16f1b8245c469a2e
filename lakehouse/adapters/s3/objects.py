"""Objects of a bucket as files of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lakehouse.adapters.files.parcel import format_of
from lakehouse.adapters.s3.client import explained, open_client
from lakehouse.errors import FileGoneError, FileRefusedError

if TYPE_CHECKING:
    from lakehouse.settings import Settings

BLOCK_BYTES = 4 * 1024**2
LONGEST_NAME = 255
"""Bytes that a file's name may have here; an object's may have four times as many."""


@contextmanager
def fetched(settings: Settings, bucket: str, key: str) -> Iterator[tuple[Path, str]]:
    """Fetch an object once, as a whole: what is read of it afterwards, however often, is the same.

    Yields:
        The file, of the same name, in a temporary folder; and the object's entity tag.

    Raises:
        FileGoneError: there is no such object.
        FileRefusedError: its name says that it cannot be taken.
        LakehouseError: the store does not answer or refuses.
    """
    name = PurePosixPath(key).name
    format_of(Path(name))
    if len(name.encode()) > LONGEST_NAME:
        raise FileRefusedError(f"{name[:40]}… has a name of more than {LONGEST_NAME} bytes")
    with TemporaryDirectory(prefix="lakehouse-") as folder:
        path = Path(folder) / name
        yield path, _fetch(settings, bucket, key, path)


def _fetch(settings: Settings, bucket: str, key: str, path: Path) -> str:
    client = open_client(settings)
    with explained(settings, bucket), path.open("wb") as file:
        try:
            found = client.get_object(Bucket=bucket, Key=key)
        except client.exceptions.NoSuchKey:
            raise FileGoneError(f"there is no object {key} in bucket {bucket}") from None
        for block in found["Body"].iter_chunks(BLOCK_BYTES):
            file.write(block)
    return str(found["ETag"])
