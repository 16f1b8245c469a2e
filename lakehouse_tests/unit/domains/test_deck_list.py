"""Deck lists in the ways in which people and programs write them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.domains.mtg.deck_list import MOST_BYTES, MOST_LINES, Reading, read_deck
from lakehouse.errors import LakehouseError


def first_reading(text: str) -> Reading:
    (line,) = read_deck(text.encode()).lines
    return next(line.readings())


@pytest.mark.parametrize(
    ("text", "quantity", "reading"),
    [
        ("4 Lightning Bolt", 4, Reading("Lightning Bolt")),
        ("4x Lightning Bolt", 4, Reading("Lightning Bolt")),
        ("4X  Lightning Bolt  ", 4, Reading("Lightning Bolt")),
        ("Lightning Bolt", 1, Reading("Lightning Bolt")),
        ("1 Lightning Bolt (M11) 149", 1, Reading("Lightning Bolt", "M11", "149")),
        ("1 Lightning Bolt (m11)", 1, Reading("Lightning Bolt", "M11")),
        ("1 Lightning Bolt [M11]", 1, Reading("Lightning Bolt", "M11")),
        ("1 Lightning Bolt [M11:149]", 1, Reading("Lightning Bolt", "M11", "149")),
        ("1 [M11:149] Lightning Bolt", 1, Reading("Lightning Bolt", "M11", "149")),
        ("1 [M11] Lightning Bolt", 1, Reading("Lightning Bolt", "M11")),
        ("1 Brazen Borrower (ELD) 39★ *F*", 1, Reading("Brazen Borrower", "ELD", "39★", "foil")),
        ("2 Sol Ring *E*", 2, Reading("Sol Ring", finish="etched")),
        ("1 Fire // Ice", 1, Reading("Fire // Ice")),
        ("1 1996 World Champion", 1, Reading("1996 World Champion")),
        ("1 +2 Mace", 1, Reading("+2 Mace")),
    ],
)
def test_a_line_is_a_number_a_name_and_what_it_says_of_the_print(text: str, quantity: int, reading: Reading) -> None:
    (line,) = read_deck(text.encode()).lines
    assert (line.quantity, next(line.readings())) == (quantity, reading)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1 Fire/Ice", Reading("Fire // Ice")),
        ("1 Hazmat Suit (Used)", Reading("Hazmat Suit (Used)")),
        ("1 Sol Ring - from the box", Reading("Sol Ring")),
        ("1 Blind Obedience -ok", Reading("Blind Obedience")),
    ],
)
def test_what_may_be_meant_otherwise_is_among_the_readings(text: str, meant: Reading) -> None:
    (line,) = read_deck(text.encode()).lines
    assert meant in line.readings()


@pytest.mark.timeout(10)
@pytest.mark.parametrize("ending", ["x", "(60)x", "*F*x", "[M11", "-x", "/x"])
def test_a_long_run_of_spaces_costs_no_more_than_other_text(ending: str) -> None:
    deck = read_deck(b"4 Lightning" + b" " * 500_000 + b"Bolt" + b" " * 500_000 + ending.encode())
    (line,) = deck.lines
    assert Reading(f"Lightning Bolt {ending}") in line.readings()


def test_a_number_of_copies_of_any_length_is_a_problem_and_no_failure() -> None:
    (problem,) = read_deck(b"9" * 5_000 + b" Lightning Bolt").problems
    assert problem.line == 1


def test_boards_comments_and_the_name_are_those_of_the_list() -> None:
    deck = read_deck(
        b"\xef\xbb\xbfAbout\r\nName Burn\r\n\r\nCommander (1)\r\n1 A\r\nDeck:\r\n1 B\r\n# of all\r\n// Sideboard\r\n"
        b"1 C\r\nMaybeboard\r\n1 D\r\nSB: 2 E\r\nCompanion\r\nF\r\n"
    )
    assert deck.name == "Burn"
    assert [(one.line, one.board, one.quantity, one.text) for one in deck.lines] == [
        (5, "commander", 1, "A"),
        (7, "main", 1, "B"),
        (10, "sideboard", 1, "C"),
        (12, "maybeboard", 1, "D"),
        (13, "sideboard", 2, "E"),
        (15, "companion", 1, "F"),
    ]


@pytest.mark.parametrize("text", ["0 Forest", "1000001 Forest", f"{10**30} Forest"])
def test_a_number_of_copies_that_cannot_be_is_told_with_its_line(text: str) -> None:
    (problem,) = read_deck(f"\n{text}".encode()).problems
    assert (problem.line, problem.text) == (2, text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no card"),
        (b"// nothing\n\n", "no card"),
        (b"1 Lim-D\xfbl's Vault", "UTF-8"),
        (b"1 A\0B", "U\\+0000"),
        (b"1 A\n" * MOST_LINES, "lines"),
        (b"1 " + b"A" * MOST_BYTES, "bytes"),
    ],
)
def test_what_is_no_list_is_refused_with_the_reason(content: bytes, said: str) -> None:
    with pytest.raises(LakehouseError, match=said):
        read_deck(content)


def test_a_list_may_be_in_utf_16() -> None:
    assert first_reading("1 x").name == "x"
    (line,) = read_deck("1 Jötun Grunt".encode("utf-16")).lines
    assert line.text == "Jötun Grunt"


WORDS = st.text("abcefgxûö',", min_size=2, max_size=8).map(str.capitalize)
NAMES = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)
PRINTS = st.tuples(st.text("ABCD129", min_size=3, max_size=5), st.text("0123★†a", min_size=1, max_size=4))
CARDS = st.tuples(st.integers(1, 99), NAMES, st.none() | PRINTS, st.sampled_from([None, "foil", "etched"]))


@settings(deadline=None)
@given(cards=st.lists(CARDS, min_size=1), end=st.sampled_from(["\n", "\r\n"]), mark=st.sampled_from(["", "\ufeff"]))
def test_what_was_written_is_read(
    cards: list[tuple[int, str, tuple[str, str] | None, str | None]], end: str, mark: str
) -> None:
    texts = [
        f"{count} {name}"
        + (f" ({print_[0]}) {print_[1]}" if print_ else "")
        + {None: "", "foil": " *F*", "etched": " *E*"}[finish]
        for count, name, print_, finish in cards
    ]
    deck = read_deck((mark + end.join(texts)).encode())
    assert deck.problems == ()
    assert [(line.quantity, next(line.readings())) for line in deck.lines] == [
        (count, Reading(name, print_ and print_[0], print_ and print_[1], finish))
        for count, name, print_, finish in cards
    ]


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_content_is_read_or_refused_and_no_card_is_dropped(content: bytes) -> None:
    try:
        deck = read_deck(content)
    except LakehouseError:
        return
    numbers = [line.line for line in deck.lines] + [problem.line for problem in deck.problems]
    assert len(set(numbers)) == len(numbers) > 0
    for line in deck.lines:
        assert all(reading.name for reading in line.readings())
