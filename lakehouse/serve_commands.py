"""The commands for the services that run until they are told to end."""

import dataclasses
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lakehouse import settings as configuration
from lakehouse.api.scope import Scope
from lakehouse.terminal import AsJson, console, print_json

serve_app = typer.Typer(
    no_args_is_help=True,
    help="Services of the players, in the foreground; [bold]lakehouse up[/bold] keeps the same ones alive.",
    rich_markup_mode="rich",
)
rebuild_app = typer.Typer(no_args_is_help=True, help="Make what is served again of the lake.", rich_markup_mode="rich")
load_test_app = typer.Typer(
    no_args_is_help=True, help="Put the services under load, and see what comes of it.", rich_markup_mode="rich"
)
key_app = typer.Typer(
    no_args_is_help=True,
    help="Keys of the HTTP API, which are needed outside loopback, or where LAKEHOUSE_API_KEYS_REQUIRED says so.",
    rich_markup_mode="rich",
)


@key_app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who it is for, to know it again.")],
    scope: Annotated[list[Scope] | None, typer.Option(help="What it allows; can be given twice. Unset: both.")] = None,
) -> None:
    """Make a key. It is shown once; what is kept cannot be turned back into it.

    Example: lakehouse api-key create "game backend" --scope write
    """
    from lakehouse.api.keys import create

    typer.echo(create(configuration.load(), name, tuple(scope or Scope)))


@key_app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """Show all keys by their ids, with what they allow; the keys themselves are nowhere."""
    from lakehouse.api.keys import known

    keys = known(configuration.load())
    if as_json:
        print_json([{n: v for n, v in dataclasses.asdict(key).items() if n != "digest"} for key in keys])
        return
    told = Table("id", "name", "scopes", "created", "revoked", box=None, pad_edge=False)
    for key in keys:
        revoked = f"{key.revoked_at:%Y-%m-%d %H:%M} UTC" if key.revoked_at else ""
        told.add_row(
            key.key_id, escape(key.name), " ".join(key.scopes), f"{key.created_at:%Y-%m-%d %H:%M} UTC", revoked
        )
    console.print(told)


@key_app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="Its id: the part between the two underscores.")]) -> None:
    """Make a key worth nothing; the service knows it seconds later."""
    from lakehouse.api.keys import revoke

    key = revoke(configuration.load(), key_id)
    typer.echo(f"key {key.key_id} ({key.name}) is revoked")


@rebuild_app.callback()
@load_test_app.callback()
def _group() -> None:
    """There is one, so far; without this it would have no name."""


@load_test_app.command()
def events(
    count: Annotated[int, typer.Option(min=1, help="Events to send.")] = 1000,
    rate: Annotated[float, typer.Option(min=0.1, help="Events a second.")] = 100.0,
    url: Annotated[str | None, typer.Option(help="Address of the service; unset: the local one.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same events, but for ids and times.")] = 0,
) -> None:
    """Post game events one by one, then wait until each acknowledged one is in bronze, PostgreSQL and Redis, once.

    The players are new ones, so nobody else's totals change. Exit code 1 when an event was not taken, or is missing.

    Example: lakehouse load-test events --count 5000 --rate 500
    """
    from lakehouse.load_test import send, until_visible
    from lakehouse.progress import counting
    from lakehouse.stack.api import Api

    settings, said = configuration.load(), Console(stderr=True)
    address = (url or Api().address(settings)).rstrip("/")
    with counting(said, f"Posting to {address}", count) as advance:
        load = send(address, count, rate, seed=seed, on_sent=advance)
    milliseconds = {name: 1000 * load.percentile(share) for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))}
    milliseconds["max"] = 1000 * max(load.latencies)
    told = Table("acknowledged", "events/s", *(f"{name} ms" for name in milliseconds), box=None, pad_edge=False)
    told.add_row(
        f"{len(load.acknowledged):,} of {count:,}",
        f"{load.rate:,.1f}",
        *(f"{one:.1f}" for one in milliseconds.values()),
    )
    console.print(told)
    for answer, times in load.refused.most_common(5):
        console.print(f"{times:,} × {answer}", markup=False, style="red")
    with said.status("waiting for the stores …") as status:
        after = until_visible(
            settings, load, on_look=lambda counts: status.update(", ".join(f"{n}: {c:,}" for n, c in counts.items()))
        )
    for store, seconds in after.items():
        if seconds is None:
            console.print(f"[red]✗[/red] {store} has not got all of them; `lakehouse stream status` may say why")
        else:
            console.print(f"[green]✓[/green] {store}: every acknowledged event, once, after {seconds:.1f} s")
    if load.refused or None in after.values():
        raise typer.Exit(1)


@rebuild_app.command()
def redis() -> None:
    """Make Redis again, after it was lost, flushed or replaced by another; the sink goes on afterwards.

    What the lake knows better than PostgreSQL, it learns as well. While it runs, readers see what was there before.

    Example: lakehouse rebuild redis
    """
    from lakehouse.domains.players.rebuild import rebuild

    began = time.monotonic()
    with Console(stderr=True).status("counting what bronze holds, and writing it to Redis …"):
        done = rebuild(configuration.load())
    console.print(
        f"{done.players:,} players and {done.scores:,} scores are in Redis again, {done.from_lake:,} of them newly of "
        f"the lake; took {time.monotonic() - began:.1f} s"
    )


@serve_app.command()
def api() -> None:
    """Take game events by HTTP: POST /api/v1/events and /api/v1/events/batch; /docs tells the rest.

    Listens on loopback, or where LAKEHOUSE_API_HOST says: then every request needs an API key. An event is answered
    when all replicas of its topic have it. Told to end, it answers what is under way first.

    Example: curl -X POST http://127.0.0.1:18000/api/v1/events -H 'Content-Type: application/json' -d '{"event_type":
    "player_score", "player_id": "p1", "game_id": "g1", "timestamp": "2026-01-31T12:00:00Z", "data": {"score": 10}}'
    """
    from lakehouse.api.serve import serve

    serve(configuration.load())


@serve_app.command()
def sink() -> None:
    """Fill PostgreSQL (schema players) and Redis from what Flink lands and counts.

    One at a time; the batch under way is finished when it is told to end, and a killed one is taken again. A store that
    is away is waited for; a Redis that has lost something is made again.

    Example: lakehouse serve sink, then psql -c "select * from players.leaderboards where period = 'daily'"
    """
    import logging
    import signal
    import threading

    from lakehouse.domains.players.serving import serve

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    serve(configuration.load(), stop)
