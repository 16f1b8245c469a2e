"""What one hour of silver and one day of gold of the conversions cost while the history grows.

At 10 times the history and then at 1, the same day goes on hour by hour: an hour lands in bronze, and Spark takes it
into silver and makes the day's gold anew, as the schedules do. The history lies in a commit and a file a day, as
maintenance leaves it, and all of it has been taken before. CPU is that of this process and of all engines. The larger
history comes first: what the servers are still to learn is paid by it.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from contextlib import suppress
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
SAMPLES, WARMING = 5, 2
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
    found: dict[str, dict[int, list[float]]] = {name: {} for name in parts}
    exact = True
    with (
        open_lab(console, running=False, servers=("postgres", "kafka", "spark")) as lab,
        bars(console) as progress,
    ):
        task = progress.add_task("hours", total=len(LEVELS) * (WARMING + SAMPLES))
        for level in LEVELS:
            forget(lab)
            ensure_table(lab.catalog, CONVERSION_EVENT)
            with open_session(lab.settings) as spark:
                for day in range(days * level, 0, -1):
                    land(spark, DAY - timedelta(days=day), 24, events)
            for make in parts.values():
                build(lab, make)()
            samples: dict[str, list[float]] = {name: [] for name in parts}
            for hour in range(WARMING + SAMPLES):
                with open_session(lab.settings) as spark:
                    land(spark, DAY + timedelta(hours=hour), 1, events)
                for name, make in parts.items():
                    samples[name].append(round(cpu_of(lab, build(lab, make)), 2))
                progress.advance(task)
            for name, each in samples.items():
                found[name][level] = each[WARMING:]
            progress.console.print(f"{level:>3} ×: {samples}")
            wanted = (24 * days * level + WARMING + SAMPLES) * events
            exact = exact and counts(lab, wanted)
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


def forget(lab: Lab) -> None:
    """Drop the tables."""
    for contract in (CONVERSION_EVENT, *MADE):
        with suppress(NoSuchTableError):
            lab.catalog.purge_table(contract.table.identifier)


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
