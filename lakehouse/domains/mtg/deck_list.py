"""Deck lists as people and programs write them: one card a line.

A line is a number and a name, ``4 Lightning Bolt`` or ``4x Lightning Bolt``; without a number it is one card. It may
name the print, ``(M11) 149`` or ``(M11)`` behind the name, ``[M11:149]`` or ``[M11]`` on either side of it, and the
finish, ``*F*`` for foil, ``*E*`` for etched. ``Sideboard`` and the like on a line of their own, also as a comment,
begin another board; ``SB:`` before a line puts this one there. Comments begin with ``//`` or ``#``; empty lines say
nothing. A remark after `` -`` belongs to the name only where there is such a card.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lakehouse.errors import LakehouseError

MOST_BYTES, MOST_LINES, MOST_COPIES, MOST_DIGITS = 1_048_576, 10_000, 1_000_000, 100
MAIN, SIDEBOARD = "main", "sideboard"
BOARDS = {
    **dict.fromkeys(("deck", "main", "maindeck", "main deck", "mainboard"), MAIN),
    **dict.fromkeys(("sideboard", "side board", "side"), SIDEBOARD),
    **dict.fromkeys(("commander", "commanders"), "commander"),
    **dict.fromkeys(("companion", "companions"), "companion"),
    **dict.fromkeys(("maybeboard", "considering"), "maybeboard"),
}
"""Lines that begin a board, in lower case."""
FINISHES = {"f": "foil", "foil": "foil", "e": "etched", "etched": "etched"}

_COMMENT = re.compile(r"\s*(?://|#)\s*")
_HEADING = re.compile(r"(.+?)\s*(?:\(\d+\))?\s*:?")
_LINE = re.compile(r"(?P<side>SB:\s*)?(?:(?P<quantity>\d+)[xX]?\s+)?(?P<card>\S.*)", re.IGNORECASE)
_FINISH = re.compile(r"(?P<name>.+?)\s*\*(?P<finish>F|E|foil|etched)\*", re.IGNORECASE)
_SET = r"(?P<set>[A-Za-z0-9_]{2,8})"
_NUMBER = r"(?P<number>[^\s()\[\]]+)"
_PRINTS = (
    re.compile(rf"(?P<name>.+?)\s+[(\[]{_SET}[)\]](?:\s+{_NUMBER})?"),
    re.compile(rf"(?P<name>.+?)\s+[(\[]{_SET}[:#]{_NUMBER}[)\]]"),
    re.compile(rf"\[{_SET}(?:[:#]{_NUMBER})?\]\s*(?P<name>.+)"),
)
_REMARK = re.compile(r"(?P<name>.+?)\s+-.*")
_SLASHES = re.compile(r"\s*//?\s*")


@dataclass(frozen=True)
class Reading:
    """What a line may mean."""

    name: str
    set_code: str | None = None
    number: str | None = None
    finish: str | None = None


@dataclass(frozen=True)
class Line:
    """A card of a list."""

    line: int
    """Counted from 1."""
    board: str
    quantity: int
    text: str
    """The card as the list says it."""

    def readings(self) -> Iterator[Reading]:
        """What it may mean; the first that names a card holds."""
        text, finish = self.text, None
        if found := _FINISH.fullmatch(text):
            text, finish = found["name"], FINISHES[found["finish"].lower()]
        for name in dict.fromkeys((text, *_without_remark(text))):
            for pattern in _PRINTS:
                if found := pattern.fullmatch(name):
                    print_ = (found["set"].upper(), found["number"], finish)
                    yield from (Reading(each, *print_) for each in _spellings(found["name"]))
            yield from (Reading(each, finish=finish) for each in _spellings(name))


@dataclass(frozen=True)
class Problem:
    """Why a line cannot be taken."""

    line: int
    text: str
    what: str
    suggestions: tuple[str, ...] = ()

    def __str__(self) -> str:
        asked = f"; did you mean {' or '.join(self.suggestions)}?" if self.suggestions else ""
        return f"line {self.line}: {self.text}: {self.what}{asked}"


@dataclass(frozen=True)
class DeckList:
    """A list that was read."""

    name: str | None
    """What it calls itself."""
    lines: tuple[Line, ...]
    problems: tuple[Problem, ...]


def read_deck(content: bytes) -> DeckList:
    """Read a list.

    Raises:
        LakehouseError: it is no text, too long, or holds no card.
    """
    name, board, lines, problems = None, MAIN, [], []
    is_about = False
    for number, text in enumerate(_text(content).splitlines(), start=1):
        # A run of spaces means one; the patterns would try each of them with each other.
        if not (text := " ".join(text.split())):
            continue
        comment = _COMMENT.match(text)
        said = text[comment.end() :] if comment else text
        if (heading := _heading(said)) in BOARDS:
            board, is_about = BOARDS[heading], False
        elif heading == "about":
            is_about = True
        elif is_about and heading.startswith("name "):
            name = said[len("name ") :].strip()
        elif not comment:
            found = _LINE.fullmatch(text)
            digits = (found and found["quantity"]) or "1"
            copies = int(digits) if len(digits) < MOST_DIGITS else 0
            if found is None or not 0 < copies <= MOST_COPIES:
                problems.append(Problem(number, text, f"a line holds 1 to {MOST_COPIES:,} copies of a card"))
            else:
                lines.append(Line(number, SIDEBOARD if found["side"] else board, copies, found["card"]))
    if not lines and not problems:
        raise LakehouseError("there is no card in the list: a line of one is, for example, `4 Lightning Bolt`")
    return DeckList(name, tuple(lines), tuple(problems))


def _text(content: bytes) -> str:
    if len(content) > MOST_BYTES:
        raise LakehouseError(f"a deck list has at most {MOST_BYTES:,} bytes")
    is_wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise LakehouseError("the deck list is no text in UTF-8: save it as such") from None
    if "\0" in text:
        raise LakehouseError("the deck list is no text: it holds a character U+0000")
    if text.count("\n") >= MOST_LINES:
        raise LakehouseError(f"a deck list has at most {MOST_LINES:,} lines")
    return text


def _heading(text: str) -> str:
    """Text as a heading: without the number of its cards and a colon."""
    found = _HEADING.fullmatch(text)
    return found[1].lower() if found else ""


def _without_remark(text: str) -> Iterator[str]:
    if found := _REMARK.fullmatch(text):
        yield found["name"]


def _spellings(name: str) -> Iterator[str]:
    """A name, and how MTGJSON writes it where it is one of two halves: ``Fire/Ice``."""
    yield name
    if "/" in name and (spelled := _SLASHES.sub(" // ", name)) != name:
        yield spelled
