"""The commands for Kafka's topics, thin over `adapters/kafka/topics.py`."""

import base64
import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Column, Table

from lakehouse import settings as configuration
from lakehouse.errors import LakehouseError
from lakehouse.naming import TOPICS, Topic
from lakehouse.terminal import AsJson, console, print_json

if TYPE_CHECKING:
    from lakehouse.adapters.kafka.client import KafkaAdmin, TopicState
    from lakehouse.adapters.kafka.topics import Change, Record

topic_app = typer.Typer(
    no_args_is_help=True,
    help="Kafka's topics: which there are, how they are, what lies on them; and making them as they should be.",
    rich_markup_mode="rich",
)

Name = Annotated[str, typer.Argument(metavar="TOPIC", help="Name of the topic.")]


@topic_app.command("list")
def list_topics(as_json: AsJson = False) -> None:
    """List the lakehouse's topics, and all others that the brokers have."""
    from lakehouse.adapters.kafka.client import describe_topic, open_admin
    from lakehouse.adapters.kafka.topics import describe_all, plan

    admin = open_admin(configuration.load())
    wanted, found = designed(), describe_all(admin)
    differing = {change.topic.name for change in plan(wanted.values(), found)}
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys([*wanted, *found]):
        state = describe_topic(admin, name) if name in found else None
        said = "missing" if name not in found else "differs" if name in differing else "as designed"
        rows.append(
            {
                "topic": name,
                "state": said if name in wanted else "not the lakehouse's",
                "partitions": found[name].partitions if name in found else 0,
                "offsets": sum(bounds.end - bounds.low for bounds in state.partitions.values()) if state else 0,
                "retention_ms": int(found[name].config["retention.ms"]) if name in found else None,
                "cleanup": found[name].config["cleanup.policy"] if name in found else None,
            }
        )
    if as_json:
        print_json(rows)
        return
    table = Table("topic", "partitions", "offsets", "kept for", "cleanup", "", box=box.SIMPLE_HEAD)
    for row in rows:
        numbers = (f"{row['partitions']}", f"{row['offsets']:,}", _duration(row["retention_ms"]))
        table.add_row(escape(str(row["topic"])), *numbers, str(row["cleanup"] or ""), str(row["state"]))
    console.print(table)
    if differing:
        console.print("`lakehouse topics apply` shows what differs, and makes the topics as they should be.")


@topic_app.command()
def show(topic: Name, as_json: AsJson = False) -> None:
    """Show a topic: its partitions with their offsets, its settings, and who writes its key.

    Example: lakehouse topics show roman-numeral-events
    """
    from lakehouse.adapters.kafka.client import open_admin
    from lakehouse.adapters.kafka.topics import read_configs

    admin = open_admin(configuration.load())
    state = _state(admin, topic)
    config = read_configs(admin, [topic])[topic]
    ours = designed().get(topic)
    about = {
        "topic": topic,
        "id": state.topic_id,
        "domain": str(ours.domain) if ours else None,
        "key": ours.key if ours else None,
        "asset": "/".join(ours.asset_key) if ours else None,
        "partitions": {str(id_): {"low": at.low, "end": at.end} for id_, at in state.partitions.items()},
        "settings": dict(sorted(config.items())),
    }
    if as_json:
        print_json(about)
        return
    grid = Table.grid(padding=(0, 2))
    for name in ("topic", "id", "domain", "key", "asset"):
        grid.add_row(f"[bold]{name}[/bold]", escape(str(about[name] or "–")))
    for name in ("retention.ms", "cleanup.policy", "max.message.bytes"):
        grid.add_row(f"[bold]{name}[/bold]", config[name])
    console.print(grid)
    table = Table("partition", "first offset", "end", "offsets", box=box.SIMPLE_HEAD)
    for id_, at in state.partitions.items():
        table.add_row(str(id_), f"{at.low:,}", f"{at.end:,}", f"{at.end - at.low:,}")
    console.print(table)


@topic_app.command()
def read(
    topic: Name,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Records to show.")] = 10,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="PARTITION:OFFSET", help="First record; unset: the newest are shown."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show committed records of a topic: the newest, or those from an offset on. Nothing is moved or committed.

    In JSON a text is given as it is, and bytes that are no UTF-8 in base64, under a name that ends so.

    Examples: lakehouse topics read roman-numeral-events-dlq; lakehouse topics read pgr-events --from 0:100 --limit 1
    """
    from lakehouse.adapters.kafka import topics as kafka_topics
    from lakehouse.adapters.kafka.client import open_admin, open_consumer

    settings = configuration.load()
    state = _state(open_admin(settings), topic)
    place = _place(start, state) if start else None
    consumer = open_consumer(settings)
    try:
        records = kafka_topics.read(consumer, topic, state, limit, start=place)
    finally:
        consumer.close()
    if as_json:
        typer.echo(json.dumps([_as_json(record) for record in records], indent=2, ensure_ascii=False))
        return
    if not records:
        console.print("There are no records.")
        return
    table = Table(
        "at", "time (UTC)", Column("key", overflow="fold"), Column("value", overflow="fold"), box=box.SIMPLE_HEAD
    )
    for record in records:
        headers = "".join(f"\n{name}: {_text(value)}" for name, value in record.headers)
        time_ = f"{record.timestamp:%Y-%m-%d %H:%M:%S.%f}"[:-3]
        table.add_row(
            f"{record.partition}:{record.offset}",
            time_,
            *map(escape, (_text(record.key), _text(record.value) + headers)),
        )
    console.print(table)


@topic_app.command()
def apply(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Create the lakehouse's topics and make them as they should be: the plan first, then, when you agree, the work.

    Nothing is ever deleted or made smaller: a topic with more partitions, or that keeps its records for longer, stays
    so. Where partitions are added, keys go to other partitions than before.
    """
    from lakehouse.adapters.kafka import topics as kafka_topics
    from lakehouse.adapters.kafka.client import open_admin

    admin = open_admin(configuration.load())
    changes = kafka_topics.plan(designed().values(), kafka_topics.describe_all(admin))
    todo = [change for change in changes if not change.is_kept]
    if changes:
        _show_plan(changes)
    if not todo:
        console.print("Every topic is as it should be." if not changes else "Nothing is left to do.")
        return
    if dry_run:
        return
    if not yes and not sys.stdin.isatty():
        raise LakehouseError("nobody is there to agree to this plan: --yes does it without asking")
    if not yes and not typer.confirm("Do this?"):
        raise typer.Exit(1)
    kafka_topics.apply(admin, changes)
    console.print(f"{len(todo)} changes made.")


def designed() -> dict[str, Topic]:
    """The lakehouse's topics by their names, which are those that the settings give them."""
    from lakehouse.domains.feeds import FEEDS

    names = {feed.topic: feed.topic_name for feed in FEEDS}
    topics = (replace(topic, name=names.get(topic, topic.name)) for topic in TOPICS)
    return {topic.name: topic for topic in topics}


def _state(admin: "KafkaAdmin", topic: str) -> "TopicState":
    from lakehouse.adapters.kafka.client import describe_topic

    state = describe_topic(admin, topic)
    if state is None:
        raise LakehouseError(f"there is no topic {topic}; `lakehouse topics list` shows them")
    return state


def _place(text: str, state: "TopicState") -> tuple[int, int]:
    partition, _, offset = text.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise LakehouseError(f"--from {text}: expected a partition and an offset, like 0:100")
    if int(partition) not in state.partitions:
        raise LakehouseError(f"--from {text}: the topic has the partitions 0 to {len(state.partitions) - 1}")
    return int(partition), int(offset)


def _show_plan(changes: Iterable["Change"]) -> None:
    table = Table("topic", "what", "is", "should be", "", box=box.SIMPLE_HEAD)
    for change in changes:
        said = "stays: it is never made smaller" if change.is_kept else "create" if change.found is None else "change"
        table.add_row(escape(change.topic.name), change.what, change.found or "–", change.wanted, said)
    console.print(table)


def _as_json(record: "Record") -> dict[str, Any]:
    about = {"partition": record.partition, "offset": record.offset, "timestamp": record.timestamp.isoformat()}
    headers = [{"name": name, **_plain("value", value)} for name, value in record.headers]
    return about | _plain("key", record.key) | {"headers": headers} | _plain("value", record.value)


def _plain(name: str, value: bytes | None) -> dict[str, str | None]:
    try:
        return {name: None if value is None else value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value or b"").decode()}


def _text(value: bytes | None) -> str:
    if value is None:
        return "–"
    try:
        return value.decode()
    except UnicodeDecodeError:
        return repr(value)


def _duration(milliseconds: int | None) -> str:
    if milliseconds is None:
        return ""
    return "ever" if milliseconds < 0 else str(timedelta(milliseconds=milliseconds)).removesuffix(", 0:00:00")
