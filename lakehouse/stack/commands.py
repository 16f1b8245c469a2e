"""The commands for the servers on this machine, thin over the functions that do the work."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lakehouse import settings as configuration
from lakehouse.naming import Domain
from lakehouse.stack import control, doctor, registry, report
from lakehouse.stack.environment import exports, shell_lines
from lakehouse.stack.logs import show_logs
from lakehouse.stack.passwords import choose_security
from lakehouse.terminal import print_json

NAMES = ", ".join(server.name for server in registry.SERVERS)
Servers = Annotated[list[str] | None, typer.Argument(help=f"Servers: {NAMES}. Default: all.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (up, down, status, logs, env):
        app.command()(command)
    app.command("doctor")(examine)


def up(
    servers: Servers = None,
    domains: Annotated[
        list[Domain] | None, typer.Option("--domains", "-d", help="Start only what these domains need; repeatable.")
    ] = None,
    secure: Annotated[
        bool | None,
        typer.Option("--secure/--no-secure", help="Whether Kafka asks for TLS and a password; stays until changed."),
    ] = None,
) -> None:
    """Start the servers on this machine and wait until they answer.

    The first time, software is downloaded and passwords are generated. Servers go on running when the command ends,
    and are restarted when they crash. Running it again is harmless: it repairs what does not run and restarts what
    has other settings now.

    Examples: `lakehouse up`, `lakehouse up kafka trino`, `LAKEHOUSE_TRINO_PORT=28080 lakehouse up`
    """
    if secure is not None:
        choose_security(configuration.load(), is_secure=secure)
    control.up(configuration.load(), servers, domains, Console(stderr=True))


def down(servers: Servers = None) -> None:
    """Stop the servers that `up` started, those that need them first. Data stays.

    Examples: `lakehouse down`, `lakehouse down dagster`
    """
    if not control.down(configuration.load(), servers, Console(stderr=True)):
        typer.echo("nothing was running", err=True)


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a server, in a list.")] = False,
) -> None:
    """Show every server: whether it runs and answers, where, its version and its memory.

    Servers that the settings name elsewhere are asked too. The exit code is 1 when one that should run does not
    answer.
    """
    found = report.status(configuration.load())
    if as_json:
        print_json([dataclasses.asdict(server) for server in found])
    else:
        _show(found)
    if not all(server.is_as_it_should for server in found):
        raise typer.Exit(1)


def logs(
    server: Annotated[str, typer.Argument(help=f"One of: {NAMES}.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing what is added, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
) -> None:
    """Show what a server has written to its log.

    Examples: `lakehouse logs trino`, `lakehouse logs dagster --follow`
    """
    show_logs(configuration.load(), registry.by_name(server), lines, follow, typer.echo)


def env(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of shell lines.")] = False,
) -> None:
    """Print variables that make `dagster`, `dbt` and `psql` work on the running stack. They hold passwords.

    Example: `eval "$(./lake env)"; dagster job launch -j pgr_daily`
    """
    variables = exports(configuration.load())
    typer.echo(json.dumps(variables, indent=2, sort_keys=True) if as_json else shell_lines(variables), nl=as_json)


def examine() -> None:
    """Check whether this machine can run the servers, and say what to do where it cannot.

    Looks at Python, Java, disk, memory, ports, downloads and permissions. The exit code is 1 when something is in
    the way.
    """
    findings = doctor.examine(configuration.load())
    console = Console()
    for finding in findings:
        mark = {True: "[green]ok  [/]", False: "[red]bad [/]"}[finding.is_good]
        console.print(f"{mark} [bold]{finding.subject:<12}[/] ", end="")
        console.print(finding.text, markup=False, highlight=False, soft_wrap=True)
    if not all(finding.is_good for finding in findings):
        raise typer.Exit(1)


def _show(found: list[report.ServerStatus]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("server", "state", "health", "address", "version", "pid"):
        table.add_column(heading)
    table.add_column("RSS MB", justify="right")
    table.add_column("uptime", justify="right")
    for server in found:
        table.add_row(
            server.name,
            server.state,
            "[green]ok[/]" if server.is_healthy else "[red]bad[/]" if server.problem else "–",
            server.address,
            server.version,
            " ".join(map(str, server.pids)),
            f"{server.rss_mb:,}" if server.pids else "",
            _duration(server.uptime_seconds) if server.pids else "",
        )
    # Into a file or a pipe a row stays one line.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    console.print(table)
    console.print(f"{sum(server.rss_mb for server in found):,} MB in all")
    for server in found:
        if server.problem:
            advice = "" if server.state == "external" else " – `lakehouse up` repairs, `lakehouse logs` says more"
            console.print(f"{server.name}: {server.problem}{advice}", style="red", markup=False, soft_wrap=True)


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours} h {rest // 60:02} min" if hours else f"{rest // 60} min {rest % 60:02} s"
