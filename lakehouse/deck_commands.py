"""The commands for decks of Magic cards, thin over `domains/mtg`."""

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lakehouse import settings as configuration
from lakehouse.errors import LakehouseError
from lakehouse.terminal import AsJson, console, print_json

if TYPE_CHECKING:
    from lakehouse.domains.mtg.deck_list import DeckList
    from lakehouse.domains.mtg.decks import Valued

deck_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Decks of Magic cards: import a deck list, see what it is worth.

    A list has one card a line: [bold]4 Lightning Bolt[/bold]. It may name the print, [bold](M11) 149[/bold] behind the
    name, and the finish, [bold]*F*[/bold] for foil, [bold]*E*[/bold] for etched. [bold]Sideboard[/bold],
    [bold]Commander[/bold], [bold]Companion[/bold] or [bold]Maybeboard[/bold] on a line of its own begins that board.
    Lines that begin with // or # are comments.""",
)


class Currency(StrEnum):
    """What shops on paper ask in."""

    USD = "USD"
    EUR = "EUR"


ListFile = Annotated[Path, typer.Argument(metavar="FILE", help="The deck list, a text file.")]
InCurrency = Annotated[Currency, typer.Option(case_sensitive=False, help="Of the prices; nothing is converted.")]


@deck_app.command("import")
def import_deck(
    path: ListFile,
    name: Annotated[
        str | None, typer.Option(help="Name of the deck; unset: the one in the list, or that of the file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Keep a deck list in PostgreSQL; importing it again under its name makes the deck what the list says now.

    A line that names no card, or may be several, is told with its number, and then nothing is imported.

    Example: lakehouse mtg deck import burn.txt --name "Burn"
    """
    from lakehouse.domains.mtg.decks import import_deck

    deck = _read(path)
    done = import_deck(configuration.load(), _named(path, deck, name), deck)
    if as_json:
        print_json(dataclasses.asdict(done))
        return
    console.print(escape(f"{done.name}: {done.cards:,} cards"), soft_wrap=True)


@deck_app.command("value")
def value(path: ListFile, currency: InCurrency = Currency.USD, as_json: AsJson = False) -> None:
    """Say what the cards of a deck list cost, without keeping it.

    Each card has the lowest of the newest retail prices on paper, whoever asks it, of the prints that its line allows:
    any, or those of the set, or the one that the line names. Foil and etched prices count where the line says so, or
    where no such print has a normal price. The maybeboard is shown, but not counted. Exit code 1 where a line names no
    card; the other lines are valued all the same.

    Example: lakehouse mtg deck value burn.txt --currency EUR
    """
    from lakehouse.domains.mtg.decks import value_deck

    deck = _read(path)
    found = value_deck(configuration.load(), _named(path, deck, None), deck, currency)
    _tell(found, as_json)
    raise typer.Exit(1 if found.problems else 0)


@deck_app.command("list")
def list_decks(as_json: AsJson = False) -> None:
    """Show the decks that were imported."""
    from lakehouse.domains.mtg.decks import list_decks

    decks = list_decks(configuration.load())
    if as_json:
        print_json([dataclasses.asdict(deck) for deck in decks])
        return
    table = Table("deck", "cards", "changed", box=box.SIMPLE_HEAD)
    for deck in decks:
        table.add_row(escape(deck.name), f"{deck.cards:,}", f"{deck.updated_at:%Y-%m-%d %H:%M} UTC")
    console.print(table if decks else "No decks yet: `lakehouse mtg deck import FILE` takes one.")


@deck_app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of the deck.")],
    currency: InCurrency = Currency.USD,
    as_json: AsJson = False,
) -> None:
    """Show an imported deck, and what it is worth by today's prices; `value` says which prices count.

    Example: lakehouse mtg deck show Burn --currency EUR
    """
    from lakehouse.domains.mtg.decks import show_deck

    _tell(show_deck(configuration.load(), name, currency), as_json)


def _read(path: Path) -> "DeckList":
    from lakehouse.domains.mtg.deck_list import MOST_BYTES, read_deck

    try:
        with path.open("rb") as file:
            return read_deck(file.read(MOST_BYTES + 1))
    except LakehouseError as error:
        raise LakehouseError(f"{path}: {error}") from None


def _named(path: Path, deck: "DeckList", name: str | None) -> str:
    chosen = (name or "").strip() or deck.name or path.stem
    if not chosen.isprintable():
        raise LakehouseError(
            f"{chosen!r} cannot be the name of a deck: it holds what cannot be printed; give another, --name"
        )
    return chosen


def _tell(found: "Valued", as_json: bool) -> None:
    if as_json:
        print_json(dataclasses.asdict(found))
        return
    table = Table("", "card", "print", "finish", "provider", box=box.SIMPLE_HEAD, title=escape(found.deck))
    for heading in ("price", found.currency):
        table.add_column(heading, justify="right")
    board = None
    for line in found.lines:
        if line.board != board:
            board = line.board
            table.add_section()
            table.add_row("", f"[bold]{board}[/bold]")
        which = " ".join(part for part in (line.set_code, line.number) if part)
        amounts = ("–", "–") if line.price is None else (f"{line.price:,}", f"{line.value:,}")
        told = (str(line.quantity), line.name, which, line.finish or "", line.provider or "")
        table.add_row(*map(escape, told), *amounts)
    console.print(table)
    of = "" if found.priced_cards == found.cards else f" of {found.priced_cards:,} of them; the others have no price"
    console.print(f"{found.cards:,} cards, [bold]{found.value:,} {found.currency}[/bold]{of}")
    if found.problems:
        said = Console(stderr=True, soft_wrap=True)
        said.print(f"[red]{len(found.problems):,} lines cannot be taken, and are not in this value:[/red]")
        for problem in found.problems:
            said.print(escape(f"  {problem}"))
