"""MTGJSON's files: fetched with checksums, kept as received, read as streams.

A build's files are kept in a folder of its day. A file is there whole, with the checksum that the server said, or not
at all: what is under way has another name, which holds the checksum, so that only the same file is gone on with.
"""

from __future__ import annotations

import bz2
import fcntl
import gzip
import hashlib
import lzma
import random
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

import ijson
import msgspec
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from lakehouse.domains.mtg.contract import BUILD_AHEAD
from lakehouse.errors import LakehouseError

USER_AGENT = "lakehouse (MTGJSON client; one build a day)"
AT_ONCE = 4
"""Files that are fetched at once."""
ATTEMPTS = 6
"""Times that a file is tried before the run gives up; and times that a refused request is made again."""
BACKOFF_SECONDS = 0.5
"""Wait after the first failure; each further one doubles it, up to `LONGEST_SECONDS`, give or take a half."""
LONGEST_SECONDS = 60
LONGEST_RETRY_AFTER = 300
"""No server is waited for longer than this, whatever it asks for."""
TIMEOUT = (15.0, 60.0)
"""Seconds to connect, and between two pieces of data."""
BLOCK = 64 * 1024
SMALL = 1024 * 1024
"""Bytes that `Meta.json` and a checksum have at most."""

ALL_PRINTINGS, ALL_PRICES, PRICES_TODAY, SET_LIST = "AllPrintings", "AllPrices", "AllPricesToday", "SetList"
PRICE_FILES = (ALL_PRICES, PRICES_TODAY)
_RESERVED = frozenset({"CON", "PRN", "AUX", "NUL"})
_CODE = re.compile(r"[A-Z0-9]{1,10}")
_GOOD = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_ENDINGS = (".json.gz", ".json.xz", ".json.bz2", ".json")
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}

OnBytes = Callable[[int, int], None]
"""Told how many bytes have come, and how many more are known to be on their way."""


class FileChangedError(LakehouseError):
    """A file is of another build than the one that is taken: a new one has been published meanwhile."""


class UnreadableFileError(LakehouseError):
    """A file is what its checksum says, and all the same cannot be read."""


@dataclass(frozen=True)
class Build:
    """One of MTGJSON's daily builds."""

    date: date
    version: str


@dataclass(frozen=True)
class Kept:
    """A file of a build, whole and as received."""

    name: str
    """Without its ending."""
    path: Path
    url: str
    sha256: str
    """What it was when it was received."""
    fetched_at: datetime

    def digest(self) -> str:
        """SHA-256 of the file as it is now."""
        return _sha256(self.path)


class _Broken(Exception):
    """A file did not come as it should have; trying again may help."""


def file_of_set(code: str) -> str:
    """Name of a set's file without its ending; upstream avoids names that Windows does not allow.

    Raises:
        LakehouseError: it is no set's code.
    """
    if not _CODE.fullmatch(code):
        raise LakehouseError(f"{code!r} is no code of a set; codes are like NEO or MH2")
    return f"{code}_" if code in _RESERVED else code


class MtgJson:
    """A client of one server, and the folder with what was fetched from it."""

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        ending: str = ".json.gz",
        timeout: tuple[float, float] = TIMEOUT,
        backoff: float = BACKOFF_SECONDS,
    ) -> None:
        """Get ready; nothing is asked yet.

        Args:
            url: Root of the files, with a slash at its end.
            folder: Where builds are kept, a folder each.
            ending: Which of a file's variants to fetch: `.json` or compressed.
            timeout: Seconds to connect, and between two pieces of data.
            backoff: Seconds after the first failure.
        """
        self.url, self._folder, self._ending, self._timeout, self._backoff = url, folder, ending, timeout, backoff
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        retries = Retry(
            ATTEMPTS,
            status_forcelist=(429, 500, 502, 503, 504),
            backoff_factor=backoff,
            backoff_jitter=backoff,
            backoff_max=LONGEST_SECONDS,
            retry_after_max=LONGEST_RETRY_AFTER,
        )
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retries, pool_maxsize=AT_ONCE))

    def newest(self) -> Build:
        """The build that the server has now.

        Raises:
            LakehouseError: it does not answer, or not with a build.
        """
        try:
            told = msgspec.json.decode(self._small("Meta.json"))["data"]
            build = Build(date.fromisoformat(told["date"]), str(told["version"]))
        except (ValueError, KeyError, TypeError, _Broken) as error:
            raise LakehouseError(f"{self.url}Meta.json does not say what build there is: {error!r}") from None
        if build.date > datetime.now(UTC).date() + timedelta(days=BUILD_AHEAD):
            raise LakehouseError(f"{self.url}Meta.json tells of a build of a day that has not come: {build.date}")
        return build

    def fetch(self, names: Sequence[str], build: Build, on_bytes: OnBytes = lambda come, expected: None) -> list[Kept]:
        """Files of a build, a few at a time; those that are kept already are not asked for.

        Args:
            names: Which, without their endings.
            build: The build that they must be of.
            on_bytes: Told of what comes.

        Raises:
            FileChangedError: the server has another build by now.
            LakehouseError: a file is not there, or did not come whole and right after many attempts.
        """
        with self._alone(build), ThreadPoolExecutor(AT_ONCE, "mtgjson") as pool:
            futures = [pool.submit(self._fetch, name, build, on_bytes) for name in names]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    @contextmanager
    def _alone(self, build: Build) -> Iterator[None]:
        """Wait until no other client fetches into the build's folder: two would write to the same parts."""
        folder = self._folder / build.date.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def kept(self, build_date: date) -> dict[str, Kept]:
        """The files of a build that are kept, by name."""
        folder = self._folder / build_date.isoformat()
        found = {}
        for path in sorted(folder.glob("*.sha256")):
            file = path.with_suffix("")
            name, _, _ = file.name.partition(".")
            if file.is_file() and file.name.removeprefix(name) in _ENDINGS:
                found[name] = self._as_kept(name, file, path.read_text().strip())
        return found

    def verify(self, files: Iterable[Kept]) -> None:
        """Make sure that kept files are still what was received.

        Raises:
            LakehouseError: naming the first that is not; it is given up, so that it would be fetched again.
        """
        for file in files:
            if file.digest() != file.sha256:
                self.refuse(file)
                raise LakehouseError(f"{file.path} is no longer what was received (SHA-256); it was removed")

    def refuse(self, kept: Kept) -> None:
        """Give a file up, so that it is fetched again."""
        kept.path.with_name(f"{kept.path.name}.sha256").unlink(missing_ok=True)
        kept.path.unlink(missing_ok=True)

    def _as_kept(self, name: str, path: Path, digest: str) -> Kept:
        fetched = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return Kept(name, path, f"{self.url}{path.name}", digest, fetched)

    def _fetch(self, name: str, build: Build, on_bytes: OnBytes) -> Kept:
        target = self._folder / build.date.isoformat() / f"{name}{self._ending}"
        saying = target.with_name(f"{target.name}.sha256")
        if target.exists() and saying.exists():
            kept = self._as_kept(name, target, saying.read_text().strip())
            if read_meta(kept) in (None, build):
                return kept
            self.refuse(kept)  # of the same day, but of an earlier build
        for attempt in range(ATTEMPTS):
            if attempt:
                wait = min(self._backoff * 2 ** (attempt - 1), LONGEST_SECONDS)
                time.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311
            try:
                digest = self._digest(target.name)
                part = self._receive(target, digest, on_bytes)
                break
            except _Broken as error:
                problem = error
        else:
            raise LakehouseError(
                f"{self.url}{target.name} did not come whole and right in {ATTEMPTS} attempts; at last {problem}"
                ". Nothing of it was taken; what was there stays. Try again later"
            )
        kept = self._as_kept(name, part, digest)
        try:
            told = read_meta(kept)
        except UnreadableFileError:
            part.unlink()
            raise
        if told is not None and told != build:
            part.unlink()
            raise FileChangedError(f"{target.name} is of build {told.version}, not {build.version}")
        saying.write_text(f"{digest}\n")
        part.replace(target)
        return self._as_kept(name, target, digest)

    @contextmanager
    def _answer(self, name: str, headers: Mapping[str, str] | None = None) -> Iterator[requests.Response]:
        """The answer to a request for a file, after as many attempts as it took to get one.

        Raises:
            _Broken: it broke off while it was read.
            LakehouseError: there is none.
        """
        url = f"{self.url}{name}"
        try:
            answer = self._session.get(url, headers=headers, timeout=self._timeout, stream=True)
        except requests.exceptions.RetryError:
            raise LakehouseError(f"{url}: the server said {ATTEMPTS} times that it is busy. Try again later") from None
        except (requests.ConnectionError, requests.Timeout) as error:
            raise LakehouseError(f"{url} does not answer (setting mtgjson_url): {error}") from None
        with answer:
            if answer.status_code not in _GOOD:
                raise LakehouseError(f"{url}: the server answers {answer.status_code} {answer.reason}")
            try:
                yield answer
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                raise _Broken(f"the connection broke off: {error}") from error

    def _small(self, name: str) -> bytes:
        """A small file as a whole."""
        with self._answer(name) as answer:
            return bytes(answer.raw.read(SMALL))

    def _digest(self, name: str) -> str:
        said = self._small(f"{name}.sha256").decode(errors="replace").split()
        if not said or not _DIGEST.fullmatch(said[0]):
            raise _Broken(f"{name}.sha256 holds no checksum")
        return said[0].lower()

    def _receive(self, target: Path, digest: str, on_bytes: OnBytes) -> Path:
        """Receive what is missing of a file; whole and right, or not at all.

        Raises:
            _Broken: it is not what the checksum says, or broke off.
        """
        part = target.with_name(f".{target.name}.{digest}.part")
        for other in target.parent.glob(f".{target.name}.*.part"):
            if other != part:
                other.unlink()
        with part.open("ab") as file:
            have = file.tell()
            headers = {"Range": f"bytes={have}-"} if have else None
            with self._answer(target.name, headers) as answer:
                # Of a part that is complete nothing is left to send: the checksum decides.
                if answer.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    if answer.status_code != HTTPStatus.PARTIAL_CONTENT:
                        file.truncate(0)
                    on_bytes(0, int(answer.headers.get("Content-Length", 0)))
                    for block in answer.iter_content(BLOCK):
                        file.write(block)
                        on_bytes(len(block), 0)
        if _sha256(part) != digest:
            part.unlink()
            raise _Broken("it was not what its checksum says")
        return part


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_meta(kept: Kept) -> Build | None:
    """The build that a file says it is of; None where it does not say.

    Raises:
        UnreadableFileError: it is no JSON.
    """
    told: dict[str, str] = {}
    with _opened(kept) as file:
        for prefix, _, value in ijson.parse(file):
            if prefix == "data":
                break
            if prefix in ("meta.date", "meta.version"):
                told[prefix] = str(value)
    try:
        return Build(date.fromisoformat(told["meta.date"]), told["meta.version"])
    except (KeyError, ValueError):
        return None


def read_sets(kept: Kept) -> Iterator[tuple[str, dict[str, Any]]]:
    """Code and object of each set in a file, one after the other: of `AllPrintings` or of a set's own file.

    Raises:
        UnreadableFileError: it is no JSON, ends too soon, or holds no set, or something that is none: what it does not
            say would be taken for gone.
    """
    has_any = False
    with _opened(kept) as file:
        if kept.name == ALL_PRINTINGS:
            found = ijson.kvitems(file, "data", use_float=True)
        else:
            found = ((_member(told, "code"), told) for told in ijson.items(file, "data", use_float=True))
        for code, told in found:
            if not isinstance(code, str) or not isinstance(told, dict):
                raise UnreadableFileError(
                    f"{kept.url} is what its checksum says, but something in it is no set: {code}"
                )
            has_any = True
            yield code, told
    if not has_any:
        raise UnreadableFileError(f"{kept.url} is what its checksum says, but holds no set")


def read_prices(kept: Kept) -> Iterator[tuple[str, Any]]:
    """Uuid and object of each card in a file of prices; numbers are exact.

    Raises:
        UnreadableFileError: it is no JSON, or ends too soon.
    """
    with _opened(kept) as file:
        yield from ijson.kvitems(file, "data")


def read_set_list(kept: Kept) -> dict[str, Any]:
    """What `SetList` says of each set, by code.

    Raises:
        UnreadableFileError: it is no JSON, ends too soon, or lists none.
    """
    with _opened(kept) as file:
        listed = {
            str(told["code"]): told
            for told in ijson.items(file, "data.item")
            if isinstance(told, dict) and "code" in told
        }
    if not listed:
        raise UnreadableFileError(f"{kept.url} is what its checksum says, but lists no set")
    return listed


def _member(told: Any, name: str) -> Any:
    return told.get(name) if isinstance(told, dict) else None


@contextmanager
def _opened(kept: Kept) -> Iterator[IO[bytes]]:
    suffix = next((s for s in _OPENERS if f".json{s}" in kept.path.name), "")
    try:
        with _OPENERS.get(suffix, Path.open)(kept.path, "rb") as file:
            yield file
    except (ijson.JSONError, EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, UnicodeDecodeError) as error:
        raise UnreadableFileError(f"{kept.url} is what its checksum says, but cannot be read: {error}") from None
