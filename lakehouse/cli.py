"""The command line: thin commands over functions that live elsewhere. Engines are imported where they are used."""

# Options are read from annotations at run time, so these are no strings here.

import dataclasses
import sys
import uuid
from contextlib import ExitStack
from datetime import UTC, date, datetime
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from lakehouse import settings as settings_module
from lakehouse.errors import FileRefusedError, LakehouseError
from lakehouse.mtg_commands import mtg_app
from lakehouse.naming import CONVERSIONS_DLQ, CONVERSIONS_TOPIC, Domain
from lakehouse.progress import counting
from lakehouse.rawg_commands import rawg_app
from lakehouse.serve_commands import key_app, load_test_app, rebuild_app, serve_app
from lakehouse.settings import LOOPBACK
from lakehouse.stack import commands as stack_commands
from lakehouse.stream_commands import stream_app
from lakehouse.terminal import AsJson, console, print_json
from lakehouse.topic_commands import topic_app

app = typer.Typer(
    name="lakehouse",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""A lakehouse that accounts for every record.

    Start with [bold]lakehouse demo[/bold]: it starts the servers, sends events through Kafka, builds silver and gold
    and proves that nothing was lost. Then [bold]lakehouse status[/bold], [bold]lakehouse audit[/bold].""",
)
dead_letters_app = typer.Typer(
    no_args_is_help=True, help="Records that were refused: which, why, and their exact bytes."
)
ingest_app = typer.Typer(no_args_is_help=True, help="Take files in: CSV, Parquet, JSON Lines.")
backfill_app = typer.Typer(no_args_is_help=True, help="Process days of silver and gold again.")
erase_app = typer.Typer(no_args_is_help=True, help="Erase a person's data, on request.")
produce_app = typer.Typer(no_args_is_help=True, help="Send realistic events to Kafka.")
app.add_typer(mtg_app, name="mtg")
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(backfill_app, name="backfill")
app.add_typer(erase_app, name="erase")
app.add_typer(produce_app, name="produce")
app.add_typer(ingest_app, name="ingest")
app.add_typer(stream_app, name="stream")
app.add_typer(topic_app, name="topics")
app.add_typer(serve_app, name="serve")
app.add_typer(key_app, name="api-key")
app.add_typer(rebuild_app, name="rebuild")
app.add_typer(load_test_app, name="load-test")
app.add_typer(rawg_app, name="rawg")
stack_commands.register(app)

DAY = ["%Y-%m-%d"]
"""How days are given."""

FirstDay = Annotated[
    datetime | None, typer.Option("--from", metavar="DAY", formats=DAY, help="First day, e.g. 2026-01-01.")
]
LastDay = Annotated[datetime | None, typer.Option("--to", metavar="DAY", formats=DAY, help="Last day, included.")]
OneDay = Annotated[datetime | None, typer.Option("--date", metavar="DAY", formats=DAY, help="One day alone.")]
Share = Annotated[float, typer.Option(min=0, max=1, help="Share of the messages, 0 to 1.")]


def main() -> None:
    """Run a command; what a user can act on is one message, not a stack trace."""
    try:
        app()
    # The system's own errors are of a disk, a network or a store that is taken away in the middle of the work.
    except (LakehouseError, OSError) as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]Error:[/bold red] {escape(str(error))}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


@app.command("settings")
def show_settings(as_json: AsJson = False) -> None:
    """Print the effective settings and where each comes from; secrets are masked.

    A setting is taken from the environment (LAKEHOUSE_… or one of its other names), else from .env, else from
    lakehouse.toml, both in the project folder.
    """
    settings = settings_module.load()
    origins = settings_module.origin_of_settings()
    rows = [
        (name, settings_module.shown(settings, name), origins[name], info.description or "")
        for name, info in type(settings).model_fields.items()
    ]
    if as_json:
        print_json({name: {"value": value, "origin": origin} for name, value, origin, _ in rows})
        return
    table = Table("setting", "value", "from", "meaning", title="Effective settings", title_justify="left")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)


Count = Annotated[int, typer.Option(min=1, help="Number of messages, broken and repeated ones included.")]
Rate = Annotated[float | None, typer.Option(min=0.001, help="Messages a second; unset: as fast as it goes.")]
Seed = Annotated[int, typer.Option(help="The same seed makes the same events.")]


def _add_producer(domain: Domain, what: str) -> None:
    """Each domain has the same command, but for what it sends."""

    @produce_app.command(
        str(domain),
        help=f"{what}\n\nExample: lakehouse produce {domain} --count 50000 --malformed 0.01 --duplicate 0.01",
    )
    def produce_events(
        count: Count = 10_000,
        rate: Rate = None,
        late: Share = 0.0,
        duplicate: Share = 0.0,
        malformed: Share = 0.0,
        seed: Seed = 0,
        days: Annotated[
            float | None,
            typer.Option(min=0.001, help="Days over which the events happen, up to now; unset: 1, of grievances 14."),
        ] = None,
    ) -> None:
        from lakehouse.domains.disorder import Shares
        from lakehouse.produce import produce, topic_name

        settings = settings_module.load()
        shares = Shares(late, duplicate, malformed)
        sent = produce(settings, console, domain, count, seed=seed, shares=shares, days=days, rate=rate)
        console.print(f"{sent:,} messages acknowledged by Kafka on topic {topic_name(settings, domain)}")


_add_producer(
    Domain.PGR,
    "Send grievance events: cases of many tenants and wards that are submitted, assigned, resolved, reopened, closed.",
)
_add_producer(
    Domain.CONVERSIONS,
    "Send conversions of the Roman numeral service, by users whose API keys and networks change now and then.",
)
_add_producer(
    Domain.PLAYERS, "Send game events: players of many games who log in, play matches, score, level up and buy."
)


def _add_backfill(domain: Domain, what: str, spanning: str) -> None:
    """Each domain whose tables dbt makes has the same command."""
    text = (
        f"Process the {what} of some days again, by the day (UTC) they happened: silver, and gold that follows.\n\n"
        f"Needed after rows of bronze were mended or the models changed; late events need none, the job {domain}_daily"
        " takes them. All days are one run, the same as a range of days on Dagster's backfill page, and show there."
        f" Whatever follows from these days on others, such as {spanning}, is computed as well. Repeating it is"
        f" harmless.\n\nExamples: lakehouse backfill {domain} --date 2026-01-01;"
        f" lakehouse backfill {domain} --from 2026-01-01 --to 2026-03-31"
    )

    @backfill_app.command(str(domain), help=text)
    def backfill_days(first: FirstDay = None, last: LastDay = None, day: OneDay = None) -> None:
        from lakehouse.job import backfill

        start, end = _span(first, last, day)
        days = (end - start).days + 1
        with counting(console, f"{days:,} days: models and tests", None) as on_step:
            backfill(settings_module.load(), f"{domain}_daily", start, end, on_step=on_step)
        console.print(f"{days:,} days of silver and gold were processed again, and all tests passed")


_add_backfill(Domain.PGR, "grievance events", "the cases that span them")
_add_backfill(Domain.PLAYERS, "players' events", "sessions that go on past midnight and boards of weeks")


@backfill_app.command("mtg")
def backfill_mtg(first: FirstDay = None, last: LastDay = None, day: OneDay = None) -> None:
    """Take builds of MTGJSON again, from their kept downloads, and make silver and gold of what that brings.

    Nothing is downloaded. What bronze knows already is not sent again, so repeating it is harmless; after bronze was
    lost, or a part of a build was refused, it brings what is missing. Days without kept downloads are passed over.

    Examples: lakehouse backfill mtg --date 2026-01-01; lakehouse backfill mtg --from 2026-01-01 --to 2026-01-31
    """
    from lakehouse.job import backfill

    start, end = _span(first, last, day)
    days = (end - start).days + 1
    with counting(console, f"{days:,} days: builds, models and tests", None) as on_step:
        backfill(settings_module.load(), "mtg_daily", start, end, on_step=on_step)
    console.print(f"{days:,} days of builds were taken again, and all tests passed")


@backfill_app.command("conversions")
def backfill_conversions(
    first: FirstDay = None,
    last: LastDay = None,
    day: OneDay = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Share by which the conversions of a day may change, e.g. 0.5 for half.")
    ] = 0.5,
) -> None:
    """Make days (UTC) of silver and gold anew from bronze: on branches, audited there, then for everyone to see.

    Counts against bronze, keys, references, values and the change by day are audited before any table moves. When one
    fails, all stay as they are, and the branches stay to be looked at; gold.backfill_log says what was found. The same
    as a range of days of gold.backfill_log on Dagster's backfill page. Repeating it is harmless.

    Examples: lakehouse backfill conversions --date 2026-01-01;
    lakehouse backfill conversions --from 2026-01-01 --to 2026-03-31
    """
    from lakehouse.domains.conversions.assets import TOLERANCE_TAG
    from lakehouse.job import backfill

    start, end = _span(first, last, day)
    days = (end - start).days + 1
    with console.status(f"{days:,} days: building and auditing on branches"):
        tags = {TOLERANCE_TAG: str(tolerance)}
        backfill(settings_module.load(), "conversions_backfill", start, end, tags)
    console.print(f"{days:,} days of silver and gold were made anew and audited; gold.backfill_log says what changed")


@erase_app.command("user")
def erase_user(
    user_id: Annotated[str, typer.Argument(metavar="ID", help="The user, as in the column user_id.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many rows of which tables tell of it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a user of the conversions: payloads and personal columns, in every table, its history and its files.

    The conversions stay, as those of an anonymous user: rows and dead letters keep their coordinates, every account
    goes on closing, and the audit says how many were erased. Silver and gold are made up to date by the way. The stream
    goes on meanwhile; hourly runs and backfills wait. A run that was ended is completed by repeating it.

    Kafka's topics keep what they hold until it is old enough. The id is written down nowhere but in your shell.

    Example: lakehouse erase user 4711 --dry-run
    """
    from lakehouse.adapters.iceberg.catalog import connect
    from lakehouse.domains.conversions.erasure import find
    from lakehouse.job import run_job

    settings = settings_module.load()
    with console.status("looking for the user"):
        found = find(connect(settings), user_id)
    if not found:
        raise LakehouseError("nothing that was landed tells of this user: it was never seen, or erased before")
    if not dry_run:
        with console.status("erasing"):
            run_job(settings, "conversions_erasure", told=user_id)
    if as_json:
        print_json({"is_dry_run": dry_run, "rows": {str(one.table): one.rows for one in found}})
        return
    title = "What would be erased" if dry_run else "What was erased"
    listing = Table("table", Column("rows", justify="right"), title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for one in found:
        listing.add_row(str(one.table), f"{one.rows:,}" if one.rows else "in its history")
    console.print(listing)
    for topic in (CONVERSIONS_TOPIC, CONVERSIONS_DLQ):
        days = f"{topic.retention_hours / 24:.0f} days"
        console.print(f"The topic {topic.name} keeps what it holds of the user until that is {days} old.")


@ingest_app.command("file")
def ingest_files(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH…", help="CSV, Parquet or JSON Lines, also packed (.gz); or s3://bucket/object."),
    ],
    service: Annotated[str | None, typer.Option(help="Service of records that name none, e.g. PGR.")] = None,
) -> None:
    """Take the records of files in as service events, each file once, whatever its name.

    A record that the contract refuses becomes a dead letter with the file and its row; the rest goes on. A run that was
    ended is completed by repeating it. Exit code 0 only when every file was taken.

    Example: lakehouse ingest file events.csv.gz more.parquet --service PGR
    """
    from lakehouse.adapters.files.local import local_file
    from lakehouse.adapters.iceberg.catalog import connect
    from lakehouse.domains.feeds import FILES
    from lakehouse.ledger import lookup
    from lakehouse.ledger.ingest import ingest_file
    from lakehouse.progress import landing

    settings = settings_module.load()
    catalog = connect(settings)
    is_complete = True
    for given in paths:
        try:
            with ExitStack() as opened:
                with console.status(escape(f"opening {given}")):
                    path = opened.enter_context(local_file(settings, given))
                on_bytes, on_records = opened.enter_context(landing(console, path))
                outcome = ingest_file(
                    catalog,
                    FILES,
                    path,
                    run_id=f"ingest-{uuid.uuid4()}",
                    service=service,
                    on_bytes=on_bytes,
                    on_records=on_records,
                )
        except FileRefusedError as error:
            is_complete = False
            console.print(escape(f"refused: {error}"), style="red", soft_wrap=True)
            continue
        before = ", taken in before; nothing was written" if outcome.is_repeat else ""
        console.print(
            escape(f"{outcome.source}: {outcome.rows:,} rows, {outcome.dead_letters:,} dead letters{before}"),
            soft_wrap=True,
        )
        if outcome.dead_letters:
            letters = lookup.list_dead_letters(catalog, source=outcome.source)
            for row in lookup.count_by_reason(letters):
                console.print(escape(f"  {row['dead_letters']:,} × {row['error_type']}"))
            console.print(escape(f"  lakehouse dead-letters list --source '{outcome.source}'"), soft_wrap=True)
    raise typer.Exit(0 if is_complete else 1)


@app.command("audit")
def audit_command(
    deep: Annotated[bool, typer.Option("--deep", help="Read every file, also what an earlier audit verified.")] = False,
    as_json: AsJson = False,
) -> None:
    """Prove that every record that came in is in a table or among the dead letters, exactly once.

    Exit code 0 only when the account of every source closes. Records that still wait on a topic are shown as in flight.
    """
    from lakehouse.audit import run_audit

    report = run_audit(settings_module.load(), deep=deep)
    if as_json:
        print_json(report.as_json())
    else:
        _print_report(report)
    raise typer.Exit(0 if report.verdict == "complete" else 1)


@app.command("acknowledge-lost")
def acknowledge_lost_command(
    topic: Annotated[str, typer.Argument(help="Name of the topic.")],
    why: Annotated[str, typer.Option(help="Kept in the ledger, with your name and the time.")],
) -> None:
    """Let reading go on past records that Kafka deleted before they were read.

    They are counted as lost, for good. Nothing else moves the ledger over a gap.
    """
    from lakehouse.audit import acknowledge_losses

    losses = acknowledge_losses(settings_module.load(), topic, why=why)
    for loss in losses:
        console.print(escape(f"{topic}[{loss.partition}]: offsets {loss.start} to {loss.end - 1} are counted as lost"))
    if not losses:
        console.print("Nothing is lost.")


@dead_letters_app.command("list")
def list_dead_letters(
    source: Annotated[str | None, typer.Option(help="Only of this topic.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only of this error type, e.g. MISSING_FIELD.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only those refused since this time (UTC).")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows to show; the counts are of all.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Count the dead letters by reason and list the newest."""
    from lakehouse.adapters.iceberg.catalog import connect
    from lakehouse.ledger import lookup

    since = since.replace(tzinfo=UTC) if since and since.tzinfo is None else since
    letters = lookup.list_dead_letters(connect(settings_module.load()), source=source, reason=reason, since=since)
    counts, newest = lookup.count_by_reason(letters), letters.slice(0, limit).to_pylist()
    if as_json:
        print_json({"total": letters.num_rows, "by_reason": counts, "newest": [lookup.as_json(row) for row in newest]})
        return
    if not letters.num_rows:
        console.print("No dead letters.")
        return
    by_reason = Table(
        Column("source", overflow="fold"),
        "reason",
        "dead letters",
        "replayed",
        title=f"{letters.num_rows:,} dead letters",
        box=box.SIMPLE_HEAD,
    )
    for row in counts:
        numbers = (f"{row['dead_letters']:,}", f"{row['replayed']:,}")
        by_reason.add_row(escape(row["source"]), row["error_type"], *numbers)
    console.print(by_reason)
    listing = Table(
        Column("id", overflow="fold"),
        "refused at (UTC)",
        "what is wrong",
        title="The newest",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for row in newest:
        failed_at = f"{row['failed_at']:%Y-%m-%d %H:%M:%S}"
        listing.add_row(row["dead_letter_id"], failed_at, escape(f"{row['error_type']}: {row['error_message']}"))
    console.print(listing)


@dead_letters_app.command("show")
def show_dead_letter(
    dead_letter_id: Annotated[str, typer.Argument(metavar="ID", help="As listed: topic:partition:offset.")],
    as_json: AsJson = False,
    raw: Annotated[bool, typer.Option("--raw", help="Write nothing but the exact bytes of the payload.")] = False,
) -> None:
    """Show one dead letter: its origin, what is wrong with it, and its exact bytes."""
    from lakehouse.adapters.iceberg.catalog import connect
    from lakehouse.ledger import lookup

    catalog = connect(settings_module.load())
    letter = lookup.show_dead_letter(catalog, dead_letter_id)
    tried = lookup.attempts(catalog, dead_letter_id)
    payload = letter["original_payload"]
    if raw:
        sys.stdout.buffer.write(payload or b"")
        return
    if as_json:
        print_json(lookup.as_json(letter) | {"attempts": [lookup.as_json(attempt) for attempt in tried]})
        return
    table = Table.grid(padding=(0, 2))
    for name, value in letter.items():
        table.add_row(f"[bold]{name}[/bold]", escape(_readable(value)))
    for attempt in tried:
        result = f"{attempt['error_type']}: {attempt['error_message']}" if attempt["error_type"] else "became a row"
        table.add_row("[bold]tried again[/bold]", escape(f"{attempt['attempted_at']:%Y-%m-%d %H:%M:%S}: {result}"))
    console.print(table)


@dead_letters_app.command("replay")
def replay_dead_letters_command(
    ids: Annotated[list[str] | None, typer.Option("--id", help="Of this dead letter; may be given again.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only of this error type, e.g. MISSING_FIELD.")] = None,
    source: Annotated[str | None, typer.Option(help="Only of this topic or file.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only those refused since this time (UTC).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would come of it.")] = False,
) -> None:
    """Hold dead letters against today's contract again; those that pass become rows, once, and keep their origin.

    What fails again stays a dead letter; `dead-letters show` lists the attempts.

    Example: lakehouse dead-letters replay --reason INVALID_TIMESTAMP --dry-run
    """
    from lakehouse.audit import replay_dead_letters

    if not (ids or reason or source or since):
        raise LakehouseError("say which: --id, --reason, --source or --since")
    since = since.replace(tzinfo=UTC) if since and since.tzinfo is None else since
    done = replay_dead_letters(
        settings_module.load(), source=source, reason=reason, since=since, ids=ids or (), is_dry_run=dry_run
    )
    for name, found in done:
        would = "would become rows" if dry_run else "became rows"
        before = f", {found.already:,} had been replayed before" if found.already else ""
        erased = f", {found.erased:,} were erased" if found.erased else ""
        text = f"{name}: {found.accepted:,} {would}, {found.refused:,} stay dead letters{before}{erased}"
        console.print(escape(text), soft_wrap=True)
        for row in found.reasons.to_pylist():
            console.print(escape(f"  {row['dead_letters']:,} × {row['error_type']}"))


@app.command("maintain")
def maintain_command(
    tables: Annotated[
        list[str] | None, typer.Argument(metavar="TABLE…", help="As layer.table. Default: all.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put small files together, shorten the tables' histories and remove files that nothing names any more.

    Runs every hour by itself, beside whoever reads and writes; repeating it is harmless. The ledger stays as it is,
    nothing that a reader still needs is removed, and what the removed snapshots said is in bronze.expired_snapshots.
    Thresholds are settings: snapshots_kept, snapshot_retention_hours, small_files_kept, orphan_age_hours.

    Examples: lakehouse maintain --dry-run, lakehouse maintain bronze.service_events_raw
    """
    from lakehouse.adapters.iceberg.catalog import connect
    from lakehouse.maintenance.maintain import maintain, table_named
    from lakehouse.naming import TABLES

    names = [table_named(name) for name in tables] if tables else TABLES
    settings = settings_module.load()
    with console.status("reading the tables' metadata") as status:
        done = maintain(
            settings, connect(settings), names, is_dry_run=dry_run, on_table=lambda name: status.update(str(name))
        )
    if as_json:
        print_json([dataclasses.asdict(upkeep) | {"table": str(upkeep.table)} for upkeep in done])
        return
    title = "What would be done" if dry_run else "What was done"
    listing = Table("table", title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("snapshots", "files", "small files", "MB", "compacted", "expired", "orphan files"):
        listing.add_column(heading, justify="right")
    for upkeep in done:
        before, after = upkeep.before, upkeep.after
        listing.add_row(
            str(upkeep.table),
            *(
                f"{old:,}" if old == new else f"{old:,} → {new:,}"
                for old, new in (
                    (before.snapshots, after.snapshots),
                    (before.files, after.files),
                    (before.small_files, after.small_files),
                    (before.megabytes, after.megabytes),
                )
            ),
            "yes" if upkeep.is_compacted else "",
            f"{upkeep.expired_snapshots:,}",
            f"{upkeep.orphan_files:,} ({upkeep.orphan_megabytes:,} MB)" if upkeep.orphan_files else "0",
        )
    console.print(listing)


@app.command("docs")
def docs_command(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on loopback.")] = 8088,
    build_only: Annotated[bool, typer.Option("--build-only", help="Write the page and print where it is.")] = False,
) -> None:
    """Build the documentation of all models for analysts and show it, until Ctrl-C: tables, columns, tests, lineage."""
    from lakehouse.docs import build_docs, serve_docs

    with console.status("dbt docs generate"):
        folder = build_docs(settings_module.load())
    if build_only:
        console.print(escape(str(folder / "index.html")), soft_wrap=True)
        return
    with serve_docs(folder, port) as server:
        console.print(f"http://{LOOPBACK}:{port}   Ctrl-C ends it")
        server.serve_forever()


@app.command("demo")
def demo_command(
    domains: Annotated[list[Domain] | None, typer.Argument(help="Domains to show; all, if not given.")] = None,
    count: Annotated[int, typer.Option(min=100, help="Number of messages.")] = 30_000,
) -> None:
    """Start everything, send events and broken ones, build silver and gold, and prove that nothing was lost.

    Exit code 0 only when the audit's verdict is complete.
    """
    from lakehouse.demo import run_demo

    raise typer.Exit(0 if run_demo(settings_module.load(), console, count=count, domains=domains or None) else 1)


def _span(first: datetime | None, last: datetime | None, day: datetime | None) -> tuple[date, date]:
    """First and last day that are asked for."""
    if day and not (first or last):
        return day.date(), day.date()
    if first and last and not day:
        return first.date(), last.date()
    raise LakehouseError("which days? --date DAY for one, or --from DAY and --to DAY")


def _print_report(report: Any) -> None:
    from lakehouse.ledger.origin import is_delivery

    always = ("position", "bronze", "dead_letters", "in_flight")
    columns = [
        name
        for name in (
            "first",
            "position",
            "bronze",
            "duplicates",
            "dead_letters",
            "in_flight",
            "replayed",
            "skipped",
            "lost",
            "direct",
        )
        if name in always or any(getattr(account, name) for account in report.accounts)
    ]
    source = Column("source", overflow="fold")
    table = Table(source, *(name.replace("_", " ") for name in columns), "account", box=box.SIMPLE_HEAD)
    # There may be any number of files, and of windows of an API: those whose account closes are one line.
    closed = {"files": [account for account in report.accounts if is_delivery(account.source) and account.closes]}
    for account in report.accounts:
        if account.window is not None and account.closes and not account.in_flight:
            closed.setdefault(f"windows of {account.source}", []).append(account)
    gathered = {id(account) for accounts in closed.values() for account in accounts}
    for account in (account for account in report.accounts if id(account) not in gathered):
        numbers = [f"{getattr(account, name):,}" for name in columns]
        state = "[green]closes[/green]" if account.closes else "[red]does not close[/red]"
        table.add_row(escape(account.name), *numbers, state)
    for what, accounts in closed.items():
        numbers = [
            "" if name in ("first", "position") else f"{sum(getattr(account, name) for account in accounts):,}"
            for name in columns
        ]
        if accounts:
            table.add_row(f"{len(accounts):,} {what}", *numbers, "[green]close[/green]")
    console.print(table)
    for account in report.accounts:
        for gap in account.gaps:
            console.print(f"[red]•[/red] {escape(account.name)}: {escape(gap)}", soft_wrap=True)
        if account.direct:
            console.print(f"{account.direct:,} rows of {account.name} were written by SQL, outside any ledger:")
            for commit in account.written_by[:5] or ["by commits that the table's history no longer holds"]:
                console.print(escape(f"  {commit}"), soft_wrap=True)
    reading = sum(account.in_flight for account in report.accounts if account.window is not None)
    if reading:
        console.print(f"{reading:,} items are left of windows that are being read; giving the command again goes on.")
    if report.in_flight > reading:
        console.print(f"{report.in_flight - reading:,} records wait on their topics; the sensor lands them.")
    if report.erased:
        counts = ", ".join(f"{count:,} of {name}" for name, count in report.erased.items())
        console.print(f"Rows whose personal data was erased on request: {counts}.")
    colour = "green" if report.verdict == "complete" else "red"
    console.print(f"Verdict: [bold {colour}]{report.verdict}[/bold {colour}]")


def _readable(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{value[:2000]!r}" + (f" … {len(value):,} bytes in all, --raw writes them" if len(value) > 2000 else "")
    return "–" if value is None else str(value)


if __name__ == "__main__":
    main()
