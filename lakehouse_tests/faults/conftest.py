"""A trial for each fault, and the record of what came of it."""

from __future__ import annotations

import random
from collections.abc import Generator

import pytest

from lakehouse_tests.conftest import Feed
from lakehouse_tests.faults.declare import FAULTS, case_of
from lakehouse_tests.faults.report import Results, remember
from lakehouse_tests.faults.trial import Trial

AWAY_SECONDS = 10
OUTCOMES = pytest.StashKey[Results]()


@pytest.fixture
def trial(feed: Feed, request: pytest.FixtureRequest) -> Trial:
    """A trial in which chance decides the same every time."""
    return Trial(feed, random.Random(request.node.name), AWAY_SECONDS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what came of a fault."""
    report = yield
    name = getattr(item, "originalname", item.name)
    if name in FAULTS and report.when == "call":
        outcome = "held" if report.passed else "failed"
        item.config.stash.setdefault(OUTCOMES, {}).setdefault(name, {})[case_of(item)] = outcome
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep it for the table of the README."""
    if outcomes := session.config.stash.get(OUTCOMES, None):
        remember(outcomes)
