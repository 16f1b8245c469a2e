"""The always-on jobs as Dagster sees them: what they landed, how they are, and bringing them back."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from lakehouse import settings as settings_module
from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.contracts.lineage import LATENESS
from lakehouse.errors import LakehouseError
from lakehouse.orchestration.landing import BATCH, KIND_TAG, must_wait
from lakehouse.streaming.landing import Landing
from lakehouse.streaming.statements import Pipeline

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

    from lakehouse.stream import StreamStatus

SECONDS = 30
"""Between two looks at a stream."""
TROUBLE_TAG = "lakehouse/trouble"
"""Tag of a run that brings a stream back: why."""


@dataclass(frozen=True)
class StreamAutomation:
    """What a pipeline brings to the code location."""

    jobs: Sequence[dg.JobDefinition]
    sensor: dg.SensorDefinition


def has_begun(pipeline: Landing) -> bool:
    """Whether the stream was ever started: where nobody uses its domain, the domain's engines need not be there."""
    from lakehouse.adapters.iceberg.catalog import find_table

    return find_table(IcebergResource().catalog(), pipeline.contract.table) is not None


def build_stream(pipeline: Pipeline) -> StreamAutomation:
    """Jobs that start and stop a pipeline, and the sensor that watches it."""
    start = _build_job(pipeline, "start", "Starts the pipeline from the state it left; ends a stuck job first.")
    stop = _build_job(pipeline, "stop", "Stops the pipeline with a savepoint; from then on it is not brought back.")
    return StreamAutomation([start, stop], _build_sensor(pipeline, start))


def _build_job(pipeline: Pipeline, what: str, description: str) -> dg.JobDefinition:
    @dg.op(name=f"{what}_{pipeline.identifier}")
    def act(context: dg.OpExecutionContext) -> None:
        from lakehouse import stream

        settings = settings_module.load()
        if what == "start":
            job = stream.bring_back(settings, pipeline)
            context.log.info("%s runs as job %s: %s", pipeline.name, job.job_id, settings.flink_address)
        else:
            context.log.info("%s is stopped, its savepoint is %s", pipeline.name, stream.stop(settings, pipeline))

    @dg.job(
        name=f"{pipeline.identifier}_stream_{what}",
        tags={KIND_TAG: BATCH},
        executor_def=dg.in_process_executor,
        description=description,
    )
    def stream_job() -> None:
        act()

    return stream_job


def _build_sensor(pipeline: Pipeline, start: dg.JobDefinition) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{pipeline.identifier}_stream",
        job_name=start.name,
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reports what the stream landed, and brings its job back when that is dead or stuck.",
    )
    def stream_sensor(context: dg.SensorEvaluationContext, iceberg: IcebergResource) -> dg.SensorResult:
        from lakehouse import stream

        settings = settings_module.load()
        try:
            told: dict[str, Any] = _told(stream.status(settings, pipeline), settings.flink_address)
            trouble = stream.trouble(settings, pipeline)
        except LakehouseError as error:
            told, trouble = {}, None
            context.log.info("%s: %s", pipeline.name, error)
        cursor = json.loads(context.cursor or "{}")
        events = list(_landed(pipeline, iceberg, cursor, told))
        asked = []
        if trouble and not must_wait(context.instance, start.name):
            context.log.warning("%s is brought back: %s", pipeline.name, trouble)
            asked.append(dg.RunRequest(tags={KIND_TAG: BATCH, TROUBLE_TAG: trouble[:200]}))
        return dg.SensorResult(run_requests=asked, asset_events=events, cursor=json.dumps(cursor))

    return stream_sensor


def _told(found: "StreamStatus", address: str) -> dict[str, Any]:
    said = {name: value for name, value in dataclasses.asdict(found).items() if value is not None}
    said = {name: str(value) if name.endswith(("_at", "mark")) else value for name, value in said.items()}
    return {"flink": dg.MetadataValue.url(f"{address}/#/job/running/{found.job_id}"), "stream": said}


def _landed(
    pipeline: Pipeline, iceberg: IcebergResource, cursor: dict[str, int], told: dict[str, Any]
) -> Iterator[dg.AssetMaterialization]:
    """A materialisation of each table with snapshots since the cursor, which moves on to the newest."""
    from lakehouse.adapters.iceberg.catalog import find_table
    from lakehouse.adapters.iceberg.history import added, since

    catalog = iceberg.catalog()
    for contract in pipeline.written_tables:
        table = find_table(catalog, contract.table)
        newest = table.current_snapshot() if table is not None else None
        if table is None or newest is None:
            continue
        new = since(table, newest, cursor.get(str(contract.table)))
        cursor[str(contract.table)] = newest.snapshot_id
        # What was seen last may be gone from the history.
        new = [newest] if new is None else new
        rows, files = added(new, "added-records"), added(new, "added-data-files")
        if not rows:
            continue
        # Of a table whose rows take the place of others, Iceberg does not know how many there are.
        total = {} if contract.key else {"dagster/row_count": added([newest], "total-records")}
        is_landed = isinstance(pipeline, Landing) and contract is pipeline.contract
        metadata: dict[str, Any] = {
            **total,
            "rows": rows,
            "files": files,
            "snapshots": len(new),
            "snapshot_id": str(new[-1].snapshot_id),
            **(_late(table, new) if is_landed else {}),
            **told,
        }
        yield dg.AssetMaterialization(contract.table.key, metadata=metadata)


def _late(table: "Table", snapshots: "Sequence[Snapshot]") -> dict[str, int]:
    """How many of the rows that the snapshots added were late, of both kinds: two columns of flags of the new files."""
    import pyarrow.compute as pc

    from lakehouse.adapters.iceberg.history import read_added

    names = [column.name for column in LATENESS]
    rows = read_added(table, snapshots, names)
    return {name.removeprefix("is_"): pc.sum(rows[name]).as_py() or 0 for name in names}
