"""Connections to Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lakehouse.errors import LakehouseError

if TYPE_CHECKING:
    from redis import Redis

    from lakehouse.settings import Settings

TIMEOUT_SECONDS = 5.0
"""For an answer, and once more for a second one, as a connection may have been cut off meanwhile."""


def connection_options(settings: Settings) -> dict[str, Any]:
    """What every client needs to connect; holds the password."""
    return {
        "host": settings.redis_address,
        "port": settings.redis_port,
        "password": settings.redis_password.get_secret_value() or None,
        "ssl": settings.redis_tls,
        "decode_responses": True,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "socket_timeout": TIMEOUT_SECONDS,
        "client_name": "lakehouse",
    }


@contextmanager
def open_redis(settings: Settings) -> Iterator[Redis]:
    """A client, for a block; it connects when it is first asked, and again when it was cut off.

    Raises:
        LakehouseError: as `in_words`.
    """
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    with Redis(**connection_options(settings), retry=Retry(NoBackoff(), 1)) as client, in_words(settings):
        yield client


@contextmanager
def in_words(settings: Settings) -> Iterator[None]:
    """Within the block, what Redis fails with is told in words.

    Raises:
        LakehouseError: it did not answer, or refused.
    """
    from redis import RedisError

    try:
        yield
    except RedisError as error:
        raise LakehouseError(f"Redis at {settings.redis_address}:{settings.redis_port}: {error}") from None
