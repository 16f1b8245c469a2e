"""The description of the service: what it takes comes from the contract, the rest is written here."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lakehouse.api import live
from lakehouse.api.events import MAX_DEPTH, MAX_NAME
from lakehouse.api.problems import MEDIA_TYPE
from lakehouse.api.reads import MAX_PLAYERS
from lakehouse.contracts.contract import EARLIEST, ID_LENGTH, LATEST
from lakehouse.contracts.json_schema import NO_NUL, record_schema
from lakehouse.domains.players.boards import Period
from lakehouse.domains.players.contract import MOST_TYPES, PLAYER_EVENT

Document = dict[str, Any]

JSON, LINES = "application/json", "application/x-ndjson"
MAX_BATCH = 10_000
MAX_KEY = 255
KEY_PATTERN = "^[!-~]+$"
EVENT_ID: Document = {
    "type": "string",
    "format": "uuid",
    "nullable": True,
    "description": "Id of the event; unset: the service gives it one. Sent again with its id, an event counts once.",
}
EXAMPLE: Document = {
    "event_type": "player_score",
    "player_id": "player-0001",
    "game_id": "game-01",
    "timestamp": "2026-01-31T12:00:00Z",
    "data": {"score": 100},
}


_NAME: Document = {"type": "string", "minLength": 1, "maxLength": ID_LENGTH, "pattern": NO_NUL}
_WHOLE: Document = {"type": "integer"}
_TIME: Document = {"type": "string", "format": "date-time"}
_TIMESTAMP: Document = {
    "description": "When it happened: between 1900 and 2200, and at most an hour ahead; without an offset in UTC.",
    "oneOf": [
        _TIME,
        {
            "type": "integer",
            "description": "Since 1970, in ms.",
            "minimum": int(EARLIEST.timestamp() * 1000),
            "maximum": int(LATEST.timestamp() * 1000),
        },
    ],
}
_STATISTICS: Document = {
    "type": "object",
    "required": ["player_id", "total_events", "event_breakdown", "first_event_at", "last_event_at"],
    "properties": {
        "player_id": _NAME,
        "total_events": _WHOLE,
        "event_breakdown": {
            "type": "object",
            "additionalProperties": _WHOLE,
            "description": f"Events by type; nothing where there are more than {MOST_TYPES:,} types.",
        },
        "first_event_at": _TIME,
        "last_event_at": _TIME,
    },
}
_REFUSED: Document = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["index", "reason"],
        "properties": {
            "index": _WHOLE | {"minimum": 0, "description": "Its place among those that were sent, from 0."},
            "reason": {"type": "string"},
            "field": {"type": "string", "nullable": True},
        },
    },
}
_LEADERBOARD: Document = {
    "type": "object",
    "required": ["game_id", "period", "period_start", "players"],
    "properties": {
        "game_id": _NAME,
        "period": {"type": "string", "enum": list(Period)},
        "period_start": {"type": "string", "format": "date"},
        "players": {
            "type": "array",
            "maxItems": MAX_PLAYERS,
            "description": "Higher scores first; of equal ones the lower player id.",
            "items": {
                "type": "object",
                "required": ["rank", "player_id", "score"],
                "properties": {"rank": _WHOLE | {"minimum": 1}, "player_id": _NAME, "score": _WHOLE},
            },
        },
    },
}


@cache
def document(*, asks_for_keys: bool) -> Document:
    """OpenAPI 3.0, which the page that shows it knows."""
    event = record_schema(PLAYER_EVENT, optional=frozenset({"event_id"}))
    event["properties"]["event_id"] = EVENT_ID
    event["properties"]["timestamp"] = _TIMESTAMP
    event["properties"]["data"]["description"] += (
        f" At most {MAX_DEPTH - 1} objects and arrays inside one another, names of up to {MAX_NAME:,} characters, "
        "and no U+0000."
    )
    event["example"] = EXAMPLE
    many = {"type": "array", "items": _ref("Event"), "minItems": 1, "maxItems": MAX_BATCH}
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "lakehouse: players",
            "version": version("lakehouse"),
            "description": "Game events come in; an event is answered when all replicas of its topic have it. "
            "All errors are problem details: also those of requests that are for none of the paths here (404), by "
            "another method (405, with `Allow`), for another host or no HTTP that is understood (400), or with a head "
            "that is too large (431).",
        },
        "paths": {
            "/api/v1/events": {
                "post": _ingestion(
                    "Send one event",
                    {JSON: _ref("Event")},
                    {"type": "object", "required": ["status", "event_id"], "properties": _taken()},
                )
            },
            "/api/v1/events/batch": {
                "post": _ingestion(
                    "Send many events",
                    {
                        JSON: many,
                        LINES: many | {"description": "An event a line."},
                    },
                    _ref("Batch"),
                )
            },
            "/api/v1/players/{player_id}/statistics": {
                "get": {
                    "summary": "Totals of a player",
                    "parameters": [_in_path("player_id", _NAME | {"example": EXAMPLE["player_id"]})],
                    "responses": _found(_ref("Statistics"), "Nothing is known of this player."),
                }
            },
            "/api/v1/games/{game_id}/leaderboards/{period}": {
                "get": {
                    "summary": "The best players of a game, or those around one",
                    "parameters": [
                        _in_path("game_id", _NAME | {"example": EXAMPLE["game_id"]}),
                        _in_path("period", {"type": "string", "enum": list(Period)}),
                        _LIMIT,
                        _in_query("around", _NAME | {"description": "A player, with neighbours above and below."}),
                    ],
                    "responses": _found(_ref("Leaderboard"), "There is no such board, or the player is not on it."),
                }
            },
            "/api/v1/games/{game_id}/leaderboards/{period}/live": {
                "get": {
                    "summary": "The same and one player, as a stream that tells what has changed",
                    "description": _EVENTS,
                    "parameters": [
                        _in_path("game_id", _NAME),
                        _in_path("period", {"type": "string", "enum": list(Period)}),
                        _LIMIT,
                        _in_query("player", _NAME | {"description": "A player to tell about, too."}),
                    ],
                    "responses": {
                        "200": {
                            "description": "Server-sent events, without an end.",
                            "content": {live.MEDIA_TYPE: {"schema": {"type": "string"}}},
                        },
                        "400": _problem("The question is broken."),
                        **_GUARDED,
                        "404": _problem("There is no such board."),
                        "503": _problem("Too many follow already: try again."),
                    },
                }
            },
            "/healthz": {"get": _question("Say that the service runs")},
            "/readyz": {"get": _question("Say whether events can be taken", {"503": _later("The brokers are away.")})},
            "/metrics": {"get": _text_question("Numbers for Prometheus")},
        },
        "security": [{"key": []}] if asks_for_keys else [],
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Event": event,
                "Batch": _batch(),
                "Statistics": _STATISTICS,
                "Leaderboard": _LEADERBOARD,
                "Problem": _problem_schema(),
            },
        },
    }


def _taken() -> Document:
    return {"status": {"type": "string", "enum": ["success"]}, "event_id": {"type": "string", "format": "uuid"}}


def _batch() -> Document:
    return {
        "type": "object",
        "required": ["status", "accepted", "event_ids", "refused"],
        "properties": {
            "status": {"type": "string", "enum": ["success", "partial"]},
            "accepted": _WHOLE | {"minimum": 1},
            "event_ids": {"type": "array", "items": {"type": "string", "format": "uuid"}},
            "refused": _REFUSED,
        },
    }


def _problem_schema() -> Document:
    return {
        "type": "object",
        "description": "Problem details, RFC 9457.",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "field": {"type": "string", "description": "The field that is wrong."},
            "event_ids": {"type": "array", "items": {"type": "string"}, "description": "To send the same again."},
            "refused": _REFUSED,
        },
    }


def _ingestion(summary: str, bodies: dict[str, Document], taken: Document) -> Document:
    return {
        "summary": summary,
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": KEY_PATTERN},
                "description": "Gives events without an id the same ids each time the request is sent.",
            }
        ],
        "requestBody": {"required": True, "content": {media: {"schema": schema} for media, schema in bodies.items()}},
        "responses": {
            "200": {"description": "Taken.", "content": {JSON: {"schema": taken}}},
            "400": _problem("The request is broken."),
            **_GUARDED,
            "408": _problem("The body did not come in time."),
            "413": _problem("The body is too large."),
            "415": _problem("The body is of another media type."),
            "422": _problem("No event is as it should be."),
            "503": _later("The brokers did not take the events: send them again."),
        },
    }


def _in_path(name: str, schema: Document) -> Document:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(name: str, schema: Document) -> Document:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _found(schema: Document, otherwise: str) -> Document:
    return {
        "200": {"description": "Found.", "content": {JSON: {"schema": schema}}},
        "400": _problem("The question is broken."),
        **_GUARDED,
        "404": _problem(otherwise),
        "503": _later("Redis is away: try again."),
    }


def _question(summary: str, more: Document | None = None) -> Document:
    schema = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}
    good = {"description": "It is so.", "content": {JSON: {"schema": schema}}}
    return {"summary": summary, "security": [], "responses": {"200": good, **(more or {})}}


def _text_question(summary: str) -> Document:
    content = {"text/plain": {"schema": {"type": "string"}}}
    good = {"description": "In Prometheus's format.", "content": content}
    return {"summary": summary, "security": [], "responses": {"200": good}}


def _problem(description: str) -> Document:
    return {"description": description, "content": {MEDIA_TYPE: {"schema": _ref("Problem")}}}


def _later(description: str) -> Document:
    return _problem(description) | _header("Retry-After", _WHOLE | {"minimum": 1, "description": "Seconds."})


def _header(name: str, schema: Document) -> Document:
    return {"headers": {name: {"required": True, "schema": schema}}}


def _ref(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}


_LIMIT = _in_query("limit", {"type": "integer", "minimum": 1, "maximum": MAX_PLAYERS, "default": 10})
_EVENTS = (
    f"Each event comes at first, and again when what it tells has changed, at most every {live.POLL_SECONDS:.0f} s.\n\n"
    "- `board`: a `Leaderboard`, without players where nobody has a score\n"
    "- `player`: `player_id`, `statistics` (a `Statistics`), `around` (a `Leaderboard`); null where there is nothing\n"
    "- `away`: `detail`; Redis does not answer, and the stream goes on when it does\n\n"
    f"Without news a comment comes every {live.HEARTBEAT_SECONDS:.0f} s. The stream ends when the service does, or "
    "when the key does not hold any more."
)
_GUARDED = {
    "401": _problem("An API key is needed.") | _header("WWW-Authenticate", {"type": "string", "enum": ["Bearer"]}),
    "403": _problem("The API key does not allow this."),
    "429": _later("The API key has used up what it may send in a second."),
}


def swagger_folder() -> Path:
    """The page that shows the description, as its package brings it."""
    from swagger_ui_bundle import swagger_ui_path

    return Path(str(swagger_ui_path))


def docs_page() -> str:
    """The page for people; its script is a file of its own, for no other may run."""
    return """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>lakehouse: players</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""


START = "SwaggerUIBundle({url: '/openapi.json', dom_id: '#page', validatorUrl: null});"
"""What starts the page."""
