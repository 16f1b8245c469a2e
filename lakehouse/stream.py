"""Starting, stopping and looking at the always-on jobs, as the command line and Dagster do it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lakehouse.adapters.flink.cluster import FlinkCluster, Job
from lakehouse.adapters.iceberg.catalog import connect, ensure_table
from lakehouse.errors import LakehouseError, SavepointFailedError
from lakehouse.ledger.acknowledge import last_acknowledged
from lakehouse.ledger.streamed import next_offsets, write_start
from lakehouse.naming import TableName
from lakehouse.settings import Settings, is_s3
from lakehouse.streaming.statements import Pipeline, job_settings, statements

CHECKPOINTS, SAVEPOINTS = "checkpoints", "savepoints"
STATE_FILE = "_metadata"
"""Of a checkpoint or savepoint; it is there when that is complete."""
START_SECONDS, SAVEPOINT_SECONDS = 120, 300
SAVEPOINT_ATTEMPTS, SAVEPOINT_PAUSE_SECONDS = 4, 5.0
STUCK_CHECKPOINTS, STUCK_SECONDS = 10, 300
"""A job that completes no checkpoint for so many intervals, or for so long if that is longer, is stuck."""


@dataclass(frozen=True)
class StreamStatus:
    """How a pipeline is."""

    pipeline: str
    state: str
    """Flink's word for it; ``STOPPED`` where it knows no job."""
    is_alive: bool = False
    job_id: str | None = None
    started_at: datetime | None = None
    checkpoints: int = 0
    failed_checkpoints: int = 0
    checkpoint_age_seconds: float | None = None
    """Age of what was committed last."""
    watermark: datetime | None = None
    """Event time up to which the job takes the stream to be complete."""
    lag: int | None = None
    """Records of its topic that the job has yet to read."""
    problem: str | None = None
    """Why it failed or restarts."""


def start(
    settings: Settings,
    pipeline: Pipeline,
    *,
    parallelism: int = 1,
    state: str | None = None,
    accept_repeats: bool = False,
) -> Job:
    """Start a pipeline from the newest state it left, or for the first time from the beginning of its topics.

    Args:
        settings: Where everything is.
        pipeline: Which.
        parallelism: Subtasks of each operator; may differ from before.
        state: URI or path of a savepoint or checkpoint to start from instead of the newest.
        accept_repeats: Whether it may be an older one: what was landed since is then landed again.

    Raises:
        LakehouseError: it runs already, its state is gone or older than it may be, Flink refuses, or the job does not
            come up.
    """
    from lakehouse.adapters.kafka.client import await_topic, ensure_topic, move_group, open_admin
    from lakehouse.stack.files import write_file
    from lakehouse.stack.flink import submit

    name = pipeline.name
    if is_s3(settings.warehouse_uri):
        raise LakehouseError(f"Flink lands in a folder only, so far: {name} cannot write to {settings.warehouse_uri}")
    cluster = FlinkCluster(settings.flink_address)
    if alive := cluster.alive(pipeline.job_name):
        raise LakehouseError(f"{name} runs already, as job {alive.job_id} ({alive.state})")
    admin = open_admin(settings)
    for needed in (*(source.topic for source in pipeline.sources), *pipeline.written_topics):
        ensure_topic(admin, needed)
    catalog = connect(settings)
    tables = [ensure_table(catalog, source.contract) for source in pipeline.sources]
    for contract in pipeline.written_tables:
        ensure_table(catalog, contract)
    newest = newest_state(settings, pipeline)
    if state and newest and _path(state) != _path(newest) and not accept_repeats:
        raise LakehouseError(
            f"{state} is not the newest state of {name}, which is {newest}: started from it, what was landed since "
            "would be landed again. With --accept-repeats it is"
        )
    state = state or newest
    # Until the job has a newer state, it may still have to pass what was acknowledged.
    passes_gaps = False
    snapshots: dict[TableName, int] = {}
    for source, table in zip(pipeline.sources, tables, strict=True):
        topic, held = source.topic.name, table.current_snapshot()
        if state is None and not pipeline.reads_tables and held is not None:
            raise LakehouseError(
                f"{source.contract.table} holds rows, but the state that {name} left is gone from "
                f"{_folder(settings, pipeline)}: started without it, it would land them again. Bring the folder back, "
                "or name a savepoint with --from"
            )
        known = await_topic(admin, topic)
        if not pipeline.reads_tables:
            write_start(table, topic, known)
        if state is None:
            begin = {partition: bounds.low for partition, bounds in known.partitions.items()}
            if pipeline.reads_tables and held:
                snapshots[source.contract.table] = held.snapshot_id
                begin |= next_offsets(table, topic, held.snapshot_id)
            move_group(admin, pipeline.group_id, topic, begin)
        else:
            acknowledged = last_acknowledged(table.properties, topic)
            passes_gaps |= acknowledged is not None and _left_at(state) < acknowledged
    chosen = job_settings(
        pipeline,
        parallelism=parallelism,
        checkpoint_seconds=settings.checkpoint_sec,
        restart_seconds=settings.stream_restart_sec,
        checkpoints=(_folder(settings, pipeline) / CHECKPOINTS).as_uri(),
    )
    if state:
        chosen["execution.state-recovery.path"] = _path(state).as_uri()
    said = statements(
        pipeline,
        _catalog_options(settings),
        _kafka_options(settings),
        passes_gaps=passes_gaps,
        snapshots=snapshots,
    )
    submit(settings, chosen, said)
    job = _running(cluster, pipeline)
    write_file(_wish(settings, pipeline), json.dumps({"parallelism": parallelism}))
    return job


def stop(settings: Settings, pipeline: Pipeline) -> str:
    """Stop a pipeline with a savepoint; returns where it is. From now on it is not brought back.

    Raises:
        LakehouseError: it does not run, or the savepoint failed; then the job goes on.
    """
    cluster, job = _alive(settings, pipeline)
    place = _saved(settings, pipeline, cluster, job, cluster.stop)
    _wish(settings, pipeline).unlink(missing_ok=True)
    _wait(lambda: cluster.alive(job.name) is None, START_SECONDS, f"{job.name} has its savepoint, but does not end")
    return place


def savepoint(settings: Settings, pipeline: Pipeline) -> str:
    """Take a savepoint of a pipeline, which goes on; returns where it is.

    Raises:
        LakehouseError: it does not run, or the savepoint failed.
    """
    cluster, job = _alive(settings, pipeline)
    return _saved(settings, pipeline, cluster, job, cluster.savepoint)


def trouble(settings: Settings, pipeline: Pipeline) -> str | None:
    """Why a pipeline that was started, and not stopped, must be brought back; None where it need not.

    Raises:
        LakehouseError: Flink does not answer; then there is nothing to bring it back to.
    """
    if not _wish(settings, pipeline).exists():
        return None
    found = status(settings, pipeline)
    if not found.is_alive:
        return f"no job runs: {found.problem or found.state}"
    patience = max(STUCK_CHECKPOINTS * settings.checkpoint_sec, STUCK_SECONDS)
    quiet = found.checkpoint_age_seconds
    if quiet is None and found.started_at:
        quiet = (datetime.now(UTC) - found.started_at).total_seconds()
    if quiet is not None and quiet > patience:
        return f"no checkpoint was completed for {quiet:.0f} s: {found.problem or found.state}"
    return None


def bring_back(settings: Settings, pipeline: Pipeline) -> Job:
    """Start a pipeline again as it was started last, from its newest state; a job that is stuck is ended first.

    Raises:
        LakehouseError: as `start`.
    """
    cluster = FlinkCluster(settings.flink_address)
    if alive := cluster.alive(pipeline.job_name):
        cluster.cancel(alive)
        _wait(lambda: cluster.alive(pipeline.job_name) is None, START_SECONDS, f"{pipeline.name} does not end")
    wish = _wish(settings, pipeline)
    return start(settings, pipeline, parallelism=json.loads(wish.read_text())["parallelism"] if wish.exists() else 1)


def status(settings: Settings, pipeline: Pipeline) -> StreamStatus:
    """How a pipeline is.

    Raises:
        LakehouseError: Flink does not answer.
    """
    cluster = FlinkCluster(settings.flink_address)
    job = cluster.newest(pipeline.job_name)
    if job is None:
        return StreamStatus(pipeline.name, "STOPPED")
    checkpoints = cluster.checkpoints(job)
    newest = checkpoints.newest_at
    return StreamStatus(
        pipeline.name,
        job.state,
        job.is_alive,
        job.job_id,
        job.started_at,
        checkpoints.completed,
        checkpoints.failed,
        (datetime.now(UTC) - newest).total_seconds() if newest else None,
        cluster.watermark(job) if job.is_alive else None,
        cluster.pending(job) if job.is_alive else None,
        cluster.failure(job),
    )


def newest_state(settings: Settings, pipeline: Pipeline) -> str | None:
    """URI of the newest complete checkpoint or savepoint of a pipeline, by the time it was completed."""
    found = _folder(settings, pipeline).glob(f"*/**/{STATE_FILE}")
    newest = max(found, key=lambda file: file.stat().st_mtime_ns, default=None)
    return newest.parent.as_uri() if newest else None


def _saved(settings: Settings, pipeline: Pipeline, cluster: FlinkCluster, job: Job, save: Callable[..., str]) -> str:
    """Where the savepoint is that a job took, which takes none while it is restarted or some of its tasks end."""
    folder = (_folder(settings, pipeline) / SAVEPOINTS).as_uri()
    failed = 0
    while True:
        try:
            return save(job, folder, timeout_seconds=SAVEPOINT_SECONDS)
        except SavepointFailedError:
            failed += 1
            if failed == SAVEPOINT_ATTEMPTS:
                raise
        time.sleep(SAVEPOINT_PAUSE_SECONDS)
        # A job whose savepoint failed half-way begins again with its newest checkpoint.
        _wait(lambda: _is_running(cluster, job), START_SECONDS, f"{job.name} does not come back")


def _is_running(cluster: FlinkCluster, job: Job) -> bool:
    found = cluster.alive(job.name)
    return found is not None and found.state == "RUNNING"


def _alive(settings: Settings, pipeline: Pipeline) -> tuple[FlinkCluster, Job]:
    """The cluster, and the job that runs."""
    name = pipeline.name
    cluster = FlinkCluster(settings.flink_address)
    job = cluster.alive(pipeline.job_name)
    if job is None:
        raise LakehouseError(f"{name} does not run; `lakehouse stream start {name}` starts it")
    return cluster, job


def _running(cluster: FlinkCluster, pipeline: Pipeline) -> Job:
    """The job just submitted, once it works."""
    found: list[Job] = []

    def is_running() -> bool:
        job = cluster.newest(pipeline.job_name)
        if job and not job.is_alive:
            raise LakehouseError(f"{pipeline.name} ended as {job.state}: {cluster.failure(job)}")
        if job and job.state == "RUNNING":
            found.append(job)
        return bool(found)

    _wait(is_running, START_SECONDS, f"{pipeline.name} was submitted, but does not run")
    return found[0]


def _wait(is_so: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise LakehouseError(f"{otherwise} after {seconds:g} s; `lakehouse stream status`, `lakehouse logs flink`")
        time.sleep(0.5)


def _path(state: str) -> Path:
    """Where a state is on this machine, given as a path or in one of the ways in which Flink and Python write it."""
    return Path(unquote(urlsplit(state).path)).resolve()


def _left_at(state: str) -> datetime:
    """When a state was complete."""
    return datetime.fromtimestamp((_path(state) / STATE_FILE).stat().st_mtime, UTC)


def _folder(settings: Settings, pipeline: Pipeline) -> Path:
    """Where a pipeline's state is."""
    return settings.home / "flink" / "state" / pipeline.name


def _wish(settings: Settings, pipeline: Pipeline) -> Path:
    """The file that is there while a pipeline should run; says how it was started."""
    return _folder(settings, pipeline) / "started.json"


def _catalog_options(settings: Settings) -> dict[str, str]:
    return {
        "type": "iceberg",
        "catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        "uri": settings.catalog_jdbc_url,
        "jdbc.user": settings.catalog_db_user,
        "jdbc.password": settings.catalog_db_password.get_secret_value(),
        "jdbc.schema-version": "V1",
        "warehouse": settings.warehouse_uri,
    }


def _kafka_options(settings: Settings) -> dict[str, str]:
    options = {"bootstrap.servers": settings.kafka_brokers}
    if settings.kafka_security_protocol != "PLAINTEXT":
        options["security.protocol"] = settings.kafka_security_protocol
    if settings.kafka_security_protocol.startswith("SASL"):
        # Flink's connector brings Kafka's client under a name of its own.
        module = "org.apache.flink.kafka.shaded.org.apache.kafka.common.security.scram.ScramLoginModule"
        password = settings.kafka_password.get_secret_value()
        options["sasl.mechanism"] = "SCRAM-SHA-512"
        options["sasl.jaas.config"] = f'{module} required username="{settings.kafka_username}" password="{password}";'
    if settings.kafka_security_protocol.endswith("SSL") and settings.kafka_ssl_ca:
        options |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": settings.kafka_ssl_ca}
    return options
