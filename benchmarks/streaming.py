"""What the always-on job lands in a second, and what that costs, against the same job made otherwise.

The events lie in Kafka before a job starts. Each contender lands them in an empty table, exactly once, at parallelism
1 with a checkpoint every 10 s; ours is started as the product starts it. The clock runs from when the job runs until
all that was read is committed: when the source has read the last event, one more checkpoint is asked for, so that no
contender waits for the clock. CPU is that of all engines. A warm-up of each comes first; then they take turns.

The parser in Python and `JSON_VALUE` for each field land fewer events. The limit is a job that lands keys and values as
they are. Spark lands in micro-batches, with its state in RocksDB; it keeps neither repeats nor refused records, and
parses less strictly; the clock runs until all that is there is processed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

from pyiceberg.exceptions import NoSuchTableError
from rich.console import Console
from rich.progress import Progress

from benchmarks import report, stream_peers
from benchmarks.conversions import Stream, produce
from benchmarks.lab import Lab, bars, configured, machine, open_lab
from benchmarks.measure import Sample, ask_judge, medians
from lakehouse import stream as product
from lakehouse.adapters.flink.cluster import FlinkCluster, Job
from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.adapters.iceberg.history import said
from lakehouse.adapters.kafka.client import ensure_topic, move_group, open_admin
from lakehouse.adapters.spark.session import open_session
from lakehouse.contracts.duplicate import DUPLICATE
from lakehouse.domains.conversions.contract import CONVERSION_EVENT
from lakehouse.naming import CONVERSIONS_DLQ, FLINK_GROUP_ID, Domain, Layer, TableName
from lakehouse.stack import flink, jvm, spark
from lakehouse.stack.artifacts import fetch, read_lock, repository
from lakehouse.stack.flink import Flink
from lakehouse.stack.spark import Spark
from lakehouse.streaming.landing import Landing
from lakehouse.streaming.statements import Source, job_settings

HERE = Path(__file__).resolve().parent
SERVERS = ("postgres", "kafka", "flink", "spark")
CHECKPOINT_SECONDS = 10
PYFLINK = "apache-flink==2.3.0"
LONGEST_SECONDS = 900
NUMBERS = ("seconds", "cpu_seconds", "rows_per_second", "rows_per_cpu_second", "cpu_seconds_per_million")


@dataclass(frozen=True)
class Contender:
    """Whom, and on what."""

    name: str
    title: str
    is_short: bool = False
    """Whether it lands the shorter topic."""


OURS, PYTHON, IDENTITY, SPARK, JSON_VALUE = "lakehouse", "python", "identity", "spark", "json_value"
CONTENDERS = (
    Contender(OURS, "lakehouse: parsed once, repeats, refused records"),
    Contender(PYTHON, "(a) the same with a parser in Python", is_short=True),
    Contender(IDENTITY, "(b) Flink, bytes as they are: the limit"),
    Contender(SPARK, "(c) Spark Structured Streaming"),
    Contender(JSON_VALUE, "(d) the same with JSON_VALUE for each field", is_short=True),
)


class Round:
    """One contender, one empty table."""

    def __init__(self, lab: Lab, contender: Contender, events: Stream, number: int, pyflink: Path) -> None:
        self.lab, self.contender, self.events, self.pyflink = lab, contender, events, pyflink
        self.name = f"{contender.name}_{number}"
        table = TableName(Layer.BRONZE, self.name, Domain.CONVERSIONS)
        queue = replace(CONVERSIONS_DLQ, name=f"{self.name}-refused")
        source = Source(replace(CONVERSION_EVENT, table=table), events.topic)
        self.pipeline = Landing(self.name, (source,), refused=queue)
        self.cluster = FlinkCluster(lab.settings.flink_address)

    def run(self) -> Sample:
        """Land, judge, forget."""
        for contract in () if self.contender.name == IDENTITY else (self.pipeline.contract, DUPLICATE):
            ensure_table(self.lab.catalog, contract)
        try:
            sample = self.by_spark() if self.contender.name == SPARK else self.by_flink()
            sample["verdict"] = self.judge()
        finally:
            for table in (self.pipeline.contract.table, DUPLICATE.table):
                with suppress(NoSuchTableError):
                    self.lab.catalog.purge_table(table.identifier)
        total = sum(sample["cpu"].values())
        return sample | {
            "rows": self.events.count,
            "cpu_seconds": round(total, 2),
            "rows_per_second": round(self.events.count / sample["seconds"], 1),
            "rows_per_cpu_second": round(self.events.count / total, 1),
            "cpu_seconds_per_million": round(1e6 * total / self.events.count, 2),
        }

    def by_flink(self) -> Sample:
        """Start the job, and wait until it has landed everything."""
        job = self.start()
        try:
            with self.measured() as sample:
                self.until(lambda: self.read(job) >= self.events.count)
                before = self.cluster.checkpoints(job).completed
                self.cluster._ask("POST", f"/jobs/{job.job_id}/checkpoints", {})
                self.until(lambda: self.cluster.checkpoints(job).completed > before)
                self.until(self.is_landed)
            found = self.cluster._ask("GET", f"/jobs/{job.job_id}/checkpoints")["latest"]["completed"]
            sample["state_mb"] = round(found["state_size"] / 1e6, 2)
        finally:
            if self.cluster.alive(job.name):
                self.cluster.cancel(job)
                self.until(lambda: self.cluster.alive(job.name) is None)
        return sample

    def by_spark(self) -> Sample:
        """Start the query, and wait until it has landed everything."""
        contract, settings = self.pipeline.contract, self.lab.settings
        checkpoints = self.lab.folder / self.name
        with open_session(settings) as session, self.measured() as sample:
            query = stream_peers.spark(session, settings.kafka_brokers, self.events.topic.name, contract, checkpoints)
            query.processAllAvailable()
            query.stop()
        return sample

    def start(self) -> Job:
        """The job, which runs then."""
        lab, pipeline = self.lab, self.pipeline
        if self.contender.name == OURS:
            return product.start(lab.settings, pipeline)
        admin = open_admin(lab.settings)
        ensure_topic(admin, pipeline.refused)
        move_group(admin, FLINK_GROUP_ID, pipeline.topic.name, dict.fromkeys(range(pipeline.topic.partitions), 0))
        chosen = job_settings(
            pipeline,
            parallelism=1,
            checkpoint_seconds=CHECKPOINT_SECONDS,
            restart_seconds=lab.settings.stream_restart_sec,
            checkpoints=(lab.folder / self.name).as_uri(),
        )
        if self.contender.name == PYTHON:
            interpreter = str(self.pyflink / "bin" / "python")
            chosen |= {"python.executable": interpreter, "python.client.executable": interpreter}
            chosen["python.files"] = str(HERE / "python_parser.py")
        write = getattr(stream_peers, self.contender.name)
        texts = write(pipeline, product._catalog_options(lab.settings), product._kafka_options(lab.settings))
        flink.submit(lab.settings, chosen, texts)
        return product._running(self.cluster, pipeline)

    @contextmanager
    def measured(self) -> Iterator[Sample]:
        """Wall time, and CPU of the engines."""
        sample: Sample = {}
        before, began = self.lab.engines(), time.monotonic()
        yield sample
        sample["seconds"] = round(time.monotonic() - began, 2)
        after = self.lab.engines()
        sample["cpu"] = {name: round(after[name] - before[name], 2) for name in after}

    def read(self, job: Job) -> float:
        """Records that the source has read, by Flink's own count. Raises `RuntimeError` where the job has ended."""
        vertices = self.cluster._ask("GET", f"/jobs/{job.job_id}")["vertices"]
        if self.cluster.alive(job.name) is None:
            raise RuntimeError(f"{self.name}: {self.cluster.failure(job)}")
        return float(vertices[0]["metrics"]["read-records"]) if vertices else 0.0

    def is_landed(self) -> bool:
        """Whether as many rows are committed as there must be."""
        counts = self.events.counts
        wanted = self.events.count if self.contender.name == IDENTITY else counts["ids"]
        return self.rows(self.pipeline.contract.table) >= wanted and (
            self.contender.name == IDENTITY or self.rows(DUPLICATE.table) >= counts["repeats"]
        )

    def rows(self, table: TableName) -> int:
        """Rows of a table, as its newest commit says."""
        snapshot = self.lab.catalog.load_table(table.identifier).current_snapshot()
        return int(said(snapshot)["total-records"]) if snapshot else 0

    def judge(self) -> Sample:
        """Whether every event is where it must be, once."""
        if self.contender.name == IDENTITY:  # it has no ids
            return {"exact": self.rows(self.pipeline.contract.table) == self.events.count}
        events, more = self.events, ["--topic", self.events.topic.name, "--repeats", str(self.events.repeats)]
        more += ["--queue", self.pipeline.refused.name, "--broken", str(events.broken)]
        return ask_judge(self.lab, self.name, events.ids, *([] if self.contender.name == SPARK else more))

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait."""
        deadline = time.monotonic() + LONGEST_SECONDS
        while not is_so():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}: not done after {LONGEST_SECONDS} s")
            time.sleep(0.2)


def run(
    events: int, short: int, rounds: int, *, only: list[str] | None, pyflink: Path | None, console: Console
) -> Sample:
    """The whole benchmark."""
    chosen = [contender for contender in CONTENDERS if not only or contender.name in only]
    started = machine()
    with (
        adjusted(pyflink, console) as environment,
        open_lab(console, running=False, servers=SERVERS, checkpoint_sec=CHECKPOINT_SECONDS) as lab,
        bars(console) as progress,
    ):
        full, few = (_produce(lab, name, count, progress) for name, count in (("full", events), ("short", short)))
        samples: dict[str, list[Sample]] = {contender.name: [] for contender in chosen}
        task = progress.add_task("rounds", total=(1 + rounds) * len(chosen))
        for number in range(1 + rounds):
            for contender in chosen:
                topic = few if contender.is_short or not number else full
                sample = Round(lab, contender, topic, number, environment).run()
                progress.console.print(
                    f"{f'round {number}' if number else 'warm-up'}, {contender.title}: "
                    f"{sample['rows_per_second']:,.0f} events/s, "
                    f"{sample['cpu_seconds_per_million']:.1f} CPU s a million, "
                    f"{'exact' if sample['verdict']['exact'] else sample['verdict']}"
                )
                if number:
                    samples[contender.name].append(sample)
                progress.advance(task)
    return {
        "benchmark": "streaming",
        "machine": started,
        "method": " ".join((__doc__ or "").split()),
        "scale": f"{events:,} events of {full.mean_bytes:.0f} bytes ({short:,} for (a) and (d)), "
        f"{full.counts['repeats']:,} repeated and {full.counts['broken']:,} malformed, parallelism 1, "
        f"median of {rounds}; state of ours at the end {samples[OURS][-1]['state_mb'] if OURS in samples else 0} MB.",
        "contenders": {
            contender.name: {
                "title": contender.title,
                "median": medians(samples[contender.name], NUMBERS),
                "exact": all(sample["verdict"]["exact"] for sample in samples[contender.name]),
                "samples": samples[contender.name],
            }
            for contender in chosen
        },
        "aims": judge_aims(samples),
    }


def judge_aims(samples: Mapping[str, list[Sample]]) -> list[Sample]:
    """Each aim, what was measured and whether it is met."""
    rates = {name: medians(found, NUMBERS) for name, found in samples.items()}
    aims: list[Sample] = []
    for peer, bound, text in (
        (PYTHON, 5, "≥ 5 × a parser in Python"),
        (IDENTITY, 0.6, "≥ 0.6 × the limit, bytes as they are"),
        (SPARK, 1, "ahead of Spark Structured Streaming"),
        (JSON_VALUE, 3, "≥ 3 × JSON_VALUE for each field"),
    ):
        for number in ("rows_per_second", "rows_per_cpu_second") if peer in rates and OURS in rates else ():
            ratio = round(rates[OURS][number] / rates[peer][number], 2)
            unit = {"rows_per_second": "events per second", "rows_per_cpu_second": "events per CPU second"}[number]
            aims.append({"aim": f"{text}, {unit}", "measured": ratio, "met": ratio >= bound})
    exact = all(sample["verdict"]["exact"] for sample in samples.get(OURS, []))
    aims.append({"aim": "every event is where it must be, once", "measured": exact, "met": exact})
    return aims


@contextmanager
def adjusted(pyflink: Path | None, console: Console) -> Iterator[Path]:
    """Within the block, servers start with what the peers need; gives the environment with PyFlink.

    Flink gets the jar of its Python and memory for it, and says at once how much was read; Spark gets its source for
    Kafka.
    """
    with tempfile.TemporaryDirectory(prefix="bench-pyflink-") as folder:
        environment = pyflink or _install(Path(folder))
        jar = next(environment.glob("lib/python*/site-packages/pyflink/opt/flink-python-*.jar"))
        needed = read_lock((HERE / "artifacts.lock").read_text())["spark"]
        fetch(needed, console)
        kafka = [repository() / artifact.path for artifact in needed]

        def for_all(text: str) -> str:
            more = {"metrics.fetcher.update-interval": "200", "taskmanager.memory.managed.size": "128m"}
            return json.dumps(json.loads(text) | more)

        def and_with(*jars: Path) -> Callable[[Path], tuple[str, str]]:
            def extended(place: Path) -> tuple[str, str]:
                option, path = jvm.classpath(place)
                return option, ":".join((path, *map(str, jars)))

            return extended

        with (
            mock.patch.object(flink, "classpath", and_with(jar)),
            mock.patch.object(spark, "classpath", and_with(*kafka)),
            configured(Flink, "config.yaml", for_all),
            configured(Spark, "spark.properties", lambda text: text + SPARK_OPTION),
        ):
            yield environment


SPARK_OPTION = """
spark.sql.streaming.stateStore.providerClass=org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider
"""


def _install(folder: Path) -> Path:
    venv.create(folder, with_pip=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", PYFLINK]
    subprocess.run(command, check=True)  # noqa: S603
    return folder


def _produce(lab: Lab, name: str, count: int, progress: Progress) -> Stream:
    task = progress.add_task(f"producing {name}", total=count)
    found = produce(lab.settings, name, count, lab.folder, lambda sent: progress.update(task, completed=sent))
    progress.remove_task(task)
    return found


def main() -> None:
    """Read the flags, run, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="events in Kafka (default: 1,000,000)")
    parser.add_argument("--short", type=int, default=200_000, help="events for (a) and (d) (default: 200,000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each contender (default: 3)")
    parser.add_argument("--only", nargs="+", choices=[contender.name for contender in CONTENDERS])
    parser.add_argument("--pyflink", type=Path, help=f"environment with {PYFLINK}; default: one is made and removed")
    arguments = parser.parse_args()
    console = Console()
    result = run(
        arguments.events,
        arguments.short,
        arguments.rounds,
        only=arguments.only,
        pyflink=arguments.pyflink,
        console=console,
    )
    report.publish("streaming", result, console)


if __name__ == "__main__":
    main()
