"""Landing what was read: versions that are not held yet become rows, and how far each pull has come moves with them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, BooleanExpression, IsNull, Or
from pyiceberg.table import Table

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.adapters.iceberg.filters import among, at_least, at_most, equal
from lakehouse.adapters.iceberg.history import ALL_ROWS, files_since, read_files
from lakehouse.contracts.arrow import in_schema
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.domains.rawg.api import API
from lakehouse.domains.rawg.contract import DELETED, MERGED, RAWG_GAME, SEEN
from lakehouse.domains.rawg.items import Game, Misfit
from lakehouse.domains.rawg.windows import REACH, Window
from lakehouse.ledger.commit import append, current_snapshot_id, until_won
from lakehouse.ledger.pulls import (
    NOTHING,
    SHORT,
    Progress,
    Pulls,
    Sighting,
    State,
    UnderWay,
    property_name,
)

READINGS = 8
"""Times a window is read at most until all that the API said it has was seen."""

PART_ROWS, SMALL_PARTS = 100_000, 16
"""What `Index` knows is in parts: of this size they stay, smaller ones are put together when there are more of them."""

_UTC = pa.timestamp("us", tz="UTC")
_RECENCY = ("updated_at", "fetched_at", "pull_id")
"""What makes a version of a game the current one: the greatest, null first."""
_KNOWN = ("game_id", "updated_at", "fetched_at", "content_hash")


@dataclass(frozen=True)
class Judged:
    """An item and what it is."""

    place: int
    """In its answer, from 1."""
    item: bytes
    verdict: Game | Misfit


@dataclass(frozen=True)
class PageRead:
    """A page of a window, as a pull read it."""

    window: Window
    pull_id: str
    said: int
    started_at: datetime
    reading: int
    number: int
    url: str
    fetched_at: datetime
    items: Sequence[Judged]
    is_last: bool
    count: int | None = None
    """Items that the API says the window has now; None where it does not say that."""
    requests: int = 1


@dataclass(frozen=True)
class Gone:
    """A game that the API has no more, or only as another one."""

    game_id: int
    updated_at: datetime | None
    release_date: date | None
    merged_into: int | None
    url: str
    fetched_at: datetime


@dataclass(frozen=True)
class Landed:
    """What a commit did."""

    rows: int
    refused: int
    items: int
    moved: dict[str, Progress]
    """Pulls that it moved, by window."""
    elsewhere: set[str]
    """Windows that another run reads on."""


class Index:
    """Which versions are held: of each game and ``updated`` the newest. Reads what was committed since it last looked.

    About 60 bytes a version.
    """

    def __init__(self, table: Table) -> None:
        """Read nothing yet."""
        self._table = table
        self._snapshot_id: int | None = None
        self._known: list[pa.Table] = []

    def refresh(self) -> None:
        """Read the files that others added since; the table is as it was loaded or refreshed last."""
        snapshot_id = current_snapshot_id(self._table)
        if snapshot_id == self._snapshot_id:
            return
        # Row by row nothing is ever changed, so a file says all of its rows.
        for task in files_since(self._table, self._snapshot_id):
            self._add(read_files(self._table, [task], _KNOWN))
        self._snapshot_id = snapshot_id

    def _add(self, rows: pa.Table) -> None:
        if rows.num_rows:
            self._known.append(rows.select(list(_KNOWN)))
        # Few parts are quickly filtered; parts of some size, for while they are put together they are there twice.
        small = [part for part in self._known if part.num_rows < PART_ROWS]
        if len(small) > SMALL_PARTS:
            large = [part for part in self._known if part.num_rows >= PART_ROWS]
            self._known = [*large, pa.concat_tables(small).combine_chunks()]

    def committed(self, rows: pa.Table) -> None:
        """Know rows that were committed from here: the table is as the commit left it."""
        self._add(rows)
        self._snapshot_id = current_snapshot_id(self._table)

    def newest(self, ids: Collection[int]) -> dict[tuple[int, datetime | None], str | None]:
        """By game and ``updated`` the hash of the version fetched last; None of one that was gone then."""
        wanted = pa.array(ids, pa.int64())
        found: dict[tuple[int, datetime | None], tuple[datetime, str | None]] = {}
        for known in self._known:
            here = known.filter(pc.is_in(known["game_id"], wanted))
            columns = (here[name].to_pylist() for name in _KNOWN)
            for game_id, updated, fetched, digest in zip(*columns, strict=True):
                key = game_id, updated
                if key not in found or fetched >= found[key][0]:
                    found[key] = fetched, digest
        return {key: digest for key, (_, digest) in found.items()}


class Landing:
    """Lands pages of any number of windows, from one thread."""

    def __init__(self, catalog: Catalog, *, run_id: str, raw: str | None = None) -> None:
        """Open the tables, created or evolved first.

        Args:
            catalog: Where they are.
            run_id: For the evidence.
            raw: Folder or prefix for items as received, as Parquet; None: they are in the rows alone.
        """
        self.pulls = Pulls(catalog, API.source)
        self._table = ensure_table(catalog, RAWG_GAME)
        self._letters = ensure_table(catalog, DEAD_LETTER)
        self._index, self._open = Index(self._table), UnderWay(API.source)
        self._run_id, self._raw = run_id, raw
        self._written: dict[str, str] = {}
        """Pulls that are written down, and may be a property still, by window."""

    def under_way(self) -> dict[str, Progress]:
        """Pulls that an earlier run has begun, by window. Those that had ended already are written down first."""
        self._table.refresh()
        found = self._open.read(self._table.properties)
        self._finish(found.values())
        return {window: progress for window, progress in found.items() if progress.state is State.READING}

    def land(self, reads: Sequence[PageRead]) -> Landed:
        """Land pages in the order in which they were read.

        A page that does not go on from where the table says the pull is belongs to a run that another one overtook.

        Raises:
            LedgerConflictError: other writers won every race.
        """
        self._keep(reads)
        landed = until_won(self._table, lambda: self._land(reads))
        self._finish(landed.moved.values())
        # Arrow keeps what is freed; what the next commit needs is of another size.
        pa.default_memory_pool().release_unused()
        return landed

    def land_missing(self, found: Mapping[Window, Sequence[Gone | PageRead]]) -> Landed:
        """Land what became of games that windows have no more: each was asked for alone.

        Args:
            found: By the window that they were in those that are no more, and answers with a game of the same id.

        Raises:
            LedgerConflictError: other writers won every race.
        """
        now = datetime.now(UTC)
        opened = [
            Progress(uuid.uuid4().hex, f"missing from {window.name}", len(games), now, requests=len(games))
            for window, games in found.items()
        ]
        self._keep(
            [
                replace(game, pull_id=progress.pull_id)
                for progress, games in zip(opened, found.values(), strict=True)
                for game in games
                if isinstance(game, PageRead)
            ]
        )

        def attempt() -> Landed:
            self._index.refresh()
            rows, letters = _Rows(), _Letters(self._run_id, now)
            moved = {progress.window: progress.copy() for progress in opened}
            games = [game for part in found.values() for game in part]
            answers = [game for game in games if isinstance(game, PageRead)]
            ids = [judged.verdict.game_id for judged in _games(answers)]
            known = self._index.newest(ids + [game.game_id for game in games if isinstance(game, Gone)])
            for progress, part in zip(moved.values(), found.values(), strict=True):
                for game in part:
                    if isinstance(game, PageRead):
                        self._take(game.items[0], game, progress, known, rows, letters, page=None)
                        continue
                    # Another run may have found out in between.
                    is_new = known.get((game.game_id, game.updated_at), "") is not None
                    progress.seen[game.game_id] = Sighting(NOTHING, is_new)
                    if is_new:
                        progress.rows += 1
                        rows.add_gone(game, progress.window, progress.pull_id)
                progress.state = State.CLOSED
            return self._commit(rows, letters, moved, now, len(games))

        landed = until_won(self._table, attempt)
        self._finish(landed.moved.values())
        return landed

    def missing(self, windows: Mapping[Window, datetime], seen: pa.Array) -> list[tuple[Window, dict[str, Any]]]:
        """Games that are held in windows of release and are not among those that these have.

        Args:
            windows: Of release, or undated, and when the first pull of each began; none overlaps another. What was
                read since then is not missing: it may have come into the window behind the page that was read.
            seen: Ids of the games that they have.

        Returns:
            Of each game its window, and ``game_id``, ``updated_at`` and ``release_date`` of its current version.
        """
        self._table.refresh()
        absent = pc.unique(pa.concat_arrays([pa.array([], pa.int64()), *self._absent(windows, seen)]))
        if not len(absent):
            return []
        current = current_versions(self._table, ("release_date", "change"), among("game_id", absent.to_pylist()))
        return [
            (window, {name: version[name] for name in ("game_id", "updated_at", "release_date")})
            for version in current.to_pylist()
            for window, began in windows.items()
            if version["change"] == SEEN and version["fetched_at"] < began
            if _is_within(version["release_date"], window)
        ]

    def _absent(self, windows: Iterable[Window], seen: pa.Array) -> Iterable[pa.Array]:
        """Ids of games with a version in one of the windows that are not among those seen."""
        days = [day for window in windows for day in window.released or ()]
        within: BooleanExpression = IsNull("release_date")  # type: ignore[call-arg,arg-type]
        if days:
            dated = And(at_least("release_date", min(days).isoformat()), at_most("release_date", max(days).isoformat()))
            within = Or(within, dated) if any(window.is_undated for window in windows) else dated
        columns = ("game_id", "release_date")
        for held in self._table.scan(row_filter=within, selected_fields=columns).to_arrow_batch_reader():
            # Each time the hash table is one of the few: one of all that were seen would take more than all else here.
            present = seen.filter(pc.is_in(seen, held["game_id"]))
            absent = held.filter(pc.invert(pc.is_in(held["game_id"], present)))
            days_of = pc.unique(absent["release_date"])
            wanted = [day for day in days_of.to_pylist() if any(_is_within(day, window) for window in windows)]
            yield absent.filter(pc.is_in(absent["release_date"], pa.array(wanted, pa.date32())))["game_id"]

    def sum_up(self, window: Window, said: int, started_at: datetime, pull_ids: Collection[str]) -> Progress:
        """Write down a window that was split, by what the pulls of its parts have seen; it closes as others do.

        Args:
            window: That was asked for.
            said: Items that the API said it has; of what it said before and after, the fewer.
            started_at: When it was asked for first.
            pull_ids: Pulls that saw its parts.
        """
        summed = Progress(uuid.uuid4().hex, window.name, said, started_at)
        summed.seen, summed.letters = self.pulls.evidence(pull_ids)
        found = len(summed.seen) + len(summed.letters)
        summed.state = State.CLOSED if found >= said else State.DISTURBED
        # Its parts were asked for one after the other: what came meanwhile is among them.
        summed.said = max(said, found)
        self._finish([summed])
        return summed

    def abandon(self, progress: Progress) -> None:
        """End a pull that nobody goes on with. What a run that does all the same reads of it lands no more.

        Raises:
            LedgerConflictError: other writers won every race.
        """

        def attempt() -> Progress | None:
            left = self._open.read(self._table.properties).get(progress.window)
            if left is None or left.pull_id != progress.pull_id or left.state is not State.READING:
                return None
            left = replace(left, state=State.ABANDONED)
            no_rows = _Rows().table(datetime.now(UTC))
            append(self._table, no_rows, self._open.tell([left]), {"lakehouse.run-id": self._run_id})
            return left

        if left := until_won(self._table, attempt):
            self._finish([left])

    def close(self) -> None:
        """Remove what the table's properties say of pulls that were written down."""

        def forget() -> None:
            if left := self._removable():
                append(self._table, _Rows().table(datetime.now(UTC)), {}, {}, remove=left)

        if self._written:
            until_won(self._table, forget)
            self._written = {}

    def _removable(self, *, but: Collection[str] = ()) -> list[str]:
        """Properties of pulls that were written down, but for some windows."""
        found = self._open.read(self._table.properties)
        return [
            property_name(API.source, window)
            for window, pull_id in self._written.items()
            if window not in but and window in found and found[window].pull_id == pull_id
        ]

    def _land(self, reads: Sequence[PageRead]) -> Landed:
        self._index.refresh()
        now = datetime.now(UTC)
        before = self._open.read(self._table.properties)
        moved: dict[str, Progress] = {}
        elsewhere: set[str] = set()
        rows, letters = _Rows(), _Letters(self._run_id, now)
        known = self._index.newest([judged.verdict.game_id for judged in _games(reads)])
        for read in reads:
            name = read.window.name
            known_as = moved.get(name) or (before[name].copy() if name in before else None)
            progress = _continued(known_as, read)
            if progress is not None and known_as is not None and known_as.state is not State.READING:
                # Another run's, which was ended before it wrote this down: its property goes with this commit.
                self._finish([known_as])
            if progress is None or name in elsewhere:
                elsewhere.add(name)
                continue
            moved[name] = progress
            progress.page = read.number + 1
            progress.requests += read.requests
            for judged in read.items:
                self._take(judged, read, progress, known, rows, letters, page=read.number)
            if read.is_last:
                _end_reading(progress, read.count)
        items = sum(len(read.items) for read in reads)
        landed = self._commit(rows, letters, moved, now, items)
        return Landed(landed.rows, landed.refused, landed.items, moved, elsewhere)

    def _take(
        self,
        judged: Judged,
        read: PageRead,
        progress: Progress,
        known: dict[tuple[int, datetime | None], str | None],
        rows: _Rows,
        letters: _Letters,
        *,
        page: int | None,
    ) -> None:
        """Make an item a row or a letter, or know it again."""
        if isinstance(judged.verdict, Misfit):
            letter_id = _letter_id(judged)
            # What is there twice, word for word, is one item that came on two pages: it counts once.
            if letter_id not in progress.letters and _is_seen(progress, judged.verdict.game_id):
                progress.has_moved = True
            progress.letters[letter_id] = None
            letters.add(letter_id, judged, read)
            return
        game = judged.verdict
        if (game.updated_at is not None and game.updated_at >= progress.started_at) or (
            progress.letters and _is_refused(progress, game.game_id)
        ):
            progress.has_moved = True
        short = game.content_hash[:SHORT]
        before = progress.seen.get(game.game_id)
        is_new = known.get((game.game_id, game.updated_at)) != game.content_hash
        if is_new:
            known[game.game_id, game.updated_at] = game.content_hash
            progress.rows += 1
            rows.add(judged.item, game, read, progress, page)
        elif before is not None and before.short_hash == short:
            is_new = before.is_new
        progress.seen[game.game_id] = Sighting(short, is_new)

    def _commit(self, rows: _Rows, letters: _Letters, moved: dict[str, Progress], now: datetime, items: int) -> Landed:
        refused = self._refuse(letters)
        table = rows.table(now)
        remove = self._removable(but=moved)
        properties = self._open.tell(moved.values())
        before = {name for name in properties if name in self._table.properties}
        # A pull that begins and ends here, and found everything as it is held, is written down and nothing else.
        is_noted = bool(table.num_rows) or any(
            progress.state is State.READING or name in before
            for name, progress in zip(properties, moved.values(), strict=True)
        )
        if is_noted:
            append(self._table, table, properties, {"lakehouse.run-id": self._run_id}, remove=remove)
            self._index.committed(table)
        return Landed(table.num_rows, refused, items, moved, set())

    def _refuse(self, letters: _Letters) -> int:
        """Add the letters that are not there yet; how many there are in all. They are known by their content."""
        table = letters.table()
        if not table.num_rows:
            return 0

        ids = among("dead_letter_id", table["dead_letter_id"].to_pylist())
        wanted = And(equal("source", API.source), ids)

        def add_missing() -> None:
            self._letters.refresh()
            known = self._letters.scan(row_filter=wanted, selected_fields=("dead_letter_id",)).to_arrow()
            there = known["dead_letter_id"].cast(pa.string()).combine_chunks()
            new = table.filter(pc.invert(pc.is_in(table["dead_letter_id"], there)))
            if new.num_rows:
                append(self._letters, new, {}, {"lakehouse.run-id": self._run_id})

        until_won(self._letters, add_missing)
        return int(table.num_rows)

    def _finish(self, moved: Iterable[Progress]) -> None:
        """Write down the pulls that ended."""
        ended = [progress for progress in moved if progress.state is not State.READING]
        if ended:
            self.pulls.write_down(ended, str(RAWG_GAME.table), self._run_id)
            self._written |= {progress.window: progress.pull_id for progress in ended}

    def _keep(self, reads: Sequence[PageRead]) -> None:
        """Keep items as received as a Parquet object, where that is wanted; landed again, it has the same name."""
        if not (self._raw and reads):
            return
        first, last = reads[0], reads[-1]
        rows = [(read, judged) for read in reads for judged in read.items]
        table = pa.table(
            {
                "pull_window": [read.window.name for read, _ in rows],
                "pull_id": [read.pull_id for read, _ in rows],
                "page": pa.array([read.number for read, _ in rows], pa.int32()),
                "place": pa.array([judged.place for _, judged in rows], pa.int32()),
                "source_url": [read.url for read, _ in rows],
                "fetched_at": pa.array([read.fetched_at for read, _ in rows], _UTC),
                "item": pa.array([judged.item for _, judged in rows], pa.binary()),
            }
        )
        name = "-".join(f"{one.pull_id}-{one.reading}-{one.number}" for one in (first, last)) + ".parquet"
        place = f"{self._raw}/{API.source}/{first.fetched_at:%Y-%m-%d}/{name}"
        with self._table.io.new_output(place).create(overwrite=True) as file:
            pq.write_table(table, file, compression="zstd")


class _Rows:
    """Rows of the table of games."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []

    def add(self, item: bytes, game: Game, read: PageRead, progress: Progress, page: int | None) -> None:
        self._add(
            game_id=game.game_id,
            updated_at=game.updated_at,
            release_date=game.release_date,
            change=SEEN,
            merged_into=None,
            content_hash=game.content_hash,
            raw_payload=item,
            pull_window=progress.window,
            pull_id=progress.pull_id,
            page=page,
            source_url=read.url,
            fetched_at=read.fetched_at,
        )

    def add_gone(self, gone: Gone, window: str, pull_id: str) -> None:
        self._add(
            game_id=gone.game_id,
            updated_at=gone.updated_at,
            release_date=gone.release_date,
            change=DELETED if gone.merged_into is None else MERGED,
            merged_into=gone.merged_into,
            content_hash=None,
            raw_payload=None,
            pull_window=window,
            pull_id=pull_id,
            page=None,
            source_url=gone.url,
            fetched_at=gone.fetched_at,
        )

    def _add(self, **values: Any) -> None:
        self._rows.append(values)

    def table(self, now: datetime) -> pa.Table:
        """The rows in the table's schema."""
        count = len(self._rows)
        return in_schema(RAWG_GAME, {**_columns(self._rows), "ingested_at": [now] * count}, count)


class _Letters:
    """Letters for refused items, one an item's content."""

    def __init__(self, run_id: str, now: datetime) -> None:
        self._run_id, self._now = run_id, now
        self._rows: dict[str, dict[str, Any]] = {}

    def add(self, letter_id: str, judged: Judged, read: PageRead) -> None:
        assert isinstance(judged.verdict, Misfit)
        self._rows[letter_id] = {
            "dead_letter_id": letter_id,
            "source": API.source,
            "contract": RAWG_GAME.fingerprint,
            "error_type": judged.verdict.error_type,
            "error_message": judged.verdict.message,
            "original_payload": judged.item,
            "failed_at": self._now,
            "run_id": self._run_id,
            "source_url": f"{read.url}#{judged.place}",
        }

    def table(self) -> pa.Table:
        """The letters in the table's schema."""
        rows = list(self._rows.values())
        return in_schema(DEAD_LETTER, _columns(rows), len(rows))


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Of rows with the same names."""
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def _letter_id(judged: Judged) -> str:
    """By the game, where the item names one, and the item's bytes."""
    assert isinstance(judged.verdict, Misfit)
    game_id = judged.verdict.game_id
    return f"{API.source}:item:{'' if game_id is None else game_id}:{hashlib.sha256(judged.item).hexdigest()[:32]}"


def _is_seen(progress: Progress, game_id: int | None) -> bool:
    """Whether a pull has seen a game, good or refused, as something else: then it changed meanwhile."""
    return game_id is not None and (game_id in progress.seen or _is_refused(progress, game_id))


def _is_refused(progress: Progress, game_id: int) -> bool:
    return any(letter.startswith(f"{API.source}:item:{game_id}:") for letter in progress.letters)


def _games(reads: Iterable[PageRead]) -> Iterable[Any]:
    return (judged for read in reads for judged in read.items if isinstance(judged.verdict, Game))


def _continued(progress: Progress | None, read: PageRead) -> Progress | None:
    """The pull that a page goes on with or begins; None when another run has overtaken this one."""
    if progress is not None and (progress.pull_id, progress.state) == (read.pull_id, State.READING):
        return progress if (progress.reading, progress.page) == (read.reading, read.number) else None
    begins = read.number == 1 and read.reading == 1
    if not begins or (progress is not None and progress.state is State.READING):
        return None
    return Progress(read.pull_id, read.window.name, read.said, read.started_at)


def _end_reading(progress: Progress, count: int | None) -> None:
    """Decide at a list's end: all was seen, it is read once more, or it changed too much meanwhile."""
    has_changed = progress.has_moved or (count is not None and count != progress.said)
    if progress.is_complete:
        progress.state = State.CLOSED
    elif has_changed or progress.reading == READINGS or progress.said > REACH:
        progress.state = State.DISTURBED
    else:
        progress.reading, progress.page = progress.reading + 1, 1


def current_versions(table: Table, columns: Sequence[str], wanted: BooleanExpression = ALL_ROWS) -> pa.Table:
    """The current version of each game, by id; the dbt model of silver says the same.

    Args:
        table: Of games.
        columns: That are wanted beside ``game_id`` and those that say which version is the current one.
        wanted: Filter of versions; must keep all of a game, or none.
    """
    names = tuple(dict.fromkeys(("game_id", *_RECENCY, *columns)))
    versions = table.scan(row_filter=wanted, selected_fields=names).to_arrow()
    least = pa.scalar(datetime.min.replace(tzinfo=UTC), _UTC)
    filled = versions.set_column(
        versions.column_names.index("updated_at"), "updated_at", pc.fill_null(versions["updated_at"], least)
    )
    order = pc.sort_indices(filled, sort_keys=[(name, "ascending") for name in ("game_id", *_RECENCY)])
    versions = versions.take(order)
    ids = versions["game_id"].combine_chunks()
    is_last = pa.concat_arrays([pc.not_equal(ids[:-1], ids[1:]), pa.array([True] * min(1, len(ids)), pa.bool_())])
    return versions.filter(is_last)


def _is_within(day: date | None, window: Window) -> bool:
    if window.released is None or day is None:
        return day is None and window.is_undated
    return window.released[0] <= day <= window.released[1]
