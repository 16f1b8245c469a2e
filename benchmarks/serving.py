"""What the serving sink takes into PostgreSQL and Redis in a second, against consumers that count by themselves.

The events are of 20,000 players in 50 games, half of them scores, each player as busy as another. They lie in Kafka
before a round, as Flink writes them, and so do the totals and scores that it counts: after each 20,000 events, as many
as one of its batches of a second takes at most, those that changed. The sink takes the events and all of these; its
peers take the events alone, from topics of their own with the first of them, because they are slower, and count; the
boards that (a) writes anew hold few players therefore, which is cheap for it. Rates are events a second. A round is a
process and empty stores, from when imports are done to the last commit; rounds take turns. CPU is that of the process
and of Kafka, PostgreSQL and Redis. Exact means: totals and boards of both stores are those of a recount in plain
Python.

While the sink is at work in one more round, boards are read by HTTP at a rate whose moments are fixed beforehand. For
the rebuild, bronze holds an event of each of so many players, half of them with scores; PostgreSQL is filled by a first
rebuild, then Redis is emptied, and the command runs again: that is measured, from its start to its end.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa
from rich.console import Console
from rich.progress import Progress

from benchmarks import report
from benchmarks.http_load import BOARD
from benchmarks.lab import Lab, bars, machine, open_lab
from benchmarks.measure import PROJECT, Sample, medians, run_child
from benchmarks.players import events
from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.adapters.kafka.client import ensure_topic
from lakehouse.adapters.kafka.produce import send
from lakehouse.domains.players.boards import Period, begin_of
from lakehouse.domains.players.cache import Score, Totals
from lakehouse.domains.players.contract import PLAYER_EVENT
from lakehouse.domains.players.schema import ensure_schema
from lakehouse.domains.players.serving import EVENT
from lakehouse.domains.players.statistics import PIPELINE
from lakehouse.naming import GAME_LEADERBOARDS, PLAYER_EVENTS_PROCESSED, PLAYER_EVENTS_TOPIC, PLAYER_STATISTICS, Topic
from lakehouse_tests.stores import Event, Stores, count_scores, count_totals

SERVERS = ("postgres", "kafka", "redis", "api")
MINI_BATCH = int(PIPELINE.settings["table.exec.mini-batch.size"])
"""Events."""
READS_PER_SECOND, READ_SECONDS, READERS = 200, 20, 16
READ_P99_MS, REBUILD_SECONDS = 5.0, 30.0
OURS, USUAL, TUNED = "lakehouse", "usual", "tuned"
NUMBERS = ("rows_per_second", "rows_per_cpu_second", "seconds", "cpu_seconds", "peak_mb")
Message = tuple[bytes, bytes]


@dataclass(frozen=True)
class Contender:
    """Whom, and on what."""

    name: str
    title: str
    topic: str
    count: int
    bound: float = 0.0
    """How many times as much ours is to take."""

    @property
    def arguments(self) -> list[str]:
        """The process under measurement."""
        if self.name == OURS:
            return ["benchmarks.serving_worker"]
        return ["benchmarks.serving_peers", self.name, self.topic, str(self.count)]


def processed(told: Sequence[Event]) -> Iterator[Message]:
    """Messages of `player.events.processed`."""
    chance = random.Random(0)  # noqa: S311
    for number, (player, game, kind, at, score) in enumerate(told):
        event_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        data = "{}" if score is None else f'{{"score":{score}}}'
        row = (event_id, at, kind, player, game, data, score, number % 3, number // 3)
        yield player.encode(), msgspec.json.encode(dict(zip(EVENT.names, row, strict=True)))


def counted(told: Sequence[Event]) -> Iterator[tuple[Topic, Message]]:
    """What the job that counts says of the events: after each of its batches, what has changed."""
    kinds: dict[str, Counter[str]] = {}
    times: dict[str, list[datetime]] = {}
    boards: dict[tuple[Any, ...], list[int]] = {}
    for first in range(0, len(told), MINI_BATCH):
        players, places = set(), set()
        for player, game, kind, at, score in told[first : first + MINI_BATCH]:
            kinds.setdefault(player, Counter())[kind] += 1
            times.setdefault(player, [at, at])[1] = at
            players.add(player)
            for period in Period if score is not None else ():
                place = (game, period, begin_of(period, at.date()), player)
                held = boards.setdefault(place, [0, 0])
                held[0] += score or 0
                held[1] += 1
                places.add(place)
        for player in players:
            count = kinds[player].total()
            totals = Totals(player, count, dict(kinds[player]), times[player][0], times[player][1], count)
            yield PLAYER_STATISTICS, (player.encode(), msgspec.json.encode(totals))
        for place in places:
            key = msgspec.json.encode(dict(zip(GAME_LEADERBOARDS.key.split(", "), place, strict=True)))
            yield GAME_LEADERBOARDS, (key, msgspec.json.encode(Score(*place, *boards[place])))


def fill(lab: Lab, told: Sequence[Event], contenders: Sequence[Contender], progress: Progress) -> dict[str, int]:
    """Send everything; returns how many messages each topic has."""
    waiting = {contender.topic: list(processed(told[: contender.count])) for contender in contenders}
    for topic, message in counted(told):
        waiting.setdefault(topic.name, []).append(message)
    task = progress.add_task("filling topics", total=sum(map(len, waiting.values())))
    for name, messages in waiting.items():
        send(lab.settings, name, messages)
        progress.advance(task, len(messages))
    progress.remove_task(task)
    return {name: len(messages) for name, messages in waiting.items()}


def empty(lab: Lab, stores: Stores) -> None:
    """Nothing is served."""
    stores.sql("drop schema if exists players cascade")
    stores.redis.flushall()
    ensure_schema(lab.settings)


def verdict(stores: Stores, told: Sequence[Event]) -> Sample:
    """Whether both stores say what a recount says."""
    try:
        stores.check_totals(count_totals(told))
        stores.check_boards(count_scores(told))
    except AssertionError as error:
        return {"exact": False, "told": str(error)[:500]}
    return {"exact": taken(stores) == len(told)}


def measure(
    lab: Lab, stores: Stores, contender: Contender, told: Sequence[Event], title: str, progress: Progress
) -> Sample:
    """One contender, empty stores, one verdict."""
    empty(lab, stores)
    task = progress.add_task(title, total=contender.count)
    sample = run_child(lab, contender.arguments, lambda rows: progress.update(task, completed=rows))
    progress.remove_task(task)
    sample["verdict"] = verdict(stores, told[: contender.count])
    progress.console.print(
        f"{title}: {sample['rows_per_second']:,.0f} events/s, {sample['rows_per_cpu_second']:,.0f} events/CPU s, "
        f"{'exact' if sample['verdict']['exact'] else sample['verdict']}"
    )
    return sample


def read_under_load(lab: Lab, stores: Stores, count: int, progress: Progress) -> Sample:
    """Ask for boards while the sink is at work."""
    empty(lab, stores)
    command = [sys.executable, "-m", "lakehouse.cli", "serve", "sink"]
    with subprocess.Popen(command, cwd=PROJECT, env=lab.environment(), stderr=subprocess.DEVNULL) as sink:  # noqa: S603
        while not taken(stores) and sink.poll() is None:
            time.sleep(0.1)
        what = [lab.settings.api_port, BOARD, READERS, READ_SECONDS, lab.folder / BOARD, "--rate", READS_PER_SECOND]
        sample = run_child(lab, ["benchmarks.http_load", *map(str, what)])
        found = {name: sample[name] for name in ("rows", "failed", "p50_ms", "p99_ms", "max_ms")}
        found["was_at_work"] = sink.poll() is None and taken(stores) < count
        sink.terminate()
    progress.console.print(f"boards read while the sink is at work: {found}")
    return found


def taken(stores: Stores) -> int:
    """Events that PostgreSQL has."""
    ((count,),) = stores.sql("select count(*) from players.events")
    return int(count)


def rebuild(lab: Lab, stores: Stores, players: int, progress: Progress) -> Sample:
    """Bronze with so many players, and `lakehouse rebuild redis` with PostgreSQL empty, then with Redis empty."""
    told = list(events(players, seed=2, players=players))
    bronze(lab, told)
    empty(lab, stores)
    samples: Sample = {"players": players}
    for state in ("postgres_empty", "redis_empty"):
        stores.redis.flushall()
        before, began = lab.engines(), time.monotonic()
        command = [sys.executable, "-m", "lakehouse.cli", "rebuild", "redis"]
        subprocess.run(command, cwd=PROJECT, env=lab.environment(), check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        seconds, after = time.monotonic() - began, lab.engines()
        cpu = {name: round(after[name] - before[name], 2) for name in after}
        samples[state] = {"seconds": round(seconds, 2), "cpu": cpu}
        progress.console.print(f"rebuild of {players:,} players, {state}: {samples[state]}")
    held = sum(1 for _ in stores.redis.scan_iter("player_stats:*", count=10_000))
    samples["exact"] = held == players and stores.has_scores(count_scores(told))
    return samples


def bronze(lab: Lab, told: Sequence[Event]) -> None:
    """Append the events, as the stream would have landed them."""
    chance = random.Random(3)  # noqa: S311
    ensure_table(lab.catalog, PLAYER_EVENT)
    table = lab.catalog.load_table(PLAYER_EVENT.table.identifier)
    schema, count = table.schema().as_arrow(), len(told)
    players, games, kinds, times, scores = zip(*told, strict=True)
    columns: dict[str, Any] = {
        "event_id": [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in told],
        **{"event_time": times, "event_type": kinds, "player_id": players, "game_id": games, "score": scores},
        "kafka_topic": [PLAYER_EVENTS_TOPIC.name] * count,
        "kafka_partition": [0] * count,
        "kafka_offset": range(count),
        **dict.fromkeys(("kafka_timestamp", "ingested_at"), times),
    }
    rows = [pa.array(columns.get(field.name, [None] * count), field.type) for field in schema]
    table.append(pa.table(rows, schema=schema))


def run(count: int, short: int, sample: int, players: int, rounds: int, *, console: Console) -> Sample:
    """The whole benchmark."""
    started = machine()
    with open_lab(console, running=False, servers=SERVERS) as lab, bars(console) as progress:
        contenders = (
            Contender(OURS, "lakehouse: totals and scores of Flink", PLAYER_EVENTS_PROCESSED.name, count),
            Contender(USUAL, "(a) a connection an event, a statement each", lab.topic("bench-usual"), sample, 150),
            Contender(TUNED, "(b) 1,000 events a transaction", lab.topic("bench-tuned"), short, 1.5),
        )
        for contender in contenders[1:]:
            ensure_topic(lab.admin, replace(PLAYER_EVENTS_PROCESSED, name=contender.topic))
        told = list(events(count, seed=1))
        messages = fill(lab, told, contenders, progress)
        samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
        with closing(Stores(lab.settings)) as stores:
            for number in range(1, rounds + 1):
                for contender in contenders:
                    title = f"round {number}, {contender.title}"
                    samples[contender.name].append(measure(lab, stores, contender, told, title, progress))
            reads = read_under_load(lab, stores, count, progress)
            rebuilt = rebuild(lab, stores, players, progress)
    told_of = messages[PLAYER_STATISTICS.name], messages[GAME_LEADERBOARDS.name]
    return {
        "benchmark": "serving",
        "machine": started,
        "method": " ".join((__doc__ or "").split()),
        "scale": f"{count:,} events ({sample:,} for (a), {short:,} for (b)), {told_of[0]:,} totals and {told_of[1]:,} "
        f"scores, median of {rounds}; a rebuild of {players:,} players where PostgreSQL is empty, too: "
        f"{rebuilt['postgres_empty']['seconds']:g} s.",
        "messages": messages,
        "contenders": {
            contender.name: {
                "title": contender.title,
                "median": medians(samples[contender.name], NUMBERS),
                "exact": all(found["verdict"]["exact"] for found in samples[contender.name]),
                "samples": samples[contender.name],
            }
            for contender in contenders
        },
        "reads": reads,
        "rebuild": rebuilt,
        "aims": judge_aims(contenders, samples, reads, rebuilt),
    }


def judge_aims(
    contenders: Sequence[Contender], samples: Mapping[str, list[Sample]], reads: Sample, rebuilt: Sample
) -> list[Sample]:
    """Each aim, what was measured and whether it is met."""
    median = {name: medians(found, NUMBERS) for name, found in samples.items()}
    aims: list[Sample] = []
    for peer in contenders[1:]:
        units = {"rows_per_second": "events per second", "rows_per_cpu_second": "events per CPU second"}
        for number, unit in units.items():
            ratio = round(median[OURS][number] / median[peer.name][number], 2)
            aims.append(
                {"aim": f"≥ {peer.bound:g} × {peer.title}, {unit}", "measured": ratio, "met": ratio >= peer.bound}
            )
    exact = all(found["verdict"]["exact"] for found in samples[OURS])
    aims.append({"aim": "totals and boards are exact in both stores", "measured": exact, "met": exact})
    p99, seconds = reads["p99_ms"], rebuilt["redis_empty"]["seconds"]
    text = f"a board read while the sink is at work, {READS_PER_SECOND} a second: p99 below {READ_P99_MS:g} ms"
    is_met = p99 < READ_P99_MS and reads["was_at_work"] and not reads["failed"]
    aims.append({"aim": text, "measured": p99, "met": is_met})
    text = f"rebuild redis with {rebuilt['players']:,} players in less than {REBUILD_SECONDS:g} s"
    aims.append({"aim": text, "measured": seconds, "met": seconds < REBUILD_SECONDS and rebuilt["exact"]})
    return aims


def main() -> None:
    """Read the flags, run, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="for the sink (default: 1,000,000)")
    parser.add_argument("--short", type=int, default=200_000, help="events for (b) (default: 200,000)")
    parser.add_argument("--sample", type=int, default=2_000, help="events for (a) (default: 2,000)")
    parser.add_argument("--players", type=int, default=1_000_000, help="in the rebuild (default: 1,000,000)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of each contender (default: 2)")
    parser.add_argument("--name", default="serving", help="name of the result file (default: serving)")
    arguments = parser.parse_args()
    console = Console()
    counts = (arguments.events, arguments.short, arguments.sample, arguments.players, arguments.rounds)
    report.publish(arguments.name, run(*counts, console=console), console)


if __name__ == "__main__":
    main()
