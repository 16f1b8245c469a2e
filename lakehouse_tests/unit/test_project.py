"""What holds for the project as a whole."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lakehouse.adapters.dbt.project import DBT_PROJECT, ensure_manifest
from lakehouse.generate import generated_files
from lakehouse.settings import PROJECT
from lakehouse_tests.faults.report import declared, parts, render, results

BIN = Path(sys.executable).parent


GATES = {
    "ruff": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
    "imports": ["lint-imports", "--no-cache"],
    "sqlfluff": ["sqlfluff", "lint", "--disable-progress-bar", "dbt_project/models"],
}


@pytest.fixture(scope="module")
def gates() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """All gates, begun at once: the slow ones share the time they take."""
    with ExitStack() as ends:
        begun = {
            name: ends.enter_context(
                subprocess.Popen(
                    [str(BIN / command[0]), *command[1:]],
                    cwd=PROJECT,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
            for name, command in GATES.items()
        }
        yield begun
        for process in begun.values():
            process.kill()


@pytest.mark.parametrize("name", GATES)
def test_quality_gate(gates: dict[str, subprocess.Popen[str]], name: str) -> None:
    said, _ = gates[name].communicate()
    assert gates[name].returncode == 0, said[-5000:]


def test_generated_files_are_what_the_contracts_say() -> None:
    for path, text in generated_files().items():
        assert path.read_text() == text, f"{path.name} is stale: run `python -m lakehouse.generate`"


def test_the_table_of_faults_says_what_is_declared_and_what_the_last_run_found() -> None:
    found, faults = results(), declared()
    assert {name: tuple(cases) for name, cases in found.items()} == {name: f.cases for name, f in faults.items()}
    assert parts()[1] == render(found), "README.md is stale: run `python -m lakehouse_tests.faults.report`"


def test_dbt_parses_the_project_without_a_server() -> None:
    assert ensure_manifest().is_relative_to(DBT_PROJECT)


def test_lock_files_hold_no_address() -> None:
    for path in (*PROJECT.rglob("*.lock"), *PROJECT.rglob("package-lock.json")):
        if ".venv" not in path.parts:
            assert not re.search(r"https?://|--index-url", path.read_text()), path.name


def test_every_locked_package_has_a_hash() -> None:
    for packages in map(locked, ("requirements.lock", "requirements-dev.lock")):
        assert packages
        assert all(line.endswith("\\") for line in packages)


def test_the_tests_run_with_the_packages_that_users_get() -> None:
    assert set(locked("requirements.lock")) <= set(locked("requirements-dev.lock"))


def locked(name: str) -> list[str]:
    """Lines of a lock file that pin a package."""
    return [line for line in (PROJECT / name).read_text().splitlines() if re.match(r"^[a-z0-9][^ ]*==", line)]
