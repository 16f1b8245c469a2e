"""The RAWG API as we ask it: one key, one rate for all who ask on this machine, and a budget of requests a month.

The key goes into the address of a request, for the API wants it there, and nowhere else: errors, rows and logs name
addresses without it.
"""

from __future__ import annotations

import fcntl
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote, unquote, urlencode, urlsplit

import msgspec
import requests
from requests.adapters import HTTPAdapter

from lakehouse.domains.rawg.items import BrokenPage, Page, read_page, redact
from lakehouse.domains.rawg.windows import Window
from lakehouse.errors import LakehouseError, SettingsError

if TYPE_CHECKING:
    from lakehouse.settings import Settings

PAGE_SIZE = 40
"""Items that we ask for at once: the most that the API gives."""
CONNECT_SECONDS, READ_SECONDS = 10, 60
ATTEMPTS = 8
LONGEST_WAIT = 60.0
FARTHEST = 300.0
"""Seconds that a server may ask us to wait; more is cut down to it."""
HOPS = 4
"""Games to be led to, one from the other, when asked for one that was merged."""
LARGEST_BODY = 64 * 1024**2


class KeyRefusedError(LakehouseError):
    """The API does not accept the key."""


@dataclass(frozen=True)
class Answer:
    """A page of a list, or what a game was answered with."""

    url: str
    """Without the key."""
    fetched_at: datetime
    as_of: datetime
    """By the API's clock, not after the moment at which it looked."""
    body: bytes
    page: Page | None = None
    requests: int = 1
    """Requests that it took."""


class Pace:
    """So many requests a second, evenly, by whoever on this machine asks with the same file."""

    def __init__(self, per_second: float, path: Path) -> None:
        """Begin where others are.

        Args:
            per_second: Requests.
            path: File that holds when the next one may be made; made with its folder where it is missing.
        """
        self._seconds = 1 / per_second
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = threading.Lock()

    def wait(self, sleep: Callable[[float], None]) -> None:
        """Come back when a request may be made. The next one is counted from then on, however late that is.

        Args:
            sleep: Waits for so many seconds; what it raises ends the waiting.
        """
        with self._lock:
            while (seconds := self._try()) > 0:
                sleep(seconds)

    def pause(self, seconds: float) -> None:
        """Let nobody make a request for that long."""
        with self._opened() as (file, at, now):
            self._write(file, max(at, now + seconds))

    def _try(self) -> float:
        """Take the next request, if it may be made now; else how many seconds away that is."""
        with self._opened() as (file, at, now):
            if at <= now:
                self._write(file, now + self._seconds)
            return at - now

    @contextmanager
    def _opened(self) -> Iterator[tuple[IO[str], float, float]]:
        """The file, held; when it says that the next request may be made, and the time."""
        with self._path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text, now = file.read(), time.monotonic()
            # A moment far ahead was written before the machine was started again.
            yield file, float(text) if text and float(text) < now + 2 * FARTHEST else 0.0, now

    @staticmethod
    def _write(file: IO[str], at: float) -> None:
        file.seek(0)
        file.truncate()
        file.write(repr(at))


class Client:
    """Asks for pages and games, and tries again where that can help. Any number of threads may share one."""

    def __init__(
        self,
        url: str,
        key: str,
        pace: Pace,
        *,
        spend: Callable[[], None] = lambda: None,
        backoff: float = 1.0,
        workers: int = 4,
    ) -> None:
        """Open nothing yet.

        Args:
            url: Root of the API, such as ``https://api.rawg.io/api``.
            key: The API key.
            pace: Shared by all who ask.
            spend: Called before each request; raises when there is no budget left.
            backoff: Seconds before the second attempt; they double with each.
            workers: Threads that ask at once.

        Raises:
            KeyRefusedError: there is no key.
        """
        if not key:
            raise KeyRefusedError(
                "there is no key for the RAWG API: get one at https://rawg.io/apidocs and set RAWG_API_KEY"
            )
        self._url, self._key = url.rstrip("/"), key
        self._pace, self._spend, self._backoff = pace, spend, backoff
        self._chance = random.Random()  # noqa: S311
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "lakehouse"
        adapter = HTTPAdapter(pool_maxsize=workers)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        self.requests = 0
        """Made so far."""
        self.stopped = threading.Event()
        """Set, it ends all waiting."""
        self._lock = threading.Lock()
        self._hide_key_in_logs()

    def page(self, window: Window, number: int, size: int = PAGE_SIZE) -> Answer | None:
        """A page of so many items of a window's list, from 1; None past its end.

        Raises:
            KeyRefusedError: the key is not accepted.
            LakehouseError: there is no such list, or no answer that can be used, however often it was tried.
        """
        asked = {**window.parameters, "page": str(number), "page_size": str(size)}

        def read(answer: Answer) -> Answer:
            page = read_page(answer.body)
            if not page.items and page.has_next:
                raise BrokenPage("the page is empty, but not the last one")
            return replace(answer, page=page)

        found = self._ask("games", asked, read)
        if found is None and number == 1:
            raise LakehouseError(f"there are no games at {self._url}/games (404): is rawg_url the root of the API?")
        return found

    def size(self, window: Window) -> int:
        """How many games the API says a window has now.

        Raises:
            LakehouseError: as `page` does.
        """
        if window.is_undated:
            return self.size(replace(window, is_undated=False)) - self.size(window.dated)
        answer = self.page(window, 1, size=1)
        assert answer is not None
        assert answer.page is not None
        return answer.page.count

    def game(self, name: int | str) -> Answer | None:
        """What the API answers when asked for one game by id or slug: the game, or another one; None if it is gone.

        Raises:
            KeyRefusedError: the key is not accepted.
            LakehouseError: no answer that can be used, however often it was tried.
        """

        def read(answer: Answer) -> Answer:
            if not isinstance(self._said(answer.body), dict):
                raise BrokenPage("the game is no object")
            return answer

        asked = name
        for _ in range(HOPS):
            found = self._ask(f"games/{quote(str(name), safe='')}", {}, read)
            said = self._said(found.body) if found else {}
            if "id" in said or not said.get("redirect"):
                return found
            name = str(said.get("slug"))
        raise LakehouseError(f"RAWG leads from one game to another when asked for {asked}, and to no end")

    @staticmethod
    def _said(body: bytes) -> dict[str, object]:
        try:
            said: dict[str, object] = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BrokenPage(str(error)) from None
        return said

    def _ask(self, path: str, asked: Mapping[str, str], read: Callable[[Answer], Answer]) -> Answer | None:
        """Ask until there is an answer that can be used; None when there is nothing (404)."""
        url = f"{self._url}/{path}"
        shown = redact(f"{url}?{urlencode(asked)}".rstrip("?").encode()).decode()
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(self._chance.uniform(0.5, 1) * min(LONGEST_WAIT, self._backoff * 2 ** (attempt - 1)))
            self._spend()
            self._pace.wait(self._sleep)
            with self._lock:
                self.requests += 1
            try:
                answer = self._get(url, shown, asked)
                return answer if answer is None else read(replace(answer, requests=attempt + 1))
            except _TryAgain as error:
                problem = str(error)
                if error.seconds:
                    self._pace.pause(error.seconds)
            except BrokenPage as error:
                problem = f"the answer cannot be read: {error}"
        raise LakehouseError(
            f"{shown}: no answer that can be used after {ATTEMPTS} attempts; the last time {problem}. What was read"
            " before is landed; the next run goes on from there."
        )

    def _sleep(self, seconds: float) -> None:
        if self.stopped.wait(seconds):
            raise LakehouseError("the run was ended while it waited for the API")

    def _get(self, url: str, shown: str, asked: Mapping[str, str]) -> Answer | None:
        began = time.monotonic()
        try:
            with self._session.get(
                url,
                params={**asked, "key": self._key},
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                allow_redirects=False,
                stream=True,
            ) as response:
                body = _bounded(response)
        except requests.RequestException as error:
            # The client's own messages hold the address with the key.
            raise _TryAgain(f"the connection failed ({type(error).__name__})") from None
        took = timedelta(seconds=time.monotonic() - began)
        status, headers = response.status_code, response.headers
        if status in (401, 403):
            raise KeyRefusedError(
                f"RAWG refuses the key ({status}: {self._hidden(_reason(body))}): check RAWG_API_KEY, or get a key at"
                " https://rawg.io/apidocs"
            )
        if 300 <= status < 400 and "/games/" in (target := urlsplit(headers.get("Location", "")).path):
            # Only to another game of the same API, as the API says it otherwise: the key goes nowhere else.
            body = msgspec.json.encode({"redirect": True, "slug": unquote(target.rstrip("/").rpartition("/")[2])})
            status = 200
        if status == 404:
            return None
        if status == 429 or status >= 500:
            raise _TryAgain(f"status {status}", _retry_after(headers.get("Retry-After", "")))
        if status != 200:
            raise LakehouseError(f"{shown}: status {status}: {self._hidden(_reason(body))}")
        return Answer(shown, datetime.now(UTC), _as_of(headers, took), body)

    def _hidden(self, text: str) -> str:
        return text.replace(self._key, "REDACTED")

    def _hide_key_in_logs(self) -> None:
        """At level DEBUG urllib3 logs every address that it asks for."""
        key = self._key

        def hide(record: logging.LogRecord) -> bool:
            message = record.getMessage()
            if key in message:
                record.msg, record.args = message.replace(key, "REDACTED"), ()
            return True

        logging.getLogger("urllib3.connectionpool").addFilter(hide)


class _TryAgain(Exception):
    def __init__(self, message: str, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


def client_of(settings: Settings, spend: Callable[[], None]) -> Client:
    """The client that the settings describe.

    Raises:
        SettingsError: no key is set.
    """
    try:
        return Client(
            settings.rawg_url,
            settings.rawg_api_key.get_secret_value(),
            Pace(settings.rawg_requests_per_second, settings.home / "rawg.pace"),
            spend=spend,
            workers=settings.rawg_workers,
        )
    except KeyRefusedError as error:
        raise SettingsError(str(error)) from None


def _bounded(response: requests.Response) -> bytes:
    """The body, if it is not endless."""
    parts, size = [], 0
    for part in response.iter_content(1024**2):
        parts.append(part)
        size += len(part)
        if size > LARGEST_BODY:
            raise _TryAgain(f"the answer is larger than {LARGEST_BODY // 1024**2} MB")
    return b"".join(parts)


def _reason(body: bytes) -> str:
    """What the API says is wrong."""
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return redact(body[:100]).decode(errors="replace")
    reason = (said.get("error") or said.get("detail")) if isinstance(said, dict) else None
    return redact(str(reason or said)[:200].encode()).decode()


def _retry_after(text: str) -> float:
    """Seconds that the server asks us to wait: it says them, or a time."""
    if text.isdecimal():
        return min(float(text), FARTHEST)
    try:
        return min(max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()), FARTHEST)
    except (ValueError, TypeError):
        return 0.0


def _as_of(headers: Mapping[str, str], took: timedelta) -> datetime:
    """A moment, by the server's clock, that is surely before it looked: whole seconds, like those of its games."""
    try:
        said = parsedate_to_datetime(headers.get("Date", ""))
        age = timedelta(seconds=int(headers.get("Age", "0")))
    except (ValueError, TypeError):
        said, age = datetime.now(UTC), timedelta()
    return (said - age - took - timedelta(seconds=1)).replace(microsecond=0)
