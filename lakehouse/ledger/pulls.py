"""Taking in what an API lists, window by window, each version of an item once, and the account of it.

While a window is read, how far the pull has come is a property of the table its rows go to, moved by the commits of its
rows. When it ends it is written down among the pulls, and only then the property is removed: properties stay few,
whatever the number of windows. A pull keeps the ids it has seen and the beginning of each item's hash, so that an
auditor can look for every item that the API listed, also for those that made no row.
"""

from __future__ import annotations

import base64
import json
import zlib
from array import array
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.adapters.iceberg.filters import among, equal
from lakehouse.adapters.iceberg.history import files_since, read_files
from lakehouse.contracts.arrow import arrow_schema
from lakehouse.contracts.pull import ABANDONED, CLOSED, DISTURBED, PULL_RECORD
from lakehouse.ledger.commit import append, current_snapshot_id, until_won

PREFIX = "lakehouse.pull."
SHORT = 16
"""Hexadecimal digits of an item's hash that a pull remembers."""
NOTHING = "0" * SHORT
"""Stands for the hash of what is gone."""


class State(StrEnum):
    """How a pull is doing."""

    READING = "reading"
    CLOSED = CLOSED
    DISTURBED = DISTURBED
    ABANDONED = ABANDONED


@dataclass(frozen=True, slots=True)
class Sighting:
    """An item as it was seen last."""

    short_hash: str
    is_new: bool
    """Whether this pull made a row of it."""


@dataclass
class Progress:
    """How far a pull of a window has come."""

    pull_id: str
    window: str
    said: int
    """Items that the API said the window has, when the pull began."""
    started_at: datetime
    """That moment, by the API's clock (UTC)."""
    page: int = 1
    """Next page to read."""
    reading: int = 1
    """How many times the window has been read, this one included."""
    rows: int = 0
    requests: int = 0
    has_moved: bool = False
    """Whether an item was seen that changed since the pull began."""
    state: State = State.READING
    seen: dict[int, Sighting] = field(default_factory=dict)
    letters: dict[str, None] = field(default_factory=dict)
    """Ids of the dead letters, in order."""

    @property
    def is_complete(self) -> bool:
        """Whether all that the window had when the pull began was seen.

        An item that did not change since then was in the window then. As many such items as the API said there were are
        all of them, in whatever order and on however many readings they were seen.
        """
        return not self.has_moved and len(self.seen) + len(self.letters) == self.said

    @property
    def unchanged(self) -> int:
        """Items that were held as they are."""
        return sum(not sighting.is_new for sighting in self.seen.values())

    @property
    def repeats(self) -> int:
        """Rows beyond one an item."""
        return self.rows - (len(self.seen) - self.unchanged)

    def copy(self) -> Progress:
        """One that can be moved on without moving this one."""
        return replace(self, seen=dict(self.seen), letters=dict(self.letters))


def property_name(source: str, window: str) -> str:
    """Name of the table property that holds a pull under way."""
    return f"{PREFIX}{source}.{window}"


def _to_property(progress: Progress) -> str:
    """A pull under way as the value of a property."""
    said = {
        name: getattr(progress, name)
        for name in ("pull_id", "said", "page", "reading", "rows", "requests", "has_moved", "state")
    }
    packed = base64.b64encode(pack(progress.seen)).decode()
    said |= {"started_at": progress.started_at.isoformat(), "seen": packed, "letters": list(progress.letters)}
    return json.dumps(said, sort_keys=True)


def under_way(properties: Mapping[str, str], source: str) -> dict[str, Progress]:
    """Pulls that are under way, or whose end was not written down yet, by window."""
    return UnderWay(source).read(properties)


class UnderWay:
    """The same for who asks again and again: what was read, or is told from here, is not unpacked once more."""

    def __init__(self, source: str) -> None:
        """Know nothing yet."""
        self._source = source
        self._known: dict[str, tuple[str, Progress]] = {}
        """By window what its property says, and means."""

    def read(self, properties: Mapping[str, str]) -> dict[str, Progress]:
        """What properties say, by window; copies of it may be moved on."""
        start = f"{PREFIX}{self._source}."
        said = {name.removeprefix(start): value for name, value in properties.items() if name.startswith(start)}
        self._known = {
            window: known if (known := self._known.get(window)) and known[0] == value else (value, _told(window, value))
            for window, value in said.items()
        }
        return {window: progress for window, (_, progress) in self._known.items()}

    def tell(self, moved: Iterable[Progress]) -> dict[str, str]:
        """Properties that say how far pulls have come, by name; these are not moved any more."""
        told = {progress.window: (_to_property(progress), progress) for progress in moved}
        self._known |= told
        return {property_name(self._source, window): value for window, (value, _) in told.items()}


def _told(window: str, value: str) -> Progress:
    said = json.loads(value)
    said["started_at"] = datetime.fromisoformat(said["started_at"])
    said["seen"] = unpack(base64.b64decode(said["seen"]))
    said["letters"] = dict.fromkeys(said["letters"])
    said["state"] = State(said["state"])
    return Progress(window=window, **said)


def pack(seen: Mapping[int, Sighting]) -> bytes:
    """Sightings in about 12 bytes each."""
    ids = sorted(seen)
    hashes = "".join(seen[item].short_hash for item in ids)
    flags = bytes(seen[item].is_new for item in ids)
    # Hashes do not get smaller by any effort.
    return zlib.compress(array("q", ids).tobytes() + bytes.fromhex(hashes) + flags, level=1)


def unpack(packed: bytes) -> dict[int, Sighting]:
    """What `pack` packed."""
    ids, hashes, flags = _columns(packed)
    return {
        item: Sighting(hashes[SHORT * place : SHORT * (place + 1)], bool(flags[place]))
        for place, item in enumerate(ids)
    }


def _columns(packed: bytes) -> tuple[array[int], str, bytes]:
    plain = zlib.decompress(packed)
    count = len(plain) // 17
    return array("q", plain[: 8 * count]), plain[8 * count : 16 * count].hex(), plain[16 * count :]


class Pulls:
    """The table of pulls, as one source sees it."""

    def __init__(self, catalog: Catalog, source: str) -> None:
        """Open the table, created or evolved first."""
        self._table: Table = ensure_table(catalog, PULL_RECORD)
        self._source = source
        self._known: set[str] = set()
        """Pulls that are written down."""
        self._known_at: int | None = None
        """In which snapshot."""

    def write_down(self, ended: Collection[Progress], target: str, run_id: str) -> None:
        """Write down pulls that ended, each once.

        Raises:
            LedgerConflictError: other writers won every race.
        """
        now = datetime.now(UTC)
        rows = pa.Table.from_pylist(
            [self._row(one, target, run_id, now) for one in ended], schema=arrow_schema(PULL_RECORD)
        )

        def add_missing() -> None:
            self._look()
            new = rows.filter(pa.array([one.pull_id not in self._known for one in ended], pa.bool_()))
            if new.num_rows:
                append(self._table, new, {}, {"lakehouse.run-id": run_id})
                self._known |= {one.pull_id for one in ended}
                self._known_at = current_snapshot_id(self._table)

        until_won(self._table, add_missing)

    def _look(self) -> None:
        """Know the pulls that others have written down since. A load writes hundreds of times: all is read once."""
        snapshot_id = current_snapshot_id(self._table)
        if snapshot_id == self._known_at:
            return
        added = files_since(self._table, self._known_at)
        found = read_files(self._table, added, ["pull_id", "source"], equal("source", self._source))
        self._known |= set(found["pull_id"].to_pylist())
        self._known_at = snapshot_id

    def _row(self, ended: Progress, target: str, run_id: str, now: datetime) -> dict[str, object]:
        return {
            "source": self._source,
            "pull_id": ended.pull_id,
            "pull_window": ended.window,
            "target": target,
            "outcome": str(ended.state),
            "said": ended.said,
            "landed_rows": ended.rows,
            "unchanged": ended.unchanged,
            "refused": len(ended.letters),
            "repeats": ended.repeats,
            "seen": pack(ended.seen),
            "letters": "\n".join(ended.letters),
            "requests": ended.requests,
            "started_at": ended.started_at,
            "completed_at": now,
            "run_id": run_id,
        }

    def newest(self, columns: Iterable[str] = ("outcome", "completed_at")) -> dict[str, dict[str, Any]]:
        """The newest pull of each window: ``pull_id`` and the given columns."""
        self._table.refresh()
        return newest(self._read(["pull_window", "pull_id", "completed_at", *columns]))

    def seen_in(self, pull_ids: Iterable[str]) -> pa.Array:
        """Ids of all items that the pulls saw."""
        packed = self._of(pull_ids, "seen")["seen"].to_pylist()
        return pa.concat_arrays([pa.array([], pa.int64()), *(pa.array(_columns(one)[0], pa.int64()) for one in packed)])

    def evidence(self, pull_ids: Iterable[str]) -> tuple[dict[int, Sighting], dict[str, None]]:
        """What the pulls saw, as one that made no row of it would have, and their dead letters."""
        seen: dict[int, Sighting] = {}
        letters: dict[str, None] = {}
        for row in self._of(pull_ids, "seen", "letters").to_pylist():
            seen |= {item: replace(one, is_new=False) for item, one in unpack(row["seen"]).items()}
            letters |= dict.fromkeys(row["letters"].split("\n") if row["letters"] else ())
        return seen, letters

    def _of(self, pull_ids: Iterable[str], *columns: str) -> pa.Table:
        return self._table.scan(row_filter=among("pull_id", set(pull_ids)), selected_fields=columns).to_arrow()

    def _read(self, columns: Iterable[str]) -> pa.Table:
        wanted = tuple(dict.fromkeys(columns))
        return self._table.scan(row_filter=equal("source", self._source), selected_fields=wanted).to_arrow()


def newest(pulls: pa.Table) -> dict[str, dict[str, Any]]:
    """Of a table of pulls the newest of each window; one that nobody went on with says nothing of it."""
    found = {}
    for row in pulls.sort_by([("completed_at", "ascending")]).to_pylist():
        if row.get("outcome") != ABANDONED:
            found[row["pull_window"]] = row
    return found


def sighted(packed: bytes) -> pa.Table:
    """Sightings as columns: ``id`` and ``short_hash``."""
    ids, hashes, _ = _columns(packed)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "short_hash": pa.array([hashes[at : at + SHORT] for at in range(0, len(hashes), SHORT)], pa.string()),
        }
    )
