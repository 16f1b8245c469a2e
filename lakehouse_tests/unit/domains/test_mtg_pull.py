"""Which files of a build are taken, from which server, and which of them are refused."""

import pytest

from lakehouse.domains.mtg.pull import Wanted, wanted


@pytest.mark.parametrize(
    ("said", "sets"),
    [("all", None), ("ALL", ("ALL",)), ("all,neo", ("ALL", "NEO")), (" neo, MH2 ,NEO", ("NEO", "MH2")), ("", ())],
)
def test_all_is_every_set_and_in_capitals_the_code_of_one(said: str, sets: tuple[str, ...] | None) -> None:
    assert wanted(said, prices=True) == Wanted(sets, prices=True)
