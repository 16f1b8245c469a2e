"""dbt is told by the environment where to connect; nobody else in the process is."""

import os

import pytest

from lakehouse.adapters.dbt.project import exported


def test_what_is_exported_is_as_it_was_behind_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRINO_HOST", "theirs")
    monkeypatch.delenv("TRINO_PORT", raising=False)

    def fail() -> None:
        with exported({"TRINO_HOST": "ours", "TRINO_PORT": "1"}):
            assert (os.environ["TRINO_HOST"], os.environ["TRINO_PORT"]) == ("ours", "1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert os.environ["TRINO_HOST"] == "theirs"
    assert "TRINO_PORT" not in os.environ
