"""Running the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import uvicorn

from lakehouse.api.app import create_app
from lakehouse.api.protocol import PATIENCE_SECONDS, Protocol

if TYPE_CHECKING:
    from lakehouse.settings import Settings

DRAIN_SECONDS = 15
"""How long requests under way may take when the service is told to end."""


def serve(settings: Settings) -> None:
    """Serve until told to end: then no more requests are taken, and those under way are answered."""
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        timeout_keep_alive=int(PATIENCE_SECONDS),
        timeout_graceful_shutdown=DRAIN_SECONDS,
        log_level="warning",
    )
