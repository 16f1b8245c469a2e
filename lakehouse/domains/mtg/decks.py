"""Decks in PostgreSQL: which cards a list means, what they are, and what they cost.

A name is looked for without case, accents and kinds of apostrophes: the whole name first, then that of a face. Which
price counts is a view's, `mtg.deck_card_prices`: so a list that is only valued is imported and valued like any other,
in a transaction that is taken back.
"""

from __future__ import annotations

import difflib
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa

from lakehouse.adapters.postgres.client import copy_rows, open_postgres
from lakehouse.domains.mtg.deck_list import DeckList, Line, Problem, Reading
from lakehouse.domains.mtg.schema import ensure_schema
from lakehouse.errors import LakehouseError

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

    from lakehouse.settings import Settings

SUGGESTIONS, LIKENESS = 3, 0.75
SHOWN = 8
"""Sets or numbers that a problem names."""

FIND = """
with asked as (select asked, mtg.fold(asked) as folded from unnest(%s::text[]) as asked)
select asked, true, uuid, cards.name, set_code, number, release_date from asked
join mtg.cards on folded_name = folded join mtg.sets using (set_code)
where coalesce(side, 'a') = 'a' and cards.vanished_on is null
union all
select asked, false, front.uuid, front.name, set_code, front.number, release_date from asked
join mtg.cards as face on face.folded_face_name = folded and face.vanished_on is null
join mtg.cards as front using (set_code, number) join mtg.sets using (set_code)
where front.name = face.name and coalesce(front.side, 'a') = 'a' and front.vanished_on is null
"""
NAMES = """
select name, mtg.fold(name) from mtg.cards where vanished_on is null
union select face_name, mtg.fold(face_name) from mtg.cards where face_name is not null and vanished_on is null
"""
STAGING = """
create temporary table new_deck_cards on commit drop as
select line, board, quantity, uuid, name, set_code, number, finish from mtg.deck_cards with no data
"""
TAKE_DECK = """
insert into mtg.decks (name) values (%s) on conflict (name) do update set name = excluded.name returning deck_id
"""
GONE_LINES = """
delete from mtg.deck_cards as old
where deck_id = %s and not exists (select from new_deck_cards as new where new.line = old.line)
"""
TAKE_LINES = """
insert into mtg.deck_cards as old (deck_id, line, board, quantity, uuid, name, set_code, number, finish)
select %s, line, board, quantity, uuid, name, set_code, number, finish from new_deck_cards
on conflict (deck_id, line) do update set board = excluded.board, quantity = excluded.quantity, uuid = excluded.uuid,
    name = excluded.name, set_code = excluded.set_code, number = excluded.number, finish = excluded.finish,
    updated_at = now()
where (old.board, old.quantity, old.uuid, old.name, old.set_code, old.number, old.finish) is distinct from
    (excluded.board, excluded.quantity, excluded.uuid, excluded.name, excluded.set_code, excluded.number,
    excluded.finish)
"""
PRICED = """
select composition.line, board, composition.quantity, composition.name, coalesce(prices.set_code, composition.set_code),
    coalesce(prices.number, composition.number), coalesce(prices.finish, composition.finish), provider, price_date,
    price, value
from mtg.deck_composition as composition
left join mtg.deck_card_prices as prices
    on prices.deck_id = composition.deck_id and prices.line = composition.line and prices.currency = %s
where composition.deck_id = %s
order by array_position(array['commander', 'companion', 'main', 'sideboard', 'maybeboard'], board), composition.line
"""


@dataclass(frozen=True)
class Choice:
    """The card that a line means."""

    line: Line
    uuid: str
    name: str
    set_code: str | None
    number: str | None
    finish: str | None


@dataclass(frozen=True)
class PricedLine:
    """A line of a deck with what it costs; set, number and finish are those of the print that has the price."""

    line: int
    board: str
    quantity: int
    name: str
    set_code: str | None
    number: str | None
    finish: str | None
    provider: str | None
    price_date: date | None
    price: Decimal | None
    value: Decimal | None


@dataclass(frozen=True)
class Valued:
    """What a deck is worth."""

    deck: str
    currency: str
    value: Decimal
    """Of all cards that have a price, without the maybeboard."""
    cards: int
    priced_cards: int
    lines: Sequence[PricedLine]
    problems: Sequence[Problem]


@dataclass(frozen=True)
class Deck:
    """An imported deck."""

    name: str
    cards: int
    updated_at: datetime


def import_deck(settings: Settings, name: str, deck: DeckList) -> Deck:
    """Take a list under a name; one of this name becomes what the list says.

    Raises:
        LakehouseError: PostgreSQL does not answer, a line cannot be taken (then none is), or there are no cards yet.
    """
    ensure_schema(settings)
    with open_postgres(settings, "decks") as connection, connection, connection.cursor() as cursor:
        choices, problems = _resolve(cursor, deck)
        if problems:
            told = "\n  ".join(map(str, problems))
            raise LakehouseError(f"{len(problems):,} lines cannot be taken, so nothing was imported:\n  {told}")
        _take(cursor, name, choices)
        cursor.execute("select updated_at from mtg.decks where name = %s", (name,))
        ((updated_at,),) = cursor.fetchall()
    return Deck(name, sum(choice.line.quantity for choice in choices), updated_at)


def value_deck(settings: Settings, name: str, deck: DeckList, currency: str) -> Valued:
    """What a list is worth, without keeping it; lines that cannot be taken are told, and the others valued.

    Raises:
        LakehouseError: PostgreSQL does not answer, or there are no cards yet.
    """
    ensure_schema(settings)
    with open_postgres(settings, "decks") as connection, connection.cursor() as cursor:
        choices, problems = _resolve(cursor, deck)
        # It is not committed, and the name nobody's: no deck of a user is waited for, or seen.
        return _valued(cursor, name, _take(cursor, str(uuid.uuid4()), choices), currency, problems)


def show_deck(settings: Settings, name: str, currency: str) -> Valued:
    """An imported deck with what it is worth.

    Raises:
        LakehouseError: PostgreSQL does not answer, or there is no such deck.
    """
    ensure_schema(settings)
    with open_postgres(settings, "decks") as connection, connection.cursor() as cursor:
        cursor.execute("select deck_id from mtg.decks where name = %s", (name,))
        if (found := cursor.fetchone()) is None:
            raise LakehouseError(f"there is no deck {name!r}: `lakehouse mtg deck list` shows which there are")
        return _valued(cursor, name, found[0], currency, ())


def list_decks(settings: Settings) -> list[Deck]:
    """All imported decks, by name.

    Raises:
        LakehouseError: PostgreSQL does not answer.
    """
    ensure_schema(settings)
    with open_postgres(settings, "decks") as connection, connection.cursor() as cursor:
        cursor.execute(
            "select decks.name, sum(quantity), decks.updated_at from mtg.decks join mtg.deck_cards using (deck_id) "
            "group by deck_id order by decks.name"
        )
        return [Deck(name, int(cards), updated_at) for name, cards, updated_at in cursor.fetchall()]


@dataclass(frozen=True)
class _Print:
    """A card that has a name that was asked for; of several faces the first."""

    is_whole_name: bool
    uuid: str
    name: str
    set_code: str
    number: str
    release_date: date | None

    def fits(self, reading: Reading) -> bool:
        return reading.set_code in (None, self.set_code) and (
            reading.number is None or reading.number.casefold() == self.number.casefold()
        )


def _resolve(cursor: Cursor, deck: DeckList) -> tuple[list[Choice], list[Problem]]:
    """Which cards a list means, and which of its lines mean none."""
    readings = {line: list(line.readings()) for line in deck.lines}
    cursor.execute(FIND, (list({reading.name for found in readings.values() for reading in found}),))
    prints: dict[str, list[_Print]] = defaultdict(list)
    for asked, *told in cursor.fetchall():
        prints[asked].append(_Print(*told))
    choices, problems, unknown = [], list(deck.problems), []
    for line, possible in readings.items():
        reading = next((one for one in possible if prints[one.name]), None)
        if reading is None:
            unknown.append((line, possible))
        elif isinstance(found := _choose(line, reading, prints[reading.name]), Choice):
            choices.append(found)
        else:
            problems.append(found)
    if unknown:
        problems += _unknown(cursor, unknown)
    return choices, sorted(problems, key=lambda problem: problem.line)


def _choose(line: Line, reading: Reading, prints: Sequence[_Print]) -> Choice | Problem:
    fitting = [one for one in prints if one.fits(reading)]
    if not fitting:
        in_set = sorted({one.number for one in prints if one.set_code == reading.set_code})
        if in_set:
            what = f"its number in {reading.set_code} is {_some(in_set)}, not {reading.number}"
        else:
            what = f"it is not in {reading.set_code}, but in {_some(sorted({one.set_code for one in prints}))}"
        return Problem(line.line, line.text, what)
    # A card that has the whole name comes before one of which a face has it.
    best = [one for one in fitting if one.is_whole_name] or fitting
    if len(names := sorted({one.name for one in best})) > 1:
        return Problem(line.line, line.text, "it may be any of several cards", tuple(names))
    newest = max(best, key=lambda one: (one.release_date or date.min, one.set_code, one.number, one.uuid))
    return Choice(line, newest.uuid, newest.name, reading.set_code, reading.number and newest.number, reading.finish)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")


def _unknown(cursor: Cursor, lines: Sequence[tuple[Line, list[Reading]]]) -> list[Problem]:
    """Problems of lines that name no card, with the names that are most like them."""
    cursor.execute(NAMES)
    known = {folded: name for name, folded in cursor.fetchall()}
    if not known:
        raise LakehouseError("PostgreSQL holds no cards yet: `lakehouse mtg pull --help` says how to get them")
    cursor.execute("select mtg.fold(name) from unnest(%s::text[]) as name", ([found[0].name for _, found in lines],))
    return [
        Problem(
            *(line.line, line.text, "no card has this name"),
            tuple(known[one] for one in difflib.get_close_matches(folded, known, SUGGESTIONS, LIKENESS)),
        )
        for (line, _), (folded,) in zip(lines, cursor.fetchall(), strict=True)
    ]


def _take(cursor: Cursor, name: str, choices: Sequence[Choice]) -> int:
    """Make a deck what was chosen; returns its id."""
    cursor.execute(TAKE_DECK, (name,))
    deck_id = int((cursor.fetchone() or (0,))[0])
    cursor.execute(STAGING)
    rows = {
        **{column: [getattr(one.line, column) for one in choices] for column in ("line", "board", "quantity")},
        **{column: [getattr(one, column) for one in choices] for column in ("uuid", "name")},
        **{
            column: pa.array([getattr(one, column) for one in choices], pa.string())
            for column in ("set_code", "number", "finish")
        },
    }
    copy_rows(cursor, "new_deck_cards", pa.table(rows))
    changed = 0
    for statement in (GONE_LINES, TAKE_LINES):
        cursor.execute(statement, (deck_id,))
        changed += cursor.rowcount
    if changed:
        cursor.execute("update mtg.decks set updated_at = now() where deck_id = %s", (deck_id,))
    return deck_id


def _valued(cursor: Cursor, name: str, deck_id: int, currency: str, problems: Sequence[Problem]) -> Valued:
    cursor.execute(PRICED, (currency, deck_id))
    lines = [PricedLine(*row) for row in cursor.fetchall()]
    counted = [line for line in lines if line.board != "maybeboard"]
    return Valued(
        name,
        currency,
        sum((line.value for line in counted if line.value is not None), Decimal(0)),
        sum(line.quantity for line in counted),
        sum(line.quantity for line in counted if line.value is not None),
        lines,
        problems,
    )
