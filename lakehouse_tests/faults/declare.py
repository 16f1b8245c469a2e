"""Every fault that is tested is declared once, where it is tested: what happens, and what must come of it.

The table of the README is made of these declarations and of what the last run of the tests found.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

Test = Callable[..., None]


@dataclass(frozen=True)
class Fault:
    """A fault, and the test that brings it about."""

    what: str
    expected: str
    cases: tuple[str, ...]
    """In which of its forms it is tried; one without a name when it has one form only."""
    test: Test

    @property
    def fixture(self) -> str:
        """Name of what it strikes: the fixture that the test takes."""
        return next(iter(inspect.signature(self.test).parameters))

    def run(self, trial: object, case: str) -> None:
        """Bring it about, and judge."""
        self.test(trial, *([case] if case else []))


FAULTS: dict[str, Fault] = {}
"""By the name of the test."""


def fault(
    what: str, *, expected: str, cases: Sequence[str] = ("",), in_soak: Sequence[str] = ()
) -> Callable[[Test], Test]:
    """Declare what a test brings about. The test takes what it strikes, and where there are cases, a ``case``.

    Args:
        what: The fault.
        expected: What must come of it.
        cases: In which of its forms it is tried.
        in_soak: Forms that are tried in the soak only, which has more time.
    """

    def declare(test: Test) -> Test:
        FAULTS[test.__name__] = Fault(what, expected, tuple(cases), test)
        later = (pytest.param(case, marks=pytest.mark.soak) for case in in_soak)
        return pytest.mark.parametrize("case", [*cases, *later])(test) if any(cases) else test

    return declare


def case_of(item: Any) -> str:
    """The case that a test item of a fault tries."""
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get("case", "")) if callspec else ""
