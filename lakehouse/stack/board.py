"""One line a server while they start: moving on a terminal, one plain line each elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Board:
    """Shows what every server is waiting for."""

    def __init__(self, console: Console, titles: Iterable[str]) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description:<10}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks = {title: self._progress.add_task(title, total=1, text="") for title in titles}

    def __enter__(self) -> Board:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, title: str, text: str) -> None:
        """What the server is doing."""
        self._progress.update(self._tasks[title], text=f"[dim]{escape(text)}[/]")

    def done(self, title: str, text: str) -> None:
        """The server answers."""
        self._progress.update(self._tasks[title], completed=1, text=escape(text))
        if not self._console.is_terminal:
            self._console.print(f"{title}: {text}", markup=False, highlight=False, soft_wrap=True)
