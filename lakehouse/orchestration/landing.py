"""Draining a feed inside a Dagster run, and the sensor that asks for one."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.adapters.kafka.resource import KafkaResource
from lakehouse.errors import LakehouseError, LedgerGapError
from lakehouse.ledger.feed import Feed
from lakehouse.naming import DEAD_LETTERS, Domain

if TYPE_CHECKING:
    from lakehouse.ledger.writer import Commit

KIND_TAG = "lakehouse/kind"
DRAIN = "drain"
"""Runs that drain topics have a concurrency limit of their own: they and scheduled jobs never wait for each other."""
BATCH = "batch"

BACKOFF_SECONDS = 30.0
"""After a failed run the sensor waits this long, so that a lasting failure does not make a run every tick."""

RETRY = dg.RetryPolicy(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""For every asset that calls another system."""


def land(
    context: dg.AssetExecutionContext, feed: Feed, kafka: KafkaResource, iceberg: IcebergResource
) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[None]]:
    """Drain a feed's topic into its table, reporting each commit as a materialisation with its numbers.

    Raises:
        dagster.Failure: records are gone that were not read, or the topic is another one; trying again cannot help.
        LakehouseError: the topic does not exist, or a system does not answer.
    """
    from lakehouse.ledger.writer import LedgeredWriter

    state = kafka.topic(feed.topic_name)
    if state is None:
        raise LakehouseError(f"topic {feed.topic_name} does not exist; `lakehouse up` creates it on the local broker")
    writer = LedgeredWriter(iceberg.catalog(), feed.contract, feed.topic_name, run_id=context.run.run_id)
    rows = letters = commits = 0
    try:
        positions = writer.start(state)
        # A scheduled run finds nothing most of the time, for the sensor's runs were first: it does not wait for more.
        is_drained = all(bounds.end <= positions[partition] for partition, bounds in state.partitions.items())
        batches = () if is_drained else kafka.drain(feed.topic_name, state.topic_id, positions)
        for commit in writer.append_all(batches):
            rows, letters, commits = rows + commit.rows, letters + commit.dead_letters, commits + 1
            if commit.rows or commit.dead_letters:
                yield dg.AssetMaterialization(feed.contract.table.key, metadata=_metadata(commit))
            if commit.dead_letters:
                refused: dict[str, Any] = {"dead_letters": commit.dead_letters, "source": feed.topic_name}
                yield dg.AssetMaterialization(DEAD_LETTERS.key, metadata=refused)
    except LedgerGapError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    context.log.info("%s: %d rows and %d dead letters in %d commits", feed.contract.table, rows, letters, commits)
    total = sum(entry.rows for entry in writer.entries().values())
    yield dg.MaterializeResult(
        metadata={"dagster/row_count": total, "rows": rows, "dead_letters": letters, "commits": commits}
    )


def land_queue(queue: Feed, kafka: KafkaResource, iceberg: IcebergResource, run_id: str) -> "Iterator[Commit]":
    """Land what waits in a stream's queue of refused records among the dead letters, a commit a batch.

    Raises:
        LedgerGapError: records are gone that were not read, or the topic is another one.
        LakehouseError: the topic does not exist, or a system does not answer.
    """
    from lakehouse.adapters.iceberg.catalog import ensure_table
    from lakehouse.ledger.refused import land_refused
    from lakehouse.ledger.state import read_entries
    from lakehouse.ledger.writer import start_positions

    name = queue.topic_name
    state = kafka.topic(name)
    if state is None:
        raise LakehouseError(f"topic {name} does not exist; `lakehouse up` creates it on the local broker")
    entries = read_entries(ensure_table(iceberg.catalog(), queue.contract).properties, name)
    positions = start_positions(name, entries, state)
    yield from land_refused(
        iceberg.catalog(), name, kafka.drain(name, state.topic_id, positions, with_headers=True), run_id=run_id
    )


def build_queue_job(domain: Domain, queue: Feed) -> dg.JobDefinition:
    """The job that lands what the domain's stream refused. The table is that of all domains, so it is no asset here."""

    @dg.op(name=f"land_refused_{domain}", retry_policy=RETRY, out={})
    def land_refused(
        context: dg.OpExecutionContext, kafka: KafkaResource, iceberg: IcebergResource
    ) -> Iterator[dg.AssetMaterialization]:
        try:
            for commit in land_queue(queue, kafka, iceberg, context.run.run_id):
                context.log.info("%d dead letters from %s", commit.dead_letters, queue.topic_name)
                if commit.dead_letters:
                    yield dg.AssetMaterialization(DEAD_LETTERS.key, metadata=_metadata(commit))
        except LedgerGapError as error:
            raise dg.Failure(str(error), allow_retries=False) from error

    @dg.job(
        name=f"{domain}_micro_batch",
        tags={KIND_TAG: DRAIN},
        executor_def=dg.in_process_executor,
        description="Lands what the domain's stream refused among the dead letters. Requested by the sensor.",
    )
    def queue_job() -> None:
        land_refused()

    return queue_job


def build_drain_job(domain: Domain, selection: dg.AssetSelection) -> UnresolvedAssetJobDefinition:
    """The job that drains all topics of a domain, in one process: a second one would cost its start again."""
    return dg.define_asset_job(
        f"{domain}_micro_batch",
        selection=selection,
        tags={KIND_TAG: DRAIN},
        executor_def=dg.in_process_executor,
        description="Drains the domain's topics into bronze until they are empty. Requested by the sensor.",
    )


def build_drain_sensor(
    domain: Domain, feeds: Sequence[Feed], job: UnresolvedAssetJobDefinition | dg.JobDefinition
) -> dg.SensorDefinition:
    """Request one draining run of the domain while any ledger lags behind its topic.

    Looks at end offsets and ledgers only. What was landed is known by the table alone, so a failed or killed run needs
    no bookkeeping: the next tick sees the same lag.
    """

    @dg.sensor(
        name=f"{domain}_micro_batch",
        job_name=job.name,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests a draining run while records wait on the domain's topics.",
    )
    def drain_sensor(
        context: dg.SensorEvaluationContext, kafka: KafkaResource, iceberg: IcebergResource
    ) -> dg.RunRequest | dg.SkipReason:
        try:
            lag, problems = measure_lag(feeds, kafka, iceberg)
        except LakehouseError as error:
            return dg.SkipReason(f"{domain}: {error}")
        if problems:
            # One run that fails with the reason, not one every tick.
            digest = hashlib.sha256("".join(problems).encode()).hexdigest()
            return dg.RunRequest(run_key=f"{domain}-gap-{digest}", tags={KIND_TAG: DRAIN})
        if lag == 0:
            return dg.SkipReason(f"{domain}: everything is landed")
        if reason := must_wait(context.instance, job.name):
            return dg.SkipReason(f"{domain}: {reason}, {lag:,} records to go")
        return dg.RunRequest(tags={KIND_TAG: DRAIN, "lakehouse/lag": str(lag)})

    return drain_sensor


def measure_lag(feeds: Sequence[Feed], kafka: KafkaResource, iceberg: IcebergResource) -> tuple[int, list[str]]:
    """Offsets that no ledger has passed yet, over all feeds; and why reading cannot go on, where it cannot."""
    from lakehouse.adapters.iceberg.catalog import find_table
    from lakehouse.ledger.state import read_entries
    from lakehouse.ledger.writer import first_offset, gaps

    catalog = iceberg.catalog()
    lag, problems = 0, []
    for feed in feeds:
        state = kafka.topic(feed.topic_name)
        table = find_table(catalog, feed.contract.table)
        entries = read_entries(table.properties, feed.topic_name) if table else {}
        problems += gaps(feed.topic_name, entries, state)
        for partition, bounds in (state.partitions if state else {}).items():
            entry = entries.get(partition)
            lag += max(0, bounds.end - (entry.position if entry else first_offset(entries, bounds.low)))
    return lag, problems


def must_wait(instance: dg.DagsterInstance, job_name: str) -> str | None:
    """Why no new run of the job should be asked for now; None when one may be."""
    runs = instance.get_run_records(dg.RunsFilter(job_name=job_name), limit=1)
    if not runs:
        return None
    if runs[0].dagster_run.status in NOT_FINISHED_STATUSES:
        return "a run is draining"
    if runs[0].dagster_run.status is dg.DagsterRunStatus.FAILURE and runs[0].end_time:
        wait = BACKOFF_SECONDS - (time.time() - runs[0].end_time)
        if wait > 0:
            return f"the last run failed, waiting {wait:.0f} s"
    return None


def _metadata(commit: "Commit") -> dict[str, dg.MetadataValue]:
    return {
        "rows": dg.MetadataValue.int(commit.rows),
        "dead_letters": dg.MetadataValue.int(commit.dead_letters),
        "skipped": dg.MetadataValue.int(commit.skipped),
        "snapshot_id": dg.MetadataValue.text(str(commit.snapshot_id)),
        "positions": dg.MetadataValue.json({str(p): position for p, position in commit.positions.items()}),
        "seconds": dg.MetadataValue.float(round(commit.seconds, 3)),
    }
