"""The service's copy of the keys, while PostgreSQL answers and while it does not."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from datetime import UTC, datetime

import pytest

from lakehouse.api import keys
from lakehouse.api.keys import Key, Keyring
from lakehouse.api.scope import Scope
from lakehouse.settings import Settings, load

TOKEN = "lh_id_secret"
NOW = datetime(2026, 11, 27, tzinfo=UTC)


def key(revoked_at: datetime | None = None) -> Key:
    return Key("id", "a backend", (Scope.WRITE,), NOW, revoked_at, hashlib.sha256(b"secret").digest())


def test_a_postgres_that_hangs_holds_up_nobody_who_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "AGE_SECONDS", 0.0)
    monkeypatch.setattr(keys, "PATIENCE_SECONDS", 0.01)
    answers, asked = threading.Event(), []

    def hang(settings: Settings) -> list[Key]:
        asked.append(settings)
        answers.wait()
        return [key(revoked_at=NOW)]

    async def ask() -> None:
        ring = Keyring(load())
        monkeypatch.setattr(ring, "_ask", lambda settings: [key()])
        assert await ring.owner(TOKEN, Scope.WRITE) == "id"
        monkeypatch.setattr(ring, "_ask", hang)
        assert [await ring.owner(TOKEN, Scope.WRITE) for _ in range(20)] == ["id"] * 20
        assert len(asked) == 1
        answers.set()
        while await ring.owner(TOKEN, Scope.WRITE) is not None:
            monkeypatch.setattr(keys, "PATIENCE_SECONDS", 10.0)

    asyncio.run(ask())


def test_who_asks_first_waits_for_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "PATIENCE_SECONDS", 0.0)

    async def ask() -> list[str | None]:
        ring = Keyring(load())
        monkeypatch.setattr(ring, "_ask", lambda settings: [key()])
        return await asyncio.gather(*(ring.owner(TOKEN, Scope.WRITE) for _ in range(5)))

    assert asyncio.run(ask()) == ["id"] * 5
