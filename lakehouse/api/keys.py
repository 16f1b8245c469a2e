"""API keys: made, listed and revoked, and what a request may do with one.

A key is `lh_ID_SECRET`. PostgreSQL keeps the SHA-256 of the secret, which is random and long, so that no slow hash is
needed. The service has a copy, a few seconds old, and goes on with it while PostgreSQL is away.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lakehouse.adapters.postgres.client import open_postgres
from lakehouse.api.scope import Scope
from lakehouse.domains.players.schema import ensure_schema
from lakehouse.errors import LakehouseError

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812

    from lakehouse.settings import Settings

PREFIX = "lh"
AGE_SECONDS = 5.0
"""Of the service's copy: after so long a key that was revoked is worth nothing."""
PATIENCE_SECONDS = 1.0
"""For a new copy; where PostgreSQL takes longer, requests go on with the old one."""


@dataclass(frozen=True)
class Key:
    """A key as it is kept."""

    key_id: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    revoked_at: datetime | None
    digest: bytes


def create(settings: Settings, name: str, scopes: tuple[Scope, ...]) -> str:
    """Make a key; it is told once, here.

    Raises:
        LakehouseError: PostgreSQL does not answer.
    """
    ensure_schema(settings)
    key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    with open_postgres(settings, "api key") as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into players.api_keys (key_id, name, scopes, digest) values (%s, %s, %s, %s)",
            (key_id, name, [str(scope) for scope in scopes], _digest(secret)),
        )
    return f"{PREFIX}_{key_id}_{secret}"


def known(settings: Settings) -> list[Key]:
    """All keys, revoked ones too, the newest first.

    Raises:
        LakehouseError: PostgreSQL does not answer.
    """
    ensure_schema(settings)
    return _held(settings)


def _held(settings: Settings) -> list[Key]:
    with open_postgres(settings, "api keys") as connection:
        return _read(connection)


def revoke(settings: Settings, key_id: str) -> Key:
    """Make a key worth nothing.

    Raises:
        LakehouseError: there is no such key, or it was revoked before; or PostgreSQL does not answer.
    """
    ensure_schema(settings)
    with open_postgres(settings, "api key") as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "update players.api_keys set revoked_at = now() where key_id = %s and revoked_at is null", (key_id,)
            )
            if not cursor.rowcount:
                raise LakehouseError(f"there is no key {key_id} that holds; `lakehouse api-key list` shows all")
        return next(key for key in _read(connection) if key.key_id == key_id)


def _read(connection: Connection) -> list[Key]:
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "select key_id, name, scopes, created_at, revoked_at, digest from players.api_keys order by created_at desc"
        )
        return [
            Key(id_, name, tuple(map(Scope, scopes)), created, revoked, bytes(digest))
            for id_, name, scopes, created, revoked, digest in cursor.fetchall()
        ]


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


class Keyring:
    """The service's copy of the keys that hold."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys: dict[str, Key] | None = None
        self._ask = known
        """How the keys are read: the first time, their table may have to be made."""
        self._begun_at = self._ended_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def owner(self, token: str, scope: Scope) -> str | None:
        """Id of the key that a token is, if that allows what is asked for.

        Raises:
            PermissionError: the key is good, but not for this.
        """
        keys = await self._fresh()
        prefix, _, rest = token.partition("_")
        key_id, _, secret = rest.partition("_")
        key = keys.get(key_id)
        # Compared in any case, so that the time tells nobody which ids there are.
        is_same = hmac.compare_digest(_digest(secret), key.digest if key else bytes(hashlib.sha256().digest_size))
        if key is None or prefix != PREFIX or not is_same:
            return None
        if scope not in key.scopes:
            raise PermissionError(scope)
        return key_id

    async def _fresh(self) -> dict[str, Key]:
        """The copy, read again where it is old; all who ask meanwhile wait for the same."""
        now = time.monotonic()
        if self._reading is None and now - self._ended_at >= AGE_SECONDS:
            self._begun_at, self._reading = now, asyncio.create_task(self._read_again())
        if self._reading is not None:
            patience = None if self._keys is None else max(0.0, self._begun_at + PATIENCE_SECONDS - now)
            await asyncio.wait({self._reading}, timeout=patience)
        return self._keys or {}

    async def _read_again(self) -> None:
        try:
            found = await asyncio.to_thread(self._ask, self._settings)
            self._ask = _held
            self._keys = {key.key_id: key for key in found if key.revoked_at is None}
        except LakehouseError:
            pass  # the old copy goes on
        finally:
            self._ended_at, self._reading = time.monotonic(), None


class Allowance:
    """How many events each key may send or ask for: so many a second, and what was saved up in one."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, owner: str, count: int) -> float:
        """Take from what a key has; 0 where it had enough, else the seconds until it will.

        More than a second's worth is taken when all of that is there, and owed afterwards.
        """
        now = time.monotonic()
        left, at = self._left.get(owner, (self._per_second, now))
        left = min(self._per_second, left + (now - at) * self._per_second)
        needed = min(count, self._per_second)
        if left >= needed:
            self._left[owner] = (left - count, now)
            return 0.0
        self._left[owner] = (left, now)
        return (needed - left) / self._per_second
