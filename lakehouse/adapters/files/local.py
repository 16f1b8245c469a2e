"""Files that a user names, wherever they are, as files of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse.settings import bucket_and_key, is_s3

if TYPE_CHECKING:
    from lakehouse.settings import Settings


@contextmanager
def local_file(settings: Settings, given: str) -> Iterator[Path]:
    """A path, or an object `s3://bucket/key` that is fetched and kept as long as the context lasts.

    Raises:
        FileRefusedError: there is no such object, or its name says that it cannot be taken.
        LakehouseError: the store does not answer or refuses.
    """
    if not is_s3(given):
        yield Path(given)
        return
    from lakehouse.adapters.s3.objects import fetched

    with fetched(settings, *bucket_and_key(given)) as (path, _):
        yield path
