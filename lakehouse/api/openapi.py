"""The description of the service: what it takes comes from the contract, the rest is written here."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lakehouse.api.problems import MEDIA_TYPE
from lakehouse.contracts.json_schema import record_schema
from lakehouse.domains.players.contract import PLAYER_EVENT

Document = dict[str, Any]

JSON, LINES = "application/json", "application/x-ndjson"
MAX_BATCH = 10_000
MAX_KEY = 255
EVENT_ID: Document = {
    "type": "string",
    "format": "uuid",
    "description": "Id of the event; unset: the service gives it one. Sent again with its id, an event counts once.",
}
EXAMPLE = {
    "event_type": "player_score",
    "player_id": "player-0001",
    "game_id": "game-01",
    "timestamp": "2026-01-31T12:00:00Z",
    "data": {"score": 100},
}


@cache
def document() -> Document:
    """OpenAPI 3.0, which the page that shows it knows."""
    event = record_schema(PLAYER_EVENT, optional=frozenset({"event_id"}))
    event["properties"]["event_id"] = EVENT_ID
    event["example"] = EXAMPLE
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "lakehouse: players",
            "version": version("lakehouse"),
            "description": "Game events come in; an event is answered when all replicas of its topic have it.",
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
                        JSON: {"type": "array", "items": _ref("Event"), "maxItems": MAX_BATCH},
                        LINES: {"type": "string", "description": "An event a line."},
                    },
                    _ref("Batch"),
                )
            },
            "/healthz": {"get": _question("Say that the service runs")},
            "/readyz": {
                "get": _question("Say whether events can be taken", {"503": _problem("The brokers are away.")})
            },
            "/metrics": {"get": _text_question("Numbers for Prometheus")},
        },
        "components": {"schemas": {"Event": event, "Batch": _batch(), "Problem": _problem_schema()}},
    }


def _taken() -> Document:
    return {"status": {"type": "string", "enum": ["success"]}, "event_id": {"type": "string", "format": "uuid"}}


def _batch() -> Document:
    whole = {"type": "integer", "minimum": 0}
    return {
        "type": "object",
        "required": ["status", "accepted", "event_ids", "refused"],
        "properties": {
            "status": {"type": "string", "enum": ["success", "partial"]},
            "accepted": whole,
            "event_ids": {"type": "array", "items": {"type": "string", "format": "uuid"}},
            "refused": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["index", "reason"],
                    "properties": {
                        "index": whole | {"description": "Its place among those that were sent, from 0."},
                        "reason": {"type": "string"},
                        "field": {"type": "string", "nullable": True},
                    },
                },
            },
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
                "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[!-~]+$"},
                "description": "Gives events without an id the same ids each time the request is sent.",
            }
        ],
        "requestBody": {"required": True, "content": {media: {"schema": schema} for media, schema in bodies.items()}},
        "responses": {
            "200": {"description": "Taken.", "content": {JSON: {"schema": taken}}},
            "400": _problem("The request is broken."),
            "408": _problem("The body did not come in time."),
            "413": _problem("The body is too large."),
            "415": _problem("The body is of another media type."),
            "422": _problem("No event is as it should be."),
            "503": _problem("The brokers did not take the events: send them again."),
        },
    }


def _question(summary: str, more: Document | None = None) -> Document:
    schema = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}
    good = {"description": "It is so.", "content": {JSON: {"schema": schema}}}
    return {"summary": summary, "responses": {"200": good, **(more or {})}}


def _text_question(summary: str) -> Document:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {"summary": summary, "responses": {"200": {"description": "In Prometheus's format.", "content": content}}}


def _problem(description: str) -> Document:
    return {"description": description, "content": {MEDIA_TYPE: {"schema": _ref("Problem")}}}


def _ref(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}


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
