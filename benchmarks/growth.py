"""What one hour of silver and one day of gold of the conversions cost while the history grows.

Two histories, one ten times as long, lie side by side; of each, the same day goes on hour by hour, in turns: an hour
lands in bronze, and Spark takes it into silver and makes the day's gold anew, as the schedules do. The histories are
in a commit and a file a day, as maintenance leaves them, and all of them has been taken before. CPU is that of this
process and of all engines. Hours at the beginning are not counted: the servers are still to become warm.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from pyiceberg.exceptions import NoSuchTableError
from pyspark.sql import SparkSession
from pyspark.sql import functions as sf
from rich.console import Console

from benchmarks import report
from benchmarks.history import cpu_of
from benchmarks.lab import Lab, bars, machine, open_lab
from benchmarks.measure import Sample
from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.adapters.spark.session import open_session
from lakehouse.adapters.spark.workspace import Workspace
from lakehouse.domains.conversions import gold, silver, tables
from lakehouse.domains.conversions.contract import CONVERSION_EVENT
from lakehouse.domains.conversions.source import LARGEST
from lakehouse.naming import CONVERSIONS_TOPIC

LEVELS = (10, 1)
AIM = 1.10
SAMPLES, WARMING = 5, 4
USERS = 500
DAY = datetime(2026, 11, 20, tzinfo=UTC)
MARTS = (tables.DAILY, tables.HOURLY, tables.POPULARITY)
MADE = (tables.CONVERSION, tables.USER_VERSION, tables.USER, tables.HOUR, tables.FACT, *MARTS)


def land(spark: SparkSession, first: datetime, hours: int, events: int) -> None:
    """Append hours of events to bronze, in one commit: users whose key and network change now and then."""
    begin = int((first - DAY).total_seconds()) // 3600 * events
    number, user = sf.col("id"), sf.pmod(sf.xxhash64("id"), sf.lit(USERS))
    at = sf.timestamp_micros(sf.lit(int(DAY.timestamp() * 1e6)) + number * (3_600_000_000 // events))
    era = sf.floor(number / (USERS * 20)) * USERS + user
    asked = sf.pmod(number, sf.lit(LARGEST)) + 1
    values = {
        "event_id": sf.md5(number.cast("string")),
        "event_time": at,
        "event_type": sf.lit("SINGLE"),
        "user_id": sf.when(sf.pmod(number, sf.lit(5)) > 0, user.cast("string")),
        "api_key_prefix": sf.concat(sf.lit("rn_"), sf.substring(sf.md5(era.cast("string")), 1, 8)),
        "client_ip": sf.concat(sf.lit("10.0."), sf.pmod(sf.xxhash64(era), sf.lit(256)), sf.lit(".1")),
        "correlation_id": sf.substring(sf.md5(number.cast("string")), 1, 16),
        "input_number": asked,
        "output_roman": silver.numeral(asked),
        "response_time_nanos": sf.pmod(sf.xxhash64("id"), sf.lit(1_000_000)),
        "status": sf.lit("SUCCESS"),
        "raw_payload": sf.repeat(sf.md5(number.cast("string")), 9),
        "kafka_topic": sf.lit(CONVERSIONS_TOPIC.name),
        "kafka_partition": sf.lit(0),
        "kafka_offset": number,
        "kafka_timestamp": at,
        "is_late_arrival": sf.lit(False),
        "is_beyond_lateness": sf.lit(False),
        "ingested_at": at,
    }
    types = {field.name: field.dataType for field in spark.table(CONVERSION_EVENT.table.spark).schema}
    rows = spark.range(begin, begin + hours * events).select(
        *(values.get(name, sf.lit(None)).cast(type_).alias(name) for name, type_ in types.items())
    )
    rows.writeTo(CONVERSION_EVENT.table.spark).append()


def make_silver(work: Workspace) -> None:
    """As the hourly schedule."""
    silver.build_conversions(work)
    silver.build_users(work)


def make_gold(work: Workspace) -> None:
    """As the daily schedule."""
    for build in (gold.build_dim_user, gold.build_dim_hour, gold.build_fact):
        build(work)
    for mart in MARTS:
        gold.build_mart(work, mart)


def run(days: int, events: int, *, console: Console) -> Sample:
    """The whole benchmark."""
    started = machine()
    parts = {"silver": make_silver, "gold": make_gold}
    found: dict[str, dict[int, list[float]]] = {name: {level: [] for level in LEVELS} for name in parts}
    with (
        open_lab(console, running=False, servers=("postgres", "kafka", "spark")) as lab,
        bars(console) as progress,
    ):
        task = progress.add_task("hours", total=WARMING + SAMPLES)
        for level in LEVELS:
            with in_place(lab, level):
                ensure_table(lab.catalog, CONVERSION_EVENT)
                with open_session(lab.settings) as spark:
                    for day in range(days * level, 0, -1):
                        land(spark, DAY - timedelta(days=day), 24, events)
                for make in parts.values():
                    build(lab, make)()
        for hour in range(WARMING + SAMPLES):
            for level in LEVELS if hour % 2 else LEVELS[::-1]:
                with in_place(lab, level):
                    with open_session(lab.settings) as spark:
                        land(spark, DAY + timedelta(hours=hour), 1, events)
                    cpu = {name: round(cpu_of(lab, build(lab, make)), 2) for name, make in parts.items()}
                    if hour >= WARMING:
                        for name, seconds in cpu.items():
                            found[name][level].append(seconds)
                    progress.console.print(f"hour {hour}, {level} ×: {cpu} CPU s")
            progress.advance(task)
        exact = True
        for level in LEVELS:
            with in_place(lab, level):
                exact = exact and counts(lab, (24 * days * level + WARMING + SAMPLES) * events)
    medians = {name: {str(n): statistics.median(s) for n, s in each.items()} for name, each in found.items()}
    growth = {name: round(each[str(LEVELS[0])] / each["1"], 3) for name, each in medians.items()}
    units = {"silver": "an hour of silver", "gold": "a day of gold"}
    return {
        "benchmark": "growth",
        "machine": started,
        "method": " ".join((__doc__ or "").split()),
        "scale": f"1 × is {days} days of {24 * events:,} events, median of {SAMPLES}.",
        "median_cpu_seconds": medians,
        "samples": found,
        "aims": [
            *(
                {
                    "aim": f"{units[name]} at {LEVELS[0]} × the history costs at most {AIM:g} × the CPU",
                    "measured": ratio,
                    "met": ratio <= AIM,
                }
                for name, ratio in growth.items()
            ),
            {
                "aim": "silver, facts and what is counted from them hold every event once",
                "measured": exact,
                "met": exact,
            },
        ],
    }


def build(lab: Lab, make: Callable[[Workspace], None]) -> Callable[[], None]:
    """A run of one of the schedules, in a session of its own."""

    def work() -> None:
        with open_session(lab.settings) as spark:
            make(Workspace(spark, lab.catalog, "benchmark"))

    return work


@contextmanager
def in_place(lab: Lab, level: int) -> Iterator[None]:
    """Within the block, the tables of one history have their names; before and after, they have others."""
    names = [contract.table.identifier for contract in (CONVERSION_EVENT, *MADE)]
    aside = [(layer, f"{table}_{level}") for layer, table in names]
    for other, name in zip(aside, names, strict=True):
        with suppress(NoSuchTableError):  # at first
            lab.catalog.rename_table(other, name)
    yield
    for name, other in zip(names, aside, strict=True):
        lab.catalog.rename_table(name, other)


def counts(lab: Lab, wanted: int) -> bool:
    """Whether the tables, read by PyIceberg, hold so many different events, and count so many."""
    for contract in (tables.CONVERSION, tables.FACT):
        ids = lab.catalog.load_table(contract.table.identifier).scan(selected_fields=("event_id",)).to_arrow()
        if (ids.num_rows, len(ids["event_id"].unique())) != (wanted, wanted):
            return False
    marts = (lab.catalog.load_table(mart.table.identifier).scan().to_arrow() for mart in MARTS)
    return all(sum(mart["conversions"].to_pylist()) == wanted for mart in marts)


def main() -> None:
    """Read the flags, run, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=3, help="days that are 1 × (default: 3)")
    parser.add_argument("--events", type=int, default=2_000, help="events an hour (default: 2,000)")
    arguments = parser.parse_args()
    console = Console()
    report.publish("growth", run(arguments.days, arguments.events, console=console), console)


if __name__ == "__main__":
    main()
