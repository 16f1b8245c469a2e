"""The application: what each path answers."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis import RedisError
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from lakehouse.api import live, metrics, problems
from lakehouse.api.events import MAX_EVENT_BYTES, Message, Refused, accept, ids_of, split
from lakehouse.api.keys import Allowance, Keyring
from lakehouse.api.live import Board, Live, Player, Question
from lakehouse.api.openapi import (
    JSON,
    KEY_PATTERN,
    LINES,
    MAX_BATCH,
    MAX_KEY,
    START,
    docs_page,
    document,
    swagger_folder,
)
from lakehouse.api.problems import RETRY_SECONDS, Problem
from lakehouse.api.protocol import PATIENCE_SECONDS
from lakehouse.api.publisher import Header, Publisher, Sendable, Unavailable
from lakehouse.api.reads import MAX_PLAYERS, Reader
from lakehouse.api.scope import Scope
from lakehouse.contracts.contract import ID_LENGTH
from lakehouse.domains.players.boards import Period
from lakehouse.naming import PLAYER_EVENTS_TOPIC
from lakehouse.settings import LOOPBACK

if TYPE_CHECKING:
    from lakehouse.settings import Settings

MAX_BATCH_BYTES = 5_000_000
HOSTS = [LOOPBACK, "localhost"]
"""Names under which a browser may reach the service: a page of somewhere else cannot give it a name of its own."""
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; script-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
LIVE_PAGE = Path(__file__).parent / "page"
ANYBODY = "anybody"
"""Whose idempotency keys they are, where no client has to say who it is."""


class IdConvertor(Convertor[str]):
    """An id in a path: any text, also one of several lines or with slashes."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        """As it is."""
        return value

    def to_string(self, value: str) -> str:
        """As it is."""
        return value


register_url_convertor("id", IdConvertor())


def create_app(settings: Settings) -> Starlette:
    """The application, which connects to the brokers when it is started."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.publisher = Publisher(settings, PLAYER_EVENTS_TOPIC.name)
        app.state.reader = Reader(settings)
        app.state.live = Live(app.state.reader)
        app.state.keys = Keyring(settings) if settings.needs_api_keys else None
        app.state.allowance = Allowance(settings.api_events_per_second)
        yield
        await app.state.reader.close()
        await app.state.publisher.close()

    app = Starlette(
        routes=[
            Route("/api/v1/events", post_event, methods=["POST"]),
            Route("/api/v1/events/batch", post_batch, methods=["POST"]),
            Route("/api/v1/players/{player_id:id}/statistics", show_statistics),
            Route("/api/v1/games/{game_id:id}/leaderboards/{period}", show_leaderboard),
            Route("/api/v1/games/{game_id:id}/leaderboards/{period}/live", show_live),
            Route("/", live_page),
            Mount("/page", StaticFiles(directory=LIVE_PAGE)),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", show_metrics),
            Route("/openapi.json", openapi),
            Route("/docs", docs),
            Route("/docs/start.js", docs_start),
            Mount("/docs/assets", StaticFiles(directory=swagger_folder())),
        ],
        # A page of somewhere else has no key.
        middleware=[] if settings.needs_api_keys else [Middleware(OwnHosts)],
        exception_handlers={
            Problem: problems.on_problem,
            HTTPException: problems.on_http_exception,
            RedisError: problems.on_redis_error,
            Exception: problems.on_error,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


class OwnHosts:
    """Refuses what is meant for another host."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Answer, or let the application do so."""
        if scope["type"] == "http" and not self._is_meant(Headers(scope=scope).getlist("host")):
            problem = Problem(HTTPStatus.BAD_REQUEST, f"Host: expected {' or '.join(HOSTS)}")
            await problems.respond(problem)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    @staticmethod
    def _is_meant(hosts: list[str]) -> bool:
        return len(hosts) == 1 and hosts[0].partition(":")[0].lower() in HOSTS


async def post_event(request: Request) -> Response:
    """Take one event: the answer comes when all replicas have it."""
    with metrics.timed("event"):
        owner = await owner_of(request, Scope.WRITE)
        media_of(request, JSON)
        allow(request, owner, 1)
        body = await body_of(request, MAX_EVENT_BYTES)
        key = key_of(request)
        try:
            message = accept(body, datetime.now(UTC), next(ids_of(key, owner)) if key else None)
        except Refused as error:
            metrics.REFUSED.inc()
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), field=error.field) from None
        await publish(request, [message])
        return answer({"status": "success", "event_id": message.event_id})


async def post_batch(request: Request) -> Response:
    """Take all good events of many; each of the others is named, with what is wrong with it."""
    with metrics.timed("batch"):
        owner = await owner_of(request, Scope.WRITE)
        media = media_of(request, JSON, LINES)
        body = await body_of(request, MAX_BATCH_BYTES)
        key = key_of(request)
        try:
            events = split(body, is_lines=media == LINES)
        except Refused as error:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        if not 0 < len(events) <= MAX_BATCH:
            detail = f"{len(events):,} events: expected 1 to {MAX_BATCH:,}"
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if events else HTTPStatus.UNPROCESSABLE_ENTITY
            raise Problem(status, detail)
        allow(request, owner, len(events))
        now = datetime.now(UTC)
        ids = ids_of(key, owner) if key else None
        accepted: list[Message] = []
        refused: list[dict[str, Any]] = []
        for index, event in enumerate(events):
            given: UUID | None = next(ids) if ids else None
            try:
                accepted.append(accept(event, now, given))
            except Refused as error:
                refused.append({"index": index, "reason": str(error), "field": error.field})
        metrics.REFUSED.inc(len(refused))
        if not accepted:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "no event is as it should be", refused=refused)
        await publish(request, accepted)
        return answer(
            {
                "status": "partial" if refused else "success",
                "accepted": len(accepted),
                "event_ids": [message.event_id for message in accepted],
                "refused": refused,
            }
        )


async def show_statistics(request: Request) -> Response:
    """Totals of a player."""
    allow(request, await owner_of(request, Scope.READ), 1)
    player = id_of(request.path_params, "player_id")
    found = await request.app.state.reader.statistics(player)
    if found is None:
        raise Problem(HTTPStatus.NOT_FOUND, "nothing is known of this player")
    return answer(found)


async def show_leaderboard(request: Request) -> Response:
    """The best players of a game, or those around one."""
    allow(request, await owner_of(request, Scope.READ), 1)
    board = board_of(request)
    around = id_of(request.query_params, "around") if "around" in request.query_params else None
    found = await request.app.state.reader.board(board.game, board.period, board.limit, around)
    if found is None:
        raise Problem(HTTPStatus.NOT_FOUND, "the player is not on this board", field="around")
    return answer(found)


async def show_live(request: Request) -> Response:
    """The best players of a game, and one player, told again whenever they have changed."""
    allow(request, await owner_of(request, Scope.READ), 1)
    board = board_of(request)
    questions: list[Question] = [board]
    if "player" in request.query_params:
        questions.append(Player(id_of(request.query_params, "player"), board.game, board.period))
    if request.app.state.live.is_full:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"{live.MAX_LISTENERS:,} follow already, and more cannot: try again",
            headers={"Retry-After": str(RETRY_SECONDS)},
        )
    # A proxy that collects what it passes on would keep news back.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_listen(request, questions), headers=headers, media_type=live.MEDIA_TYPE)


async def _listen(request: Request, questions: list[Question]) -> AsyncIterator[bytes]:
    """What is to be told, as long as the key holds that it was asked with."""
    async with aclosing(request.app.state.live.listen(*questions)) as stream:
        async for told in stream:
            yield told
            try:
                await owner_of(request, Scope.READ)
            except Problem:
                return


def board_of(request: Request) -> Board:
    """The board that a request asks for.

    Raises:
        Problem: there is no such board, or it has not so many players.
    """
    period = request.path_params["period"]
    if period not in list(Period):
        raise Problem(HTTPStatus.NOT_FOUND, f"there is no such board: choose from {', '.join(Period)}")
    limit = request.query_params.get("limit", "10")
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 10 and 1 <= int(limit) <= MAX_PLAYERS):
        raise Problem(HTTPStatus.BAD_REQUEST, f"limit: expected a whole number from 1 to {MAX_PLAYERS}", field="limit")
    return Board(id_of(request.path_params, "game_id"), Period(period), int(limit))


async def publish(request: Request, messages: list[Message]) -> None:
    """Hand messages to the brokers.

    Raises:
        Problem: they did not take all of them. The ids are told, so that sending the same again counts once.
    """
    publisher: Publisher = request.app.state.publisher
    try:
        await publisher.publish([_sendable(message) for message in messages])
    except Unavailable as error:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"the brokers did not take the events ({error}): send them again, with the ids that are told here",
            headers={"Retry-After": str(RETRY_SECONDS)},
            event_ids=[message.event_id for message in messages],
        ) from None
    metrics.ACCEPTED.inc(len(messages))


def _sendable(message: Message) -> Sendable:
    headers: list[Header] = [("event_type", message.event_type), ("event_id", message.event_id)]
    return message.key, message.value, headers


async def owner_of(request: Request, scope: Scope) -> str:
    """Who makes a request: the id of its API key, or anybody where none is asked for.

    Raises:
        Problem: the key is missing, or not good for this. One in the address is none: addresses are written to logs.
    """
    keys: Keyring | None = request.app.state.keys
    if keys is None:
        return ANYBODY
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        owner = await keys.owner(token.strip(), scope) if kind.lower() == "bearer" else None
    except PermissionError:
        raise Problem(HTTPStatus.FORBIDDEN, f"this key does not allow to {scope}") from None
    if owner is None:
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "an API key is needed, as `Authorization: Bearer …`; `lakehouse api-key create` makes one",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return owner


def allow(request: Request, owner: str, count: int) -> None:
    """Let a key send so many events, or ask so many questions.

    Raises:
        Problem: it has to wait.
    """
    if owner != ANYBODY and (seconds := request.app.state.allowance.take(owner, count)):
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            "this key has used up what it may send in a second",
            headers={"Retry-After": str(math.ceil(seconds))},
        )


def media_of(request: Request, *allowed: str) -> str:
    """The media type of a body.

    A page of somewhere else could send others to a service on loopback without being asked whether it may.

    Raises:
        Problem: it is none of those allowed.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in allowed:
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected {' or '.join(allowed)} as the Content-Type")
    return media


def key_of(request: Request) -> str | None:
    """The idempotency key of a request.

    Raises:
        Problem: it is none.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not (len(key) <= MAX_KEY and re.fullmatch(KEY_PATTERN, key)):
        raise Problem(HTTPStatus.BAD_REQUEST, f"an Idempotency-Key has 1 to {MAX_KEY} visible characters of ASCII")
    return key


def id_of(asked: Mapping[str, str], name: str) -> str:
    """An id that is asked for.

    Raises:
        Problem: no event can carry it.
    """
    value = asked[name]
    if not 0 < len(value) <= ID_LENGTH or "\0" in value:
        raise Problem(HTTPStatus.BAD_REQUEST, f"an id has 1 to {ID_LENGTH} characters, and no U+0000", field=name)
    return value


async def body_of(request: Request, most: int) -> bytes:
    """The body of a request.

    Raises:
        Problem: it is too large, or too long on its way.
    """
    too_large = Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {most:,} bytes")
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > most:
        raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise too_large
                parts.append(part)
    except TimeoutError:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the body did not come within {PATIENCE_SECONDS:.0f} s",
            headers={"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body ended early") from None
    return b"".join(parts)


def answer(told: Any) -> Response:
    """Told as JSON."""
    return Response(msgspec.json.encode(told), media_type=JSON)


async def live_page(_: Request) -> Response:
    """The page that shows boards and players as they change."""
    return FileResponse(LIVE_PAGE / "index.html", headers=PAGE_HEADERS)


async def healthz(_: Request) -> Response:
    """Say that the service runs."""
    return answer({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Say whether events can be taken."""
    if not await request.app.state.publisher.is_ready():
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE, "the brokers do not answer", headers={"Retry-After": str(RETRY_SECONDS)}
        )
    return answer({"status": "ready"})


async def show_metrics(_: Request) -> Response:
    """Numbers for Prometheus."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def openapi(request: Request) -> Response:
    """The description of the service, for machines."""
    return answer(document(asks_for_keys=request.app.state.keys is not None))


async def docs(_: Request) -> Response:
    """The same, for people."""
    return Response(docs_page(), media_type="text/html", headers=PAGE_HEADERS)


async def docs_start(_: Request) -> Response:
    """The script of the page."""
    return Response(START, media_type="text/javascript")
