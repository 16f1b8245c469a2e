"""Progress bars for long work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)


@contextmanager
def counting(console: Console, title: str, total: int | None) -> Iterator[Callable[..., None]]:
    """A bar over things; yields a function that takes how many are done, and of how many if that was not known."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done, total=total: progress.update(task, completed=done, total=total)


@contextmanager
def landing(console: Console, path: Path) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """A bar over a file's bytes while it is looked at, then the number of its records that were landed.

    Yields:
        Functions that take the bytes, and the records, that are done.
    """
    size = path.stat().st_size if path.is_file() else 0
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"Looking at {path.name}", total=size)

        def on_records(records: int) -> None:
            progress.update(task, description=f"{path.name}: {records:,} records landed")

        yield lambda read: progress.update(task, completed=read), on_records
