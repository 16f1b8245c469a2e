"""The commands for the services that run until they are told to end."""

import typer

from lakehouse import settings as configuration

serve_app = typer.Typer(
    no_args_is_help=True,
    help="Services of the players, in the foreground; [bold]lakehouse up[/bold] keeps the same ones alive.",
    rich_markup_mode="rich",
)


@serve_app.callback()
def _group() -> None:
    """There is one, so far; without this it would have no name."""


@serve_app.command()
def api() -> None:
    """Take game events by HTTP: POST /api/v1/events and /api/v1/events/batch; /docs tells the rest.

    Listens on loopback only. An event is answered when all replicas of its topic have it. Told to end, it answers what
    is under way first.

    Example: curl -X POST http://127.0.0.1:18000/api/v1/events -H 'Content-Type: application/json' -d '{"event_type":
    "player_score", "player_id": "p1", "game_id": "g1", "timestamp": "2026-01-31T12:00:00Z", "data": {"score": 10}}'
    """
    from lakehouse.api.serve import serve

    serve(configuration.load())
