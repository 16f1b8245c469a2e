"""The commands for Magic cards, thin over `domains/mtg`."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich import filesize
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lakehouse import settings as configuration
from lakehouse.deck_commands import deck_app
from lakehouse.errors import LakehouseError
from lakehouse.terminal import console

if TYPE_CHECKING:
    from lakehouse.domains.mtg.pull import Progress as Told
    from lakehouse.domains.mtg.pull import Pulled

mtg_app = typer.Typer(
    no_args_is_help=True,
    help="Cards of Magic: The Gathering, their prices, and decks.",
    rich_markup_mode="rich",
)
mtg_app.add_typer(deck_app, name="deck")


@mtg_app.command("pull")
def pull_build(
    sets: Annotated[
        str | None, typer.Option(metavar="CODES", help="Codes of sets with commas between, e.g. NEO,MH2.")
    ] = None,
    all_sets: Annotated[bool, typer.Option("--all", help="All sets: one file of more than 100 MB.")] = False,
    prices: Annotated[
        bool,
        typer.Option(
            "--prices", help="Prices: of today; at first, or after days that were missed, of the last 90 days."
        ),
    ] = False,
) -> None:
    """Take MTGJSON's newest build: download it, send what is new to Kafka, and land it in bronze.

    The job mtg_daily, every night at 3 (UTC), does all of this and makes silver and gold. What was taken of a build is
    not downloaded again. The files are kept in raw/mtg, a folder a build; `lakehouse backfill mtg` takes builds again
    from there. Repeating it after it was ended is harmless.

    Examples: lakehouse mtg pull --sets NEO,MH2 --prices; lakehouse mtg pull --all --prices
    """
    from lakehouse.adapters.iceberg.catalog import connect
    from lakehouse.domains.mtg.pull import pull, wanted

    if sets and all_sets:
        raise LakehouseError("--sets names some sets, --all takes all: give one of them")
    if not (sets or all_sets or prices):
        raise LakehouseError("say what to take: --sets NEO,MH2, or --all, and --prices for prices")
    what = wanted("all" if all_sets else sets or "", prices=prices)
    settings = configuration.load()
    with showing_pull(console) as told:
        pulled = pull(settings, connect(settings), what, run_id=f"pull-{uuid.uuid4()}", progress=told)
    print_pulled(console, pulled)


@contextmanager
def showing_pull(console: Console) -> Iterator["Told"]:
    """Bars over what is downloaded and sent, and the set that is read.

    Yields:
        What a pull tells its progress to.
    """
    from lakehouse.domains.mtg.pull import Progress as Told

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        downloading = bar.add_task("Downloading", total=None, said="")
        reading = bar.add_task("Reading", total=None, said="")
        sending = {}
        read = received = expected = 0

        def on_bytes(come: int, more: int) -> None:
            nonlocal received, expected
            received, expected = received + come, expected + more
            said = f"{filesize.decimal(received)}/{filesize.decimal(expected)}"
            bar.update(downloading, completed=received, total=expected, said=said)

        def on_parsed(code: str) -> None:
            nonlocal read
            read += 1
            if code or read % 1000 == 0:
                bar.update(reading, said=f"{read:,} {code}")

        def on_sent(topic: str, sent: int, total: int) -> None:
            if topic not in sending:
                sending[topic] = bar.add_task(f"Sending to {topic}", total=total, said="")
            bar.update(sending[topic], completed=sent, said=f"{sent:,}/{total:,}")

        yield Told(on_bytes, on_parsed, on_sent)


def print_pulled(console: Console, pulled: "Pulled") -> None:
    """What came of a pull, in a line or some."""
    if not pulled.parts:
        console.print(f"Build {pulled.build.version}: nothing new, all of this was taken before")
        return
    console.print(f"Build {pulled.build.version}: {len(pulled.parts):,} parts were read")
    for topic, sent in pulled.sent.items():
        again = f", {sent.said_again:,} said again of later builds" if sent.said_again else ""
        console.print(f"  {topic}: {sent.changed:,} new or changed, {sent.gone:,} gone{again}")
