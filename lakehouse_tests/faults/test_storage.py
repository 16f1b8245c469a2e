"""The disk is full, or a table's files do not answer."""

from __future__ import annotations

import pytest

from lakehouse.naming import DEAD_LETTERS
from lakehouse_tests.failpoints import DISKS
from lakehouse_tests.faults.declare import fault
from lakehouse_tests.faults.trial import BATCH, Trial, end

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@fault(
    "No space is left for data, manifests or metadata (written to `/dev/full`)",
    expected="the run fails, what was landed stays; with space again the next run completes the batch",
    cases=list(DISKS),
)
def test_a_full_disk_fails_the_run_and_loses_nothing(trial: Trial, case: str) -> None:
    trial.send(600)
    code, output = end(trial.start("--full", case, "--batch", "2"))
    assert code == 1
    assert "No space left on device" in output
    trial.assert_landed(BATCH)
    trial.complete()
    trial.assert_whole()


@fault(
    "The table of dead letters does not answer (I/O errors on its files)",
    expected="the run fails before it lands a row of the batch; the next run completes it",
)
def test_without_the_dead_letters_no_row_is_landed(trial: Trial) -> None:
    trial.send(600)
    code, output = end(trial.start("--gone", f"/{DEAD_LETTERS.table}/", "--batch", "2"))
    assert code == 1
    assert "Input/output error" in output
    trial.assert_landed(BATCH)
    trial.complete()
    trial.assert_whole()
