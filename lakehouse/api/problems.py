"""Errors as problem details (RFC 9457): one shape for all of them, for machines and for people."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5
"""After which it makes sense to try again what failed for a server that is away."""


class Problem(Exception):
    """What is wrong with a request, or with us."""

    def __init__(
        self, status: HTTPStatus, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        """Tell what happened.

        Args:
            status: Of the answer.
            detail: What happened here, and what to do about it.
            headers: More headers of the answer.
            more: Members that tell of this kind of problem.
        """
        super().__init__(detail)
        self.status, self.headers, self.more = status, headers, more


def content(problem: Problem) -> bytes:
    """What tells of a problem."""
    document = {
        "type": "about:blank",
        "title": problem.status.phrase,
        "status": problem.status.value,
        "detail": str(problem),
        **{name: value for name, value in problem.more.items() if value is not None},
    }
    return msgspec.json.encode(document)


def respond(problem: Problem) -> Response:
    """The answer that tells of a problem."""
    return Response(content(problem), problem.status.value, headers=problem.headers, media_type=MEDIA_TYPE)


async def on_problem(_: Request, error: Exception) -> Response:
    """The answer to a request that failed in one of our own ways."""
    assert isinstance(error, Problem)
    return respond(error)


async def on_http_exception(_: Request, error: Exception) -> Response:
    """The answer to a request for what is not there, or in a way that is not."""
    assert isinstance(error, HTTPException)
    return respond(Problem(HTTPStatus(error.status_code), error.detail, headers=error.headers))


async def on_redis_error(_: Request, __: Exception) -> Response:
    """The answer to a question while nobody can be asked."""
    detail = "Redis does not answer: try again"
    return respond(Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(RETRY_SECONDS)}))


async def on_error(_: Request, __: Exception) -> Response:
    """The answer to a request on which we failed; the log says more, the client learns nothing of the inside."""
    return respond(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "this is our fault, and it is in our log"))
