"""Starting, stopping and looking at the always-on jobs, as the command line does it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lakehouse.adapters.flink.cluster import FlinkCluster, Job
from lakehouse.adapters.iceberg.catalog import connect, ensure_table
from lakehouse.contracts.duplicate import DUPLICATE
from lakehouse.domains.pipelines import PIPELINES
from lakehouse.errors import LakehouseError
from lakehouse.ledger.streamed import write_start
from lakehouse.settings import Settings, is_s3
from lakehouse.streaming.statements import Pipeline, job_settings, statements

CHECKPOINTS, SAVEPOINTS = "checkpoints", "savepoints"
START_SECONDS, SAVEPOINT_SECONDS = 120, 300


@dataclass(frozen=True)
class StreamStatus:
    """How a pipeline is."""

    pipeline: str
    state: str
    """Flink's word for it; ``STOPPED`` where no job is alive."""
    job_id: str | None
    started_at: datetime | None
    checkpoints: int
    failed_checkpoints: int
    checkpoint_age_seconds: float | None
    """Age of what was committed last."""
    problem: str | None
    """Why it failed or restarts."""


def pipeline_named(name: str) -> Pipeline:
    """The pipeline of that name.

    Raises:
        LakehouseError: naming those there are.
    """
    for pipeline in PIPELINES:
        if pipeline.name == name:
            return pipeline
    raise LakehouseError(f"there is no pipeline {name}; there is {', '.join(p.name for p in PIPELINES)}")


def start(
    settings: Settings,
    name: str,
    *,
    parallelism: int = 1,
    state: str | None = None,
    accept_repeats: bool = False,
) -> Job:
    """Start a pipeline from the newest state it left, or for the first time from the beginning of its topic.

    Args:
        settings: Where everything is.
        name: Of the pipeline.
        parallelism: Subtasks of each operator; may differ from before.
        state: URI or path of a savepoint or checkpoint to start from instead of the newest.
        accept_repeats: Whether it may be an older one: what was landed since is then landed again.

    Raises:
        LakehouseError: it runs already, its state is gone or older than it may be, Flink refuses, or the job does not
            come up.
    """
    from lakehouse.adapters.kafka.client import describe_topic, ensure_topic, open_admin
    from lakehouse.stack.flink import submit

    pipeline = pipeline_named(name)
    if is_s3(settings.warehouse_uri):
        raise LakehouseError(f"Flink lands in a folder only, so far: {name} cannot write to {settings.warehouse_uri}")
    cluster = FlinkCluster(settings.flink_address)
    if alive := cluster.alive(pipeline.job_name):
        raise LakehouseError(f"{name} runs already, as job {alive.job_id} ({alive.state})")
    admin = open_admin(settings)
    for topic in (pipeline.topic, pipeline.refused):
        ensure_topic(admin, topic)
    catalog = connect(settings)
    tables = [ensure_table(catalog, contract) for contract in (pipeline.contract, DUPLICATE)]
    newest = newest_state(settings, pipeline)
    if state and newest and _path(state) != _path(newest) and not accept_repeats:
        raise LakehouseError(
            f"{state} is not the newest state of {name}, which is {newest}: started from it, what was landed since "
            "would be landed again. With --accept-repeats it is"
        )
    state = state or newest
    if state is None and tables[0].current_snapshot() is not None:
        raise LakehouseError(
            f"{pipeline.contract.table} holds rows, but the state that {name} left is gone from "
            f"{_folder(settings, pipeline)}: started without it, it would land them again. Bring the folder back, or "
            "name a savepoint with --from"
        )
    if topic_state := describe_topic(admin, pipeline.topic.name):
        write_start(tables[0], pipeline.topic.name, topic_state)
    chosen = job_settings(
        pipeline,
        parallelism=parallelism,
        checkpoint_seconds=settings.checkpoint_sec,
        checkpoints=(_folder(settings, pipeline) / CHECKPOINTS).as_uri(),
    )
    if state:
        chosen["execution.state-recovery.path"] = _path(state).as_uri()
    submit(settings, chosen, statements(pipeline, _catalog_options(settings), _kafka_options(settings)))
    return _running(cluster, pipeline)


def stop(settings: Settings, name: str) -> str:
    """Stop a pipeline with a savepoint; returns where it is.

    Raises:
        LakehouseError: it does not run, or the savepoint failed; then the job goes on.
    """
    cluster, job, folder = _alive(settings, name)
    place = cluster.stop(job, folder, timeout_seconds=SAVEPOINT_SECONDS)
    _wait(lambda: cluster.alive(job.name) is None, START_SECONDS, f"{name} has its savepoint, but does not end")
    return place


def savepoint(settings: Settings, name: str) -> str:
    """Take a savepoint of a pipeline, which goes on; returns where it is.

    Raises:
        LakehouseError: it does not run, or the savepoint failed.
    """
    cluster, job, folder = _alive(settings, name)
    return cluster.savepoint(job, folder, timeout_seconds=SAVEPOINT_SECONDS)


def status(settings: Settings) -> list[StreamStatus]:
    """How every pipeline is.

    Raises:
        LakehouseError: Flink does not answer.
    """
    return [_status(FlinkCluster(settings.flink_address), pipeline) for pipeline in PIPELINES]


def newest_state(settings: Settings, pipeline: Pipeline) -> str | None:
    """URI of the newest complete checkpoint or savepoint of a pipeline, by the time it was completed."""
    found = _folder(settings, pipeline).glob("*/**/_metadata")
    newest = max(found, key=lambda file: file.stat().st_mtime_ns, default=None)
    return newest.parent.as_uri() if newest else None


def _status(cluster: FlinkCluster, pipeline: Pipeline) -> StreamStatus:
    job = cluster.newest(pipeline.job_name)
    if job is None:
        return StreamStatus(pipeline.name, "STOPPED", None, None, 0, 0, None, None)
    checkpoints = cluster.checkpoints(job)
    newest = checkpoints.newest_at
    return StreamStatus(
        pipeline.name,
        job.state,
        job.job_id,
        job.started_at,
        checkpoints.completed,
        checkpoints.failed,
        (datetime.now(UTC) - newest).total_seconds() if newest else None,
        cluster.failure(job),
    )


def _alive(settings: Settings, name: str) -> tuple[FlinkCluster, Job, str]:
    """The cluster, the job that runs, and where its savepoints go."""
    pipeline = pipeline_named(name)
    cluster = FlinkCluster(settings.flink_address)
    job = cluster.alive(pipeline.job_name)
    if job is None:
        raise LakehouseError(f"{name} does not run; `lakehouse stream start {name}` starts it")
    return cluster, job, (_folder(settings, pipeline) / SAVEPOINTS).as_uri()


def _running(cluster: FlinkCluster, pipeline: Pipeline) -> Job:
    """The job just submitted, once it works."""

    def is_running() -> bool:
        job = cluster.newest(pipeline.job_name)
        if job and not job.is_alive:
            raise LakehouseError(f"{pipeline.name} ended as {job.state}: {cluster.failure(job)}")
        return job is not None and job.state == "RUNNING"

    _wait(is_running, START_SECONDS, f"{pipeline.name} was submitted, but does not run")
    job = cluster.alive(pipeline.job_name)
    if job is None:
        raise LakehouseError(f"{pipeline.name} ended at once; `lakehouse logs flink` says why")
    return job


def _wait(is_so: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise LakehouseError(f"{otherwise} after {seconds:g} s; `lakehouse stream status`, `lakehouse logs flink`")
        time.sleep(0.5)


def _path(state: str) -> Path:
    """Where a state is on this machine, given as a path or in one of the ways in which Flink and Python write it."""
    return Path(unquote(urlsplit(state).path)).resolve()


def _folder(settings: Settings, pipeline: Pipeline) -> Path:
    """Where a pipeline's state is."""
    return settings.home / "flink" / "state" / pipeline.name


def _catalog_options(settings: Settings) -> dict[str, str]:
    return {
        "type": "iceberg",
        "catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        "uri": f"jdbc:postgresql://{settings.db_address}:{settings.db_port}/{settings.catalog_db_name}",
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
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        password = settings.kafka_password.get_secret_value()
        options["sasl.mechanism"] = "SCRAM-SHA-512"
        options["sasl.jaas.config"] = f'{module} required username="{settings.kafka_username}" password="{password}";'
    if settings.kafka_security_protocol.endswith("SSL") and settings.kafka_ssl_ca:
        options |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": settings.kafka_ssl_ca}
    return options
