"""Downloads that show progress, resume where they stopped and are refused when the checksum is wrong."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import requests
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from lakehouse.errors import StackError

AT_ONCE = 4
ATTEMPTS = 6
BLOCK = 256 * 1024
TIMEOUT = (15, 60)
"""Seconds to connect, and between two pieces of data."""


@dataclass(frozen=True)
class Download:
    """One file to fetch from the first address that has it."""

    urls: tuple[str, ...]
    target: Path
    sha256: str


class _Interrupted(Exception):
    """The connection failed half-way; trying again may help."""


def download_all(downloads: Sequence[Download], console: Console) -> None:
    """Fetch all files, a few at a time.

    Raises:
        StackError: when a file cannot be fetched or is not the expected one.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with (
        Progress(*columns, TimeRemainingColumn(), console=console) as progress,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        total = progress.add_task(f"downloading {len(downloads)} files", total=None)
        known_bytes = 0

        def expect(size: int) -> None:
            nonlocal known_bytes
            known_bytes += size
            progress.update(total, total=known_bytes)

        futures = [
            pool.submit(download, item, expect, lambda size: progress.advance(total, size)) for item in downloads
        ]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def download(item: Download, expect: Callable[[int], None], received: Callable[[int], None]) -> None:
    """Fetch one file, going on where an earlier attempt stopped.

    Args:
        item: What to fetch.
        expect: Told once how many bytes there are to come.
        received: Told how many bytes have arrived.

    Raises:
        StackError: when it cannot be fetched or is not the expected file.
    """
    item.target.parent.mkdir(parents=True, exist_ok=True)
    part = item.target.with_name(item.target.name + ".part")
    with part.open("ab") as file:
        # Another stack of this user may be fetching the same file: wait for it, then use what it fetched.
        fcntl.flock(file, fcntl.LOCK_EX)
        if not part.exists():
            if item.target.exists():
                return
            raise StackError(f"{item.target.name}: another run just refused this file; run the command again")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _continue(item, file, expect if attempt == 1 else _ignore, received)
                break
            except (requests.ConnectionError, requests.Timeout, _Interrupted) as error:
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    raise StackError(
                        f"{item.target.name}: the server's certificate is not trusted. Behind a proxy that inspects "
                        "traffic, set REQUESTS_CA_BUNDLE to the file with its certificate"
                    ) from error
                if attempt == ATTEMPTS:
                    raise StackError(
                        f"{item.target.name}: download failed {ATTEMPTS} times, last with: {error}. What has arrived "
                        "is kept; run the command again to go on"
                    ) from error
                time.sleep(min(2 ** (attempt - 1) / 2, 10))
        digest = _sha256(part)
        if digest != item.sha256:
            part.unlink()
            raise StackError(
                f"{item.target.name}: wrong checksum, the file was refused and deleted (expected {item.sha256[:12]}…, "
                f"got {digest[:12]}…). Try again; if that does not help, the repository serves another file"
            )
        part.replace(item.target)


def _continue(item: Download, file: BinaryIO, expect: Callable[[int], None], received: Callable[[int], None]) -> None:
    """Ask for what is missing and append it."""
    refused: list[str] = []
    for url in item.urls:
        have = file.seek(0, os.SEEK_END)
        headers = (
            {"Range": f"bytes={have}-", "Accept-Encoding": "identity"} if have else {"Accept-Encoding": "identity"}
        )
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code in (429, 500, 502, 503, 504):
                raise _Interrupted(f"{url} answered {response.status_code}")
            if response.status_code == 416:
                # Nothing is left to send (or the rest is of another file): the checksum decides.
                return
            if response.status_code not in (200, 206):
                refused.append(f"{url} answered {response.status_code}")
                continue
            if response.status_code == 200 and have:
                file.truncate(0)
                have = 0
            length = int(response.headers.get("Content-Length", 0))
            expect(have + length)
            received(have)
            _append(response, file, received)
            if length and file.seek(0, os.SEEK_END) != have + length:
                raise _Interrupted("the connection was closed early")
            return
    raise StackError(f"{item.target.name} cannot be fetched: {'; '.join(refused)}. Check the repositories in jgo.conf")


def _append(response: requests.Response, file: BinaryIO, received: Callable[[int], None]) -> None:
    try:
        for block in response.iter_content(BLOCK):
            file.write(block)
            received(len(block))
    except requests.RequestException as error:
        raise _Interrupted(str(error)) from error
    finally:
        file.flush()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ignore(size: int) -> None:
    """A repeated attempt is not to be counted again."""
