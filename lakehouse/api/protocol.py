"""What a client may ask of the server before the application sees a request: so many bytes, and so long.

The parser itself has no bounds, and the server waits for the first head of a connection as long as the client likes.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from lakehouse.api.problems import MEDIA_TYPE, Problem, content

MAX_HEAD_BYTES = 32 * 1024
"""Of the address and the headers of a request together; also of what is between two pieces of a body."""
PATIENCE_SECONDS = 10.0
"""How long a client may take to send the next head, to send a body, and to take what it was answered."""

BROKEN = Problem(HTTPStatus.BAD_REQUEST, "this is no request that is understood here")
TOO_LARGE = Problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a head has at most {MAX_HEAD_BYTES:,} bytes")


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 for clients of which some are slow, and some lie."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._unheard = 0
        """Bytes since the parser last had something whole: a head or a piece of a body."""
        self._is_in_head = True
        self._patience: asyncio.TimerHandle | None = None
        self._at_work: RequestResponseCycle | None = None
        """The request that is answered now; `cycle` is the newest, which may have to wait for it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is waited for any more, and nobody answered."""
        self._stop_waiting()
        if self._at_work is not None:
            self._at_work.disconnected = True
            self._at_work.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came. What is no HTTP is not worth a line in a log: anybody could fill that."""
        self._unset_keepalive_if_required()
        self._unheard += len(data)
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as stopped:
            self._go_on_as_before(data[stopped.args[0] :])
        except HttpParserError:
            self._refuse(BROKEN)
        if self._unheard > MAX_HEAD_BYTES:
            self._refuse(TOO_LARGE)

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._is_in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. What comes behind a body is none, though the parser says so."""
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The application has its own patience with what follows."""
        self._unheard, self._is_in_head = 0, False
        if len(self.url) + sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers) > MAX_HEAD_BYTES:
            self._refuse(TOO_LARGE)
            raise ValueError(TOO_LARGE)
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("this is no proxy")
            return
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body is the application's."""
        self._unheard = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """What follows is another request."""
        self._unheard = 0
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next head; also for the rest of a body that was answered before it had come."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self._wait()

    def pause_writing(self) -> None:
        """Wait for a client that takes its answer slowly."""
        super().pause_writing()
        self._wait()

    def resume_writing(self) -> None:
        """It has taken most of it."""
        super().resume_writing()
        if not self.cycle.response_complete:
            self._stop_waiting()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._at_work = cycle
        super()._start_asgi_task(cycle, app)

    def _go_on_as_before(self, rest: bytes) -> None:
        """Read a request that asks for another protocol as if it did not, which it must be content with.

        The parser leaves out its body: clients in Java, for one, ask for HTTP/2 with their first event.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        headers = [b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = HttpRequestParser(self)
        self.data_received(b"%s %s HTTP/%s\r\n%s\r\n" % (method, self.url, version, b"".join(headers)) + rest)

    def _refuse(self, problem: Problem) -> None:
        """Answer without the application, and close.

        Requests that came before, and may have been taken, get their own answers first, and this one none.
        """
        if self.transport.is_closing():
            return
        cycle = self.cycle
        is_idle = cycle is None or (cycle.response_complete and not cycle.more_body)
        if not self.pipeline and (is_idle or (cycle.more_body and not cycle.response_started)):
            body = content(problem)
            told = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[problem.status] + told.encode() + body)
            self.transport.close()
        elif cycle.response_complete:
            self.transport.close()
        else:
            cycle.keep_alive = False
            self.flow.pause_reading()

    def _wait(self) -> None:
        self._stop_waiting()
        self._patience = self.loop.call_later(PATIENCE_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
