"""Faults in an order and at moments that chance decides, for as long as one likes: ``./lake test -m soak``.

`SOAK_MINUTES` says how long (10), `SOAK_SEED` repeats what another soak did.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator

import pytest

from lakehouse_tests.conftest import Stack, new_feed
from lakehouse_tests.faults.report import Round, declared, save_soak
from lakehouse_tests.faults.trial import Trial

MINUTES = float(os.environ.get("SOAK_MINUTES", "10"))
SEED = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(2**32))
AWAY_SECONDS = (30, 120)


@pytest.mark.soak
@pytest.mark.timeout(MINUTES * 60 + 1_800)
def test_faults_in_any_order_lose_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every fault once before any comes again; what fails is written down, and the rest goes on."""
    began = time.monotonic()
    rounds = []
    for name, case, chance in shuffled(random.Random(SEED)):
        trial = Trial(new_feed(stack, monkeypatch), chance, chance.uniform(*AWAY_SECONDS))
        done = run(name, case, trial)
        rounds.append(done)
        with capsys.disabled():
            sys.stdout.write(f"{len(rounds)}: {done.fault}{f': {case}' if case else ''}: {done.failure or 'held'}\n")
        if time.monotonic() - began > MINUTES * 60:
            break
    save_soak(SEED, (time.monotonic() - began) / 60, rounds)
    assert [done for done in rounds if done.failure] == []


def shuffled(chance: random.Random) -> Iterator[tuple[str, str, random.Random]]:
    """Names of faults without end, one of their cases, and what decides the rest."""
    names = [name for name, fault in declared().items() if fault.fixture == "trial"]
    while True:
        for name in chance.sample(names, len(names)):
            yield name, chance.choice(declared()[name].cases), random.Random(chance.random())


def run(name: str, case: str, trial: Trial) -> Round:
    """One fault, and why it did not hold, if it did not."""
    fault = declared()[name]
    failure = None
    try:
        fault.run(trial, case)
    except Exception as error:
        failure = f"{type(error).__name__}: {str(error)[:500]}"
    return Round(fault.what, case, len(trial.sent), failure)
