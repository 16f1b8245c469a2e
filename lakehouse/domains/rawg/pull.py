"""Pulling windows: read in parallel by threads that ask, landed by one, until each has been seen as a whole.

What is lost by paging through a list that changes is known here. A list is read from its first page to its last. As
many unchanged items as the API said there were when the reading began are all of them; fewer are read once more, and
where something changed since, the window is begun anew. What does not come to rest is left as such in the account.

After all windows of a time of release were seen, games that are held there and were not among them are asked for one by
one: gone (404), merged (another game answers), or still there, moved to another time, then its item is a version as any
other.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pyiceberg.catalog import Catalog

from lakehouse.contracts.pull import CLOSED
from lakehouse.domains.rawg.items import Game, judge, redact
from lakehouse.domains.rawg.lake import READINGS, Gone, Judged, Landed, Landing, PageRead
from lakehouse.domains.rawg.source import Answer, Client, KeyRefusedError
from lakehouse.domains.rawg.windows import REACH, Window
from lakehouse.errors import LakehouseError
from lakehouse.ledger.budget import BudgetError
from lakehouse.ledger.pulls import Progress, State

BATCH_ITEMS = 4_000
"""Items of a commit at most."""
CONTINUED_FOR = timedelta(hours=6)
"""A window that an earlier run read to its end so lately is not read again, one that it began is gone on with."""
PULLS_OF_A_WINDOW = 4
"""Times a window is begun in one run, if it changes again and again while it is read."""
SETTLE_SECONDS = 2.5
"""Longer than the API's clock is coarse: what has changed just now is older than the next pull then."""
ASKED_AT_ONCE = 500


@dataclass
class Pulled:
    """What became of the windows of a run."""

    closed: list[str] = field(default_factory=list)
    continued: list[str] = field(default_factory=list)
    """Windows that an earlier run had read to their end just before."""
    disturbed: list[str] = field(default_factory=list)
    """Windows that changed whenever they were read: what was seen is landed, their account does not close."""
    elsewhere: list[str] = field(default_factory=list)
    """Windows that another run is reading."""
    items: int = 0
    rows: int = 0
    refused: int = 0
    gone: int = 0
    requests: int = 0
    commits: int = 0


@dataclass(frozen=True)
class _Split:
    window: Window
    parts: list[Window]
    said: int
    started_at: datetime


@dataclass(frozen=True)
class _Failed:
    window: Window
    error: Exception


@dataclass
class _Root:
    """A window that was asked for, and those that it was split into."""

    window: Window
    open: set[str] = field(default_factory=set)
    pull_ids: list[str] = field(default_factory=list)
    """Pulls that saw all of them."""
    began: datetime = datetime.max.replace(tzinfo=UTC)
    """When the first of these was begun."""
    split: _Split | None = None
    is_whole: bool = True


class _Stopped(Exception):
    """The run ends: nobody waits for what this thread reads."""


def pull(
    client: Client,
    catalog: Catalog,
    windows: Sequence[Window],
    *,
    run_id: str,
    workers: int = 4,
    again: bool = False,
    raw: str | None = None,
    flush_seconds: float = 5.0,
    on_landed: Callable[[Landed, Pulled], None] = lambda landed, pulled: None,
    on_window: Callable[[int, int], None] = lambda done, known: None,
) -> Pulled:
    """Read windows and land what is new in them. May be repeated or ended at any point, and run twice at once.

    Args:
        client: Asks the API.
        catalog: Where the tables are.
        windows: What to ask for.
        run_id: For the evidence.
        workers: Threads that ask at once.
        again: Read windows, too, that an earlier run has just read to their end.
        raw: Folder or prefix for items as received; None: they are in the rows alone.
        flush_seconds: How long a page waits at most for its commit.
        on_landed: Called after each commit with what it did and with all so far.
        on_window: Called with how many windows are done, and how many there are as far as is known.

    Raises:
        LakehouseError: a window could not be read; all that was read is landed, and the next run goes on from there. Of
            a refused key or a spent budget the sort of error that says so.
    """
    landing = Landing(catalog, run_id=run_id, raw=raw)
    return _Run(client, landing, workers, again, flush_seconds, on_landed, on_window).run(windows)


class _Run:
    def __init__(
        self,
        client: Client,
        landing: Landing,
        workers: int,
        again: bool,
        flush_seconds: float,
        on_landed: Callable[[Landed, Pulled], None],
        on_window: Callable[[int, int], None],
    ) -> None:
        self._client, self._workers = client, workers
        self._on_landed, self._on_window = on_landed, on_window
        self._landing = landing
        self._again, self._flush_seconds = again, flush_seconds
        self._pulled = Pulled()
        self._read: queue.Queue[PageRead | _Split | _Failed] = queue.Queue(maxsize=4 * workers)
        self._stop = threading.Event()
        client.stopped.clear()
        self._reading = 0
        self._roots: list[_Root] = []
        self._root_of: dict[str, _Root] = {}
        self._begun: Counter[str] = Counter()
        self._began: dict[str, datetime] = {}
        """When the pull of a window was begun that is under way, or was the last one."""
        self._known = self._done = 0
        self._errors: list[Exception] = []

    def run(self, windows: Sequence[Window]) -> Pulled:
        self._under_way = self._landing.under_way()
        newest = self._landing.pulls.newest(("outcome", "completed_at", "started_at"))
        since = datetime.now(UTC) - CONTINUED_FOR
        self._fresh = {
            window: row
            for window, row in newest.items()
            if row["outcome"] == CLOSED and row["completed_at"] >= since and not self._again
        }
        with ThreadPoolExecutor(self._workers, "rawg") as self._threads:
            try:
                for window in dict.fromkeys(windows):
                    root = _Root(window)
                    self._roots.append(root)
                    self._add(window, root)
                self._work()
                self._sum_up()
                self._look_for_missing()
            finally:
                self._end_reading()
        self._landing.close()
        self._pulled.requests = self._client.requests
        if self._errors:
            # A key or a budget is the reason for all that follows.
            raise min(self._errors, key=lambda error: not isinstance(error, KeyRefusedError | BudgetError))
        return self._pulled

    def _add(self, window: Window, root: _Root) -> None:
        """Take a window in: read it, or know that it was just read."""
        name = window.name
        self._known += 1
        self._root_of[name] = root
        root.open.add(name)
        if name in self._fresh:
            self._pulled.continued.append(name)
            self._began[name] = self._fresh[name]["started_at"]
            self._end(name, self._fresh[name]["pull_id"])
            return
        progress = self._under_way.pop(name, None)
        if progress is not None and progress.started_at < datetime.now(UTC) - CONTINUED_FOR:
            self._landing.abandon(progress)
            progress = None
        if progress is not None:
            self._began[name] = progress.started_at
        self._start(window, progress)

    def _start(self, window: Window, progress: Progress | None, *, rest: float = 0) -> None:
        if self._stop.is_set():
            self._root_of[window.name].is_whole = False
            return
        if progress is None:
            self._began[window.name] = datetime.now(UTC)
        self._reading += 1
        self._threads.submit(self._follow, window, progress, rest)

    def _follow(self, window: Window, progress: Progress | None, rest: float) -> None:
        """Read a window to its end, in a thread."""
        try:
            self._stop.wait(rest)
            for read in read_window(self._client, window, progress):
                self._put(read)
        except _Stopped:
            pass
        except Exception as error:
            self._put(_Failed(window, error))

    def _put(self, message: PageRead | _Split | _Failed) -> None:
        while not self._stop.is_set():
            try:
                self._read.put(message, timeout=0.5)
            except queue.Full:
                continue
            return
        raise _Stopped

    def _work(self) -> None:
        """Land what the threads read until nothing is left."""
        batch: list[PageRead] = []
        items, since = 0, time.monotonic()
        while self._reading or batch:
            message = self._next()
            if isinstance(message, PageRead):
                batch.append(message)
                items += len(message.items)
                self._reading -= message.is_last
            elif isinstance(message, _Split):
                self._split(message)
                self._reading -= 1
            elif isinstance(message, _Failed):
                self._fail(message)
                self._reading -= 1
            is_due = items >= BATCH_ITEMS or not self._reading or time.monotonic() - since >= self._flush_seconds
            if batch and is_due:
                self._flush(batch)
                batch, items, since = [], 0, time.monotonic()

    def _next(self) -> PageRead | _Split | _Failed | None:
        """What a thread has read; None when there is nothing for now, or nobody reads any more."""
        try:
            return self._read.get(timeout=1 if not self._stop.is_set() else 0)
        except queue.Empty:
            if self._stop.is_set():
                self._reading = 0
            return None

    def _split(self, split: _Split) -> None:
        root = self._root_of[split.window.name]
        if split.window == root.window:
            root.split = split
        for part in split.parts:
            self._add(part, root)
        root.open.discard(split.window.name)
        self._known -= 1

    def _fail(self, failed: _Failed) -> None:
        self._errors.append(failed.error)
        self._root_of[failed.window.name].is_whole = False
        if isinstance(failed.error, KeyRefusedError | BudgetError) or not isinstance(failed.error, LakehouseError):
            # Nobody else would fare better. What was read is landed still.
            self._end_reading()

    def _end_reading(self) -> None:
        self._client.stopped.set()
        self._stop.set()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _flush(self, batch: list[PageRead]) -> None:
        """Land pages, and decide what becomes of the windows that were read to their end."""
        landed = self._landing.land(batch)
        self._count(landed)
        windows = {read.window.name: read.window for read in batch}
        ended = {read.window.name for read in batch if read.is_last}
        for name in landed.elsewhere:
            if name not in self._pulled.elsewhere:
                self._pulled.elsewhere.append(name)
            self._root_of[name].is_whole = False
        for name in sorted(ended - landed.elsewhere):
            progress = landed.moved[name]
            if progress.state is State.CLOSED:
                self._pulled.closed.append(name)
                self._end(name, progress.pull_id)
            elif progress.state is State.READING:
                self._start(windows[name], progress.copy())
            elif self._can_come_to_rest(progress):
                self._begun[name] += 1
                self._start(windows[name], None, rest=SETTLE_SECONDS)
            else:
                self._pulled.disturbed.append(name)
                self._root_of[name].is_whole = False

    def _can_come_to_rest(self, progress: Progress) -> bool:
        """Whether a window that was not seen as a whole is worth another pull: it changed, as far as one can tell."""
        has_changed = progress.reading < READINGS and progress.said <= REACH
        return has_changed and self._begun[progress.window] + 1 < PULLS_OF_A_WINDOW

    def _end(self, name: str, pull_id: str) -> None:
        root = self._root_of[name]
        root.open.discard(name)
        root.pull_ids.append(pull_id)
        root.began = min(root.began, self._began[name])
        self._done += 1
        self._on_window(self._done, self._known)

    def _sum_up(self) -> None:
        """Hold what the parts of windows have against what the API says of the whole."""
        for root in self._roots:
            if self._stop.is_set() or root.split is None or root.open or not root.is_whole:
                continue
            try:
                said = min(root.split.said, self._client.size(root.window))
            except LakehouseError as error:
                self._errors.append(error)
                return
            summed = self._landing.sum_up(root.window, said, root.split.started_at, root.pull_ids)
            if summed.state is not State.CLOSED:
                self._pulled.disturbed.append(root.window.name)

    def _look_for_missing(self) -> None:
        """Ask for the games that are held in windows of release, all of whose parts were seen, and were not there."""
        whole = [root for root in self._roots if root.is_whole and not root.open and root.window.updated is None]
        if self._stop.is_set() or not whole:
            return
        seen = self._landing.pulls.seen_in(pull_id for root in whole for pull_id in root.pull_ids)
        absent = self._landing.missing({root.window: root.began for root in whole}, seen)
        for start in range(0, len(absent), ASKED_AT_ONCE):
            part = absent[start : start + ASKED_AT_ONCE]
            found: dict[Window, list[Gone | PageRead]] = {}
            answers = self._threads.map(self._ask, (game for _, game in part))
            try:
                for (window, game), answer in zip(part, answers, strict=True):
                    found.setdefault(window, []).append(_became(game, answer, window))
            except LakehouseError as error:
                self._errors.append(error)
                return
            self._pulled.gone += sum(isinstance(game, Gone) for games in found.values() for game in games)
            self._count(self._landing.land_missing(found))

    def _ask(self, game: dict[str, int]) -> Answer | None:
        return self._client.game(game["game_id"])

    def _count(self, landed: Landed) -> None:
        self._pulled.items += landed.items
        self._pulled.rows += landed.rows
        self._pulled.refused += landed.refused
        self._pulled.commits += 1
        self._on_landed(landed, self._pulled)


def read_window(client: Client, window: Window, progress: Progress | None = None) -> Iterator[PageRead | _Split]:
    """Read a window's list once, from its first page or from where a pull broke off, to its end.

    Args:
        client: Asks the API.
        window: What to read.
        progress: The pull to go on with; None begins one.

    Yields:
        Pages; or, of a window with more items than the API pages through, the windows that it is to be split into.

    Raises:
        LakehouseError: no answer that can be used.
    """
    number = progress.page if progress else 1
    pull_id, reading = (progress.pull_id, progress.reading) if progress else (uuid.uuid4().hex, 1)
    said, started_at = (progress.said, progress.started_at) if progress else (0, datetime.now(UTC))
    while True:
        answer = client.page(window, number)
        page = answer.page if answer else None
        is_dated = False
        items: list[Judged] = []
        for place, item in enumerate(page.items if page else (), start=1):
            judged = Judged(place, item, judge(item))
            if window.is_undated and isinstance(judged.verdict, Game) and judged.verdict.release_date:
                is_dated = True
                break
            items.append(judged)
        if progress is None and number == 1:
            assert answer is not None
            assert page is not None
            started_at, said = answer.as_of, page.count
            if window.is_undated:
                said -= client.size(window.dated)
            # One as narrow as can be is read as far as the API goes; its account says that this is not all.
            if said > REACH and (parts := window.split()):
                yield _Split(window, parts, said, started_at)
                return
        is_last = page is None or is_dated or not page.has_next or number == REACH
        yield PageRead(
            window=window,
            pull_id=pull_id,
            said=said,
            started_at=started_at,
            reading=reading,
            number=number,
            url=answer.url if answer else "",
            fetched_at=answer.fetched_at if answer else datetime.now(UTC),
            items=items,
            is_last=is_last,
            count=page.count if page and not window.is_undated else None,
            requests=answer.requests if answer else 1,
        )
        if is_last:
            return
        number += 1


def _became(game: dict[str, object], answer: Answer | None, window: Window) -> Gone | PageRead:
    """What became of a game that its window has no more."""
    verdict = None
    if answer is not None:
        item = redact(answer.body)
        verdict = judge(item)
        if not isinstance(verdict, Game) or verdict.game_id == game["game_id"]:
            return PageRead(
                window=window,
                pull_id="",
                said=0,
                started_at=answer.as_of,
                reading=1,
                number=1,
                url=answer.url,
                fetched_at=answer.fetched_at,
                items=[Judged(1, item, verdict)],
                is_last=True,
            )
    return Gone(
        game_id=int(str(game["game_id"])),
        updated_at=game["updated_at"],  # type: ignore[arg-type]
        release_date=game["release_date"],  # type: ignore[arg-type]
        merged_into=verdict.game_id if isinstance(verdict, Game) else None,
        url=answer.url if answer else "",
        fetched_at=answer.fetched_at if answer else datetime.now(UTC),
    )
