"""The commands for the always-on jobs, thin over `stream.py`."""

import dataclasses
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lakehouse import settings as configuration
from lakehouse.terminal import console, print_json

stream_app = typer.Typer(
    no_args_is_help=True,
    help="The always-on jobs in Flink: [bold]conversions[/bold], [bold]players[/bold], [bold]player-stats[/bold], "
    "[bold]mtg[/bold].",
    rich_markup_mode="rich",
)

Pipeline = Annotated[str, typer.Argument(help="Name of the pipeline, e.g. conversions.")]


@stream_app.command()
def start(
    pipeline: Pipeline,
    parallelism: Annotated[int, typer.Option(min=1, max=128, help="Subtasks; may differ from before.")] = 1,
    state: Annotated[
        str | None,
        typer.Option("--from", metavar="URI", help="Savepoint or checkpoint to start from; unset: the newest."),
    ] = None,
    accept_repeats: Annotated[
        bool,
        typer.Option("--accept-repeats", help="Let --from be an older one: what was landed since is landed again."),
    ] = False,
) -> None:
    """Start a pipeline where it stopped: from its newest savepoint or complete checkpoint, whichever is newer.

    The first time it reads its topic from the beginning. It never starts empty where rows have been landed: without
    the state it left it would land them again. From now on Dagster brings it back when its job dies or is stuck.

    Example: lakehouse stream start conversions --parallelism 2
    """
    from lakehouse import stream
    from lakehouse.domains.pipelines import pipeline_named

    with Console(stderr=True).status(f"starting {pipeline} …"):
        job = stream.start(
            configuration.load(),
            pipeline_named(pipeline),
            parallelism=parallelism,
            state=state,
            accept_repeats=accept_repeats,
        )
    typer.echo(f"{pipeline} runs as job {job.job_id}")


@stream_app.command()
def stop(pipeline: Pipeline) -> None:
    """Stop a pipeline with a savepoint. All that it had read is landed."""
    from lakehouse import stream
    from lakehouse.domains.pipelines import pipeline_named

    with Console(stderr=True).status(f"stopping {pipeline} …"):
        place = stream.stop(configuration.load(), pipeline_named(pipeline))
    typer.echo(f"{pipeline} is stopped, its savepoint is {place}")


@stream_app.command()
def savepoint(pipeline: Pipeline) -> None:
    """Take a savepoint of a pipeline, which goes on."""
    from lakehouse import stream
    from lakehouse.domains.pipelines import pipeline_named

    typer.echo(stream.savepoint(configuration.load(), pipeline_named(pipeline)))


@stream_app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a pipeline, in a list.")] = False,
) -> None:
    """Show every pipeline: its state, its checkpoints and what is wrong. Exit code 1 where one does not run."""
    from lakehouse import stream
    from lakehouse.domains.pipelines import PIPELINES

    settings = configuration.load()
    found = [stream.status(settings, pipeline) for pipeline in PIPELINES]
    if as_json:
        print_json([dataclasses.asdict(one) for one in found])
    else:
        table = Table(
            *("pipeline", "state", "job", "checkpoints", "failed", "last commit", "lag", "watermark"),
            box=None,
            pad_edge=False,
        )
        for one in found:
            age = one.checkpoint_age_seconds
            numbers = (
                f"{one.checkpoints:,}",
                f"{one.failed_checkpoints:,}",
                "" if age is None else f"{age:.0f} s ago",
                "" if one.lag is None else f"{one.lag:,}",
            )
            watermark = f"{one.watermark:%Y-%m-%d %H:%M:%S} UTC" if one.watermark else ""
            table.add_row(one.pipeline, one.state, one.job_id or "", *numbers, watermark)
        console.print(table)
        for one in found:
            if one.problem:
                console.print(f"{one.pipeline}: {one.problem}", style="red", markup=False, soft_wrap=True)
    if any(one.state != "RUNNING" for one in found):
        raise typer.Exit(1)
