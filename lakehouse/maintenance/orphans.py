"""Files below a table's folder that none of its snapshots names: of killed writers, of expired snapshots.

They are found by listing the folder, so whatever left them there. The age guard is what protects a commit under way:
its files exist before the table names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote, urlparse

import pyarrow.fs as pafs
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot


@dataclass(frozen=True)
class Orphan:
    """A file that may be removed."""

    path: str
    """In the file system of the table."""
    size: int
    """Bytes."""


def find_orphans(table: Table, *, age: timedelta, now: datetime) -> list[Orphan]:
    """Files that nothing names and that are older than `age`.

    Args:
        table: As loaded; what it names is read after the folder was listed, so that a commit between the two counts.
        age: Guard for commits under way.
        now: With a time zone.
    """
    files = _listed(table)
    table.refresh()
    named = set(_named(table))
    return [
        Orphan(file.path, file.size)
        for file in files
        if file.mtime.astimezone(UTC) < now - age and _key(file.path) not in named
    ]


def remove(table: Table, paths: Iterable[str]) -> None:
    """Delete files, by their paths in the file system of the table; one that is gone is none to worry about."""
    system = _file_system(table)
    for path in paths:
        try:
            system.delete_file(path)
        except FileNotFoundError:
            continue


def named_by(table: Table, snapshots: Iterable[Snapshot]) -> tuple[set[str], set[str]]:
    """Paths of the files of rows that some of a table's snapshots name, and of the files that say which those are."""
    lists: set[str] = set()
    manifests: dict[str, ManifestFile] = {}
    for snapshot in snapshots:
        lists.add(_path(snapshot.manifest_list))
        manifests |= {_path(manifest.manifest_path): manifest for manifest in snapshot.manifests(table.io)}
    entries = (entry for manifest in manifests.values() for entry in manifest.fetch_manifest_entry(table.io))
    return {_path(entry.data_file.file_path) for entry in entries}, lists | set(manifests)


def _listed(table: Table) -> list[pafs.FileInfo]:
    selector = pafs.FileSelector(_path(table.location()), allow_not_found=True, recursive=True)
    return [info for info in _file_system(table).get_file_info(selector) if info.type is pafs.FileType.File]


def _named(table: Table) -> Iterator[str]:
    """Everything that the table names, in any of its snapshots."""
    yield _key(_path(table.metadata_location))
    yield from (_key(_path(entry.metadata_file)) for entry in table.metadata.metadata_log)
    for statistics in (*table.metadata.statistics, *getattr(table.metadata, "partition_statistics", ())):
        yield _key(_path(statistics.statistics_path))
    for paths in named_by(table, table.snapshots()):
        yield from map(_key, paths)


def _file_system(table: Table) -> pafs.FileSystem:
    location = urlparse(table.location())
    return PyArrowFileIO(table.io.properties).fs_by_scheme(location.scheme or "file", location.netloc)


def _path(uri: str) -> str:
    """Path of a URI in its file system: engines write `file:/x`, `file:///x` and `s3://bucket/x`."""
    parts = urlparse(uri)
    return unquote(parts.path) if parts.scheme in ("", "file") else f"{parts.netloc}{parts.path}"


def _key(path: str) -> str:
    return path.lstrip("/")
