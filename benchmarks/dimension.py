"""What it costs to take changed users into a history of many (SCD2), against what is usual for it.

Every contender begins with the same current users, and each round another hundredth of them changes. Ours is Spark's
merge as the product makes it, from what was observed. The peers: a snapshot of dbt's on Trino over a table of all
users, as is usual; the same over the changed users alone; and PyIceberg's `upsert`, which keeps no history, of all
users and of the changed ones; it is ended after a time. Measured is one run over the changes of a round: wall time, and
CPU of its process and of all engines; what fills the sources is not. A round of each comes first, to warm the engines.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from pyspark.sql import functions as sf
from rich.console import Console

from benchmarks import report
from benchmarks.history import cpu_of
from benchmarks.lab import Lab, bars, machine, open_lab
from benchmarks.measure import PROJECT, Sample, medians
from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.adapters.iceberg.history import Mode, Read
from lakehouse.adapters.spark.scd2 import SINCE, build_versions, changes, merge
from lakehouse.adapters.spark.session import kept, open_session
from lakehouse.adapters.spark.workspace import Workspace
from lakehouse.contracts.lineage import AUDIT
from lakehouse.domains.conversions.silver import USERS
from lakehouse.domains.conversions.tables import USER_VERSION
from lakehouse.ledger.built import audited
from lakehouse.naming import Domain, Layer, TableName

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

STEP = 100
"""Of so many users one changes in a round."""
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
OURS, SNAPSHOT, SNAPSHOT_OF_CHANGES = "lakehouse", "snapshot_all", "snapshot_changes"
UPSERT, UPSERT_OF_CHANGES = "upsert_all", "upsert_changes"
TITLES = {
    OURS: "lakehouse: Spark's merge, with history",
    SNAPSHOT: "dbt snapshot on Trino, of all users",
    SNAPSHOT_OF_CHANGES: "dbt snapshot on Trino, of the changed users",
    UPSERT: "PyIceberg upsert of all users, without history",
    UPSERT_OF_CHANGES: "PyIceberg upsert of the changed users, without history",
}
BOUNDS = {SNAPSHOT: 2, UPSERT: 20, UPSERT_OF_CHANGES: 20}
CONTRACT = replace(USER_VERSION, table=TableName(Layer.SILVER, "bench_users", Domain.CONVERSIONS))
SOURCES = {SNAPSHOT: "bench_current", SNAPSHOT_OF_CHANGES: "bench_observed"}
UPSERTS = (UPSERT, UPSERT_OF_CHANGES)
COLUMNS = ("user_id", *USERS.attributes)
NUMBERS = ("seconds", "cpu_seconds", "rows_per_second", "rows_per_cpu_second")
SNAPSHOT_SQL = """{{% snapshot {name} %}}
{{{{ config(unique_key='user_id', strategy='timestamp', updated_at='event_time') }}}}
select user_id, api_key_prefix, client_network, activity_tier, event_time from iceberg.silver.{source}
{{% endsnapshot %}}
"""
PROFILE = """bench:
  target: trino
  outputs:
    trino: {{type: trino, method: none, host: {host}, port: {port}, user: bench, database: iceberg, schema: silver}}
"""


def users(spark: SparkSession, count: int, number: int, *, only_changed: bool = False) -> DataFrame:
    """What was observed of the users last, in the rounds up to one; or what was in that one."""
    ids = spark.range(number, count, STEP) if only_changed else spark.range(count)
    place = sf.pmod("id", sf.lit(STEP))
    seen = ids.withColumn("changed", sf.when(place.between(1, number), place).otherwise(0).cast("int"))
    said = seen.withColumn("said", sf.concat_ws("-", "id", "changed"))
    return said.select(
        sf.md5(sf.col("id").cast("string")).alias("user_id"),
        sf.concat(sf.lit("rn_"), sf.substring(sf.md5("said"), 1, 8)).alias("api_key_prefix"),
        sf.concat(sf.lit("10.0."), sf.pmod(sf.xxhash64("said"), sf.lit(256)), sf.lit(".0/24")).alias("client_network"),
        sf.lit("MEDIUM").alias("activity_tier"),
        (sf.lit(BEGIN) + sf.make_dt_interval(sf.col("changed"))).alias("event_time"),
        sf.lit(0).alias("kafka_partition"),
        sf.col("id").alias("kafka_offset"),
        sf.col("id").cast("string").alias("event_id"),
    )


class House:
    """The tables of all contenders."""

    def __init__(self, lab: Lab, spark: SparkSession, count: int, limit: int) -> None:
        self.lab, self.spark, self.count, self.limit = lab, spark, count, limit
        self.work = Workspace(spark, lab.catalog, "benchmark")
        self.slow: set[str] = set()
        """Contenders that were ended before they were done."""
        ensure_table(lab.catalog, CONTRACT)
        made = self.audited(build_versions(USERS, users(spark, count, 0)))
        made.select(*(column.name for column in CONTRACT.columns)).writeTo(CONTRACT.table.spark).append()
        for name in UPSERTS:
            users(spark, count, 0).select(*COLUMNS).writeTo(f"silver.{name}").using("iceberg").create()
        self.project = lab.folder / "dbt"
        for name, source in SOURCES.items():
            users(spark, count, 0).writeTo(f"silver.{source}").using("iceberg").create()
            (self.project / "snapshots").mkdir(parents=True, exist_ok=True)
            (self.project / "snapshots" / f"{name}.sql").write_text(SNAPSHOT_SQL.format(name=name, source=source))
        (self.project / "dbt_project.yml").write_text('name: bench\nprofile: bench\nversion: "1.0"\n')
        place = {"host": lab.settings.trino_address, "port": lab.settings.trino_port}
        (self.project / "profiles.yml").write_text(PROFILE.format(**place))
        for name in SOURCES:
            self.snapshot(name)

    def change(self, number: int) -> None:
        """A hundredth of the users is observed with other attributes."""
        changed = users(self.spark, self.count, number, only_changed=True)
        changed.writeTo(f"silver.{SOURCES[SNAPSHOT_OF_CHANGES]}").using("iceberg").createOrReplace()
        everyone = users(self.spark, self.count, number)
        everyone.writeTo(f"silver.{SOURCES[SNAPSHOT]}").using("iceberg").createOrReplace()
        for name, frame in ((UPSERT, everyone), (UPSERT_OF_CHANGES, changed)):
            rows = frame.select(*COLUMNS).toArrow()
            with pa.ipc.new_file(self.lab.folder / name, rows.schema) as file:
                file.write_table(rows)

    def contenders(self) -> dict[str, Callable[[], object]]:
        """What takes the changes, by name."""
        snapshots = {name: partial(self.snapshot, name) for name in SOURCES}
        return {OURS: self.merge, **snapshots, **{name: partial(self.upsert, name) for name in UPSERTS}}

    def merge(self) -> None:
        """The product's, as `silver.build_users` does it."""
        with kept(self.spark.table(f"silver.{SOURCES[SNAPSHOT_OF_CHANGES]}")) as observed:
            since = observed.groupBy("user_id").agg(sf.min("event_time").alias(SINCE))
            versions = self.spark.table(CONTRACT.table.spark)
            with changes(USERS, versions, observed, since) as changed, kept(self.audited(changed)) as found:
                found.count()
                merge(CONTRACT.table.spark, found, USERS, [column.name for column in AUDIT])

    def audited(self, frame: DataFrame) -> DataFrame:
        """With the columns of the audit."""
        return audited(frame, self.work, Read(CONTRACT.table, Mode.ALL, None, None))

    def snapshot(self, name: str) -> None:
        """Dbt's."""
        command = [sys.executable, "-m", "dbt.cli.main", "snapshot", "--select", name, "--profiles-dir", "."]
        environment = {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
        done = subprocess.run(  # noqa: S603
            command, cwd=self.project, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"dbt snapshot {name}: {done.stdout[-1500:]}")

    def upsert(self, name: str) -> None:
        """PyIceberg's, in a process that is ended after a time."""
        command = [sys.executable, "-m", "benchmarks.upsert", f"silver.{name}", str(self.lab.folder / name)]
        try:
            environment = self.lab.environment()
            subprocess.run(command, cwd=PROJECT, env=environment, check=True, timeout=self.limit)  # noqa: S603
        except subprocess.TimeoutExpired:
            self.slow.add(name)

    def judge(self) -> dict[str, bool]:
        """Whether the histories are the same row for row, and the current users where there is no history."""
        ours = f"select {', '.join(COLUMNS)}, valid_from, valid_to from ours"
        kept = f"select {', '.join(COLUMNS)}, dbt_valid_from, dbt_valid_to from theirs"
        found = {name: self.is_same(name, ours, kept) for name in SOURCES}
        columns = ", ".join(COLUMNS)
        current = f"select {columns} from ours where is_current"
        for name in (name for name in UPSERTS if name not in self.slow):
            found[name] = self.is_same(name, current, f"select {columns} from theirs")
        return found

    def is_same(self, table: str, ours: str, theirs: str) -> bool:
        """Whether two queries over our table and another give the same rows."""
        with duckdb.connect() as connection:
            connection.register("ours", self.lab.catalog.load_table(CONTRACT.table.identifier).scan().to_arrow())
            connection.register("theirs", self.lab.catalog.load_table(f"silver.{table}").scan().to_arrow())
            both = f"(({ours}) except all ({theirs})) union all (({theirs}) except all ({ours}))"
            row: Any = connection.execute(f"select count(*) from ({both})").fetchone()
        return bool(row[0] == 0)


def run(count: int, rounds: int, limit: int, *, console: Console) -> Sample:
    """The whole benchmark."""
    started = machine()
    with (
        open_lab(console, running=False, servers=("postgres", "kafka", "trino", "spark")) as lab,
        bars(console) as progress,
        open_session(lab.settings) as spark,
    ):
        task = progress.add_task("rounds", total=1 + rounds)
        house = House(lab, spark, count, limit)
        samples: dict[str, list[Sample]] = {name: [] for name in TITLES}
        for number in range(1, 2 + rounds):
            house.change(number)
            for name, take in house.contenders().items():
                if name in house.slow:
                    continue
                began = time.monotonic()
                cpu = cpu_of(lab, take)
                seconds = time.monotonic() - began
                if number > 1 or name in house.slow:
                    samples[name].append(
                        {
                            "seconds": round(seconds, 2),
                            "cpu_seconds": round(cpu, 2),
                            "rows_per_second": round(count / STEP / seconds, 1),
                            "rows_per_cpu_second": round(count / STEP / cpu, 1),
                        }
                    )
                progress.console.print(f"round {number - 1}, {TITLES[name]}: {seconds:.1f} s, {cpu:.1f} CPU s")
            progress.advance(task)
        same = house.judge()
    found = {name: medians(each, NUMBERS) for name, each in samples.items()}
    aims: list[Sample] = []
    for name, bound in BOUNDS.items():
        for measure, unit in (("seconds", "time"), ("cpu_seconds", "CPU time")):
            ratio = round(found[name][measure] / found[OURS][measure], 2)
            at_least = " (ended before it was done: at least)" if name in house.slow else ""
            text = f"≥ {bound} × faster than {TITLES[name]}, {unit}{at_least}"
            aims.append({"aim": text, "measured": ratio, "met": ratio >= bound})
    exact = all(same.values())
    return {
        "benchmark": "dimension",
        "machine": started,
        "method": " ".join((__doc__ or "").split()),
        "scale": f"{count:,} users, {count // STEP:,} changed a round, median of {rounds}.",
        "contenders": {
            name: {
                "title": TITLES[name],
                "median": found[name],
                "exact": same.get(name, exact if name == OURS else False),
                "samples": samples[name],
            }
            for name in TITLES
        },
        "aims": [*aims, {"aim": "all that was done says the same, row for row", "measured": exact, "met": exact}],
    }


def main() -> None:
    """Read the flags, run, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000, help="current users (default: 1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each contender (default: 3)")
    parser.add_argument("--limit", type=int, default=180, help="seconds after which an upsert is ended (default: 180)")
    arguments = parser.parse_args()
    console = Console()
    result = run(arguments.users, arguments.rounds, arguments.limit, console=console)
    report.publish("dimension", result, console)


if __name__ == "__main__":
    main()
