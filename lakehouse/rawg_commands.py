"""The commands for the games of RAWG: pull, look how the pulls are doing, and a server like RAWG's to try them on."""

import dataclasses
import uuid
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lakehouse import settings as configuration
from lakehouse.errors import LakehouseError
from lakehouse.progress import counting
from lakehouse.terminal import AsJson, console, print_json

rawg_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Video games of the RAWG API: take what is new into bronze.

    A key is free at https://rawg.io/apidocs; set it as [bold]RAWG_API_KEY[/bold]. Without one,
    [bold]lakehouse rawg serve[/bold] is a server like RAWG's.""",
)

DAY = ["%Y-%m-%d"]


@rawg_app.command("pull")
def pull_command(
    first: Annotated[
        str | None, typer.Option("--from", metavar="MONTH", help="First month of release, e.g. 2024-01, or `earlier`.")
    ] = None,
    last: Annotated[
        str | None,
        typer.Option("--to", metavar="MONTH", help="Last month, included; after all come `later`, `undated`."),
    ] = None,
    updated: Annotated[
        bool, typer.Option("--updated", help="Games that were updated since the last such run, up to yesterday.")
    ] = False,
    since: Annotated[
        datetime | None,
        typer.Option(metavar="DAY", formats=DAY, help="With --updated: from this day on instead, e.g. 2026-11-01."),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(metavar="DAY", formats=DAY, help="With --updated: to this day instead.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All games: every month of release, and games without one.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also what was read to its end within the last six hours.")
    ] = False,
) -> None:
    """Take games into bronze: by month of release, which finds deleted ones, too, or what was updated lately.

    A game that looks as it did makes no row. A run that was ended is gone on with by giving the same command again.
    Every window is accounted for: what RAWG said it has is held or among the dead letters; `lakehouse audit` proves it.

    Examples: lakehouse rawg pull --from 2024-01 --to 2024-12; lakehouse rawg pull --updated;
    lakehouse rawg pull --from undated --to undated
    """
    from lakehouse.domains.rawg.ingest import days_to_update, pull_windows
    from lakehouse.domains.rawg.windows import ROOTS, released_between

    settings = configuration.load()
    if [everything, updated, bool(first or last)].count(True) != 1 or ((since or until) and not updated):
        raise LakehouseError("which games? --from MONTH --to MONTH, or --updated (--since DAY --until DAY), or --all")
    if everything:
        windows = list(ROOTS.values())
    elif updated:
        windows = days_to_update(settings, since=since.date() if since else None, until=until.date() if until else None)
    else:
        windows = released_between(first or str(last), last or str(first))
    with counting(Console(stderr=True), "windows", len(windows)) as on_window:
        done = pull_windows(settings, windows, run_id=f"cli-{uuid.uuid4()}", again=again, on_window=on_window)
    skipped = f", {len(done.continued):,} had been read just before" if done.continued else ""
    elsewhere = f", {len(done.elsewhere):,} are being read by another run" if done.elsewhere else ""
    console.print(f"{len(done.closed):,} windows were read to their end{skipped}{elsewhere}")
    console.print(
        f"{done.items:,} games seen, {done.rows:,} new versions, {done.gone:,} games gone, {done.refused:,} refused;"
        f" {done.requests:,} requests"
    )
    if done.disturbed:
        raise LakehouseError(
            f"{len(done.disturbed):,} windows changed whenever they were read: {', '.join(done.disturbed[:5])};"
            " what was seen is landed, their account does not close. Pull them again later"
        )


@rawg_app.command("status")
def status_command(
    show_all: Annotated[bool, typer.Option("--all", help="All windows, not only the newest twenty.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the requests of this month, and how the pull of each window is doing."""
    from lakehouse.domains.rawg.ingest import status

    found = status(configuration.load())
    if as_json:
        print_json(dataclasses.asdict(found))
        return
    console.print(f"{found.used:,} of {found.limit:,} requests of {found.month} are used")
    table = Table("window", "outcome", box=box.SIMPLE_HEAD)
    for heading in ("RAWG said", "new rows", "unchanged", "refused", "requests"):
        table.add_column(heading, justify="right")
    table.add_column("ended")
    newest = sorted(found.windows, key=lambda window: window["completed_at"], reverse=True)
    for window in newest if show_all else newest[:20]:
        numbers = (f"{window[name]:,}" for name in ("said", "landed_rows", "unchanged", "refused", "requests"))
        ended = f"{window['completed_at']:%Y-%m-%d %H:%M} UTC"
        table.add_row(escape(window["pull_window"]), window["outcome"], *numbers, ended)
    console.print(table)
    if len(newest) > 20 and not show_all:
        console.print(f"… and {len(newest) - 20:,} more; --all shows them")
    for begun in found.under_way:
        console.print(
            escape(
                f"{begun['pull_window']}: {begun['seen']:,} of {begun['said']:,} seen, page {begun['page']:,} is next"
            )
        )


@rawg_app.command("serve")
def serve_command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Items as RAWG has them: recorded pages, JSON arrays, an item a line.", show_default=False),
    ] = None,
    games: Annotated[int, typer.Option(min=0, help="Games to make up beside those of the files.")] = 3_000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same games.")] = 0,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on loopback.")] = 18090,
    latency: Annotated[float, typer.Option(min=0, help="Seconds before each answer.")] = 0.0,
    failing: Annotated[float, typer.Option(min=0, max=1, help="Share of the answers that are 502.")] = 0.0,
) -> None:
    """Serve games like RAWG does, until Ctrl-C: lists, pages, filters, details; any key is taken.

    Example: lakehouse rawg serve --games 5000, and elsewhere
    LAKEHOUSE_RAWG_URL=http://127.0.0.1:18090/api RAWG_API_KEY=any lakehouse rawg pull --all
    """
    from lakehouse.domains.rawg.made import made_games
    from lakehouse.domains.rawg.server import RawgServer, Trouble, games_of_files
    from lakehouse.domains.rawg.site import Site

    site = Site([*made_games(games, seed=seed), *games_of_files(files or [])])
    server = RawgServer(site, Trouble(latency=latency, failing=failing), port)
    console.print(f"{len(site.games):,} games at {server.url}   Ctrl-C ends it")
    server.serve_forever()
