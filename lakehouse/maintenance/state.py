"""What a table consists of, by its metadata alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pyiceberg.manifest import DataFileContent
from pyiceberg.table import Table

SMALL_FILE_BYTES = 32 * 1024 * 1024
"""A file below this is worth putting together with others of its partition."""


@dataclass(frozen=True)
class TableState:
    """Numbers of a table's newest snapshot, and how many snapshots there are."""

    snapshots: int
    manifests: int
    files: int
    small_files: int
    """Files below `SMALL_FILE_BYTES` that have another such file in their partition."""
    delete_files: int
    megabytes: float


def measure(table: Table) -> TableState:
    """Look at a table's metadata."""
    snapshot = table.current_snapshot()
    manifests = snapshot.manifests(table.io) if snapshot else []
    entries = [entry.data_file for manifest in manifests for entry in manifest.fetch_manifest_entry(table.io)]
    data = [file for file in entries if file.content is DataFileContent.DATA]
    small = Counter(str(file.partition) for file in data if file.file_size_in_bytes < SMALL_FILE_BYTES)
    return TableState(
        snapshots=len(table.snapshots()),
        manifests=len(manifests),
        files=len(data),
        small_files=sum(count for count in small.values() if count > 1),
        delete_files=len(entries) - len(data),
        megabytes=round(sum(file.file_size_in_bytes for file in entries) / 2**20, 3),
    )
