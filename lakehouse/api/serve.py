"""Running the service."""

from __future__ import annotations

import gc
import resource
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette

from lakehouse.api.app import create_app
from lakehouse.api.protocol import PATIENCE_SECONDS, Protocol

if TYPE_CHECKING:
    from lakehouse.settings import Settings

DRAIN_SECONDS = 15
"""How long requests under way may take when the service is told to end."""
UNSEARCHED = 50_000
"""New objects after which a search for cycles begins: Python's 700 are those of a few requests."""


class _Server(uvicorn.Server):
    """A server that does not wait for streams, which have no end of their own."""

    def __init__(self, app: Starlette, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.live.close()
        await super().shutdown(sockets)


def serve(settings: Settings) -> None:
    """Serve until told to end: then no more requests are taken, those under way are answered, and streams end."""
    # Each stream is an open file, and many systems allow but a thousand of them until they are asked.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    app = create_app(settings)
    # What requests leave behind goes by itself; looking for cycles in it, and in all that was imported, is a fifth of
    # the work.
    gc.freeze()
    gc.set_threshold(UNSEARCHED)
    server = _Server(
        app,
        uvicorn.Config(
            app,
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
        ),
    )
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(1)
