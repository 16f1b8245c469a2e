"""The staging folder, or prefix of a bucket, as a way in: a sensor that sees files, and the run that takes them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import JobDefinition

from lakehouse import settings as settings_module
from lakehouse.adapters.files.staging import Staging, StagingFolder, is_inside
from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.contracts.contract import Contract
from lakehouse.errors import FileGoneError, FileRefusedError
from lakehouse.naming import DEAD_LETTERS, DELIVERIES, Domain
from lakehouse.orchestration.describe import staging_key
from lakehouse.orchestration.landing import DRAIN, KIND_TAG, RETRY, must_wait
from lakehouse.settings import Settings, is_s3


def open_staging(settings: Settings) -> Staging:
    """The place that the settings name."""
    if not is_s3(settings.staging_place):
        return StagingFolder(Path(settings.staging_place))
    from lakehouse.adapters.s3.staging import StagingPrefix

    return StagingPrefix(settings, settings.staging_place)


class FilesConfig(dg.Config):
    """Which files of the staging folder a run takes."""

    names: list[str]


def build_files_job(domain: Domain, contract: Contract) -> JobDefinition:
    """The job that takes files of the staging folder into a contract's table, each once, and puts them away."""

    @dg.op(name=f"{domain}_take_files", retry_policy=RETRY, out=dg.Out(dg.Nothing))
    def take_files(context: dg.OpExecutionContext, config: FilesConfig, iceberg: IcebergResource) -> None:
        for event in _take(context, open_staging(settings_module.load()), config, iceberg, contract):
            context.log_event(event)

    @dg.job(name=f"{domain}_files", tags={KIND_TAG: DRAIN}, executor_def=dg.in_process_executor)
    def files() -> None:
        """Takes files of the staging folder into bronze. Requested by the sensor."""
        take_files()

    return files


def _take(
    context: dg.OpExecutionContext, staging: Staging, config: FilesConfig, iceberg: IcebergResource, contract: Contract
) -> Iterator[dg.AssetMaterialization]:
    from lakehouse.ledger.ingest import ingest_file

    catalog = iceberg.catalog()
    for name in config.names:
        if not is_inside(name):
            raise dg.Failure(f"{name} does not lie in the staging folder", allow_retries=False)
        try:
            with staging.fetched(name) as path:
                outcome = ingest_file(catalog, contract, path, run_id=context.run.run_id)
        except FileGoneError:
            context.log.info("%s is gone: another run has taken it", name)
            continue
        except FileRefusedError as error:
            context.log.warning("refused: %s", error)
            staging.refuse(name, str(error))
            continue
        moved = staging.accept(name)
        metadata: dict[str, Any] = {"file": moved, "rows": outcome.rows, "dead_letters": outcome.dead_letters}
        context.log.info("%s: %s", name, "was taken before" if outcome.is_repeat else metadata)
        yield dg.AssetMaterialization(staging_key(contract), metadata=metadata)
        if not outcome.is_repeat:
            yield dg.AssetMaterialization(contract.table.key, metadata=metadata)
            yield dg.AssetMaterialization(DELIVERIES.key, metadata=metadata)
        if outcome.dead_letters and not outcome.is_repeat:
            yield dg.AssetMaterialization(DEAD_LETTERS.key, metadata=metadata)


def build_files_sensor(domain: Domain, job: JobDefinition) -> dg.SensorDefinition:
    """Request a run for files that lie in the staging folder and are the same as at the last tick."""

    @dg.sensor(
        name=f"{domain}_files",
        job_name=job.name,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests a run when files lie in the staging folder to which nobody writes any more.",
    )
    def files_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        before = json.loads(context.cursor or "{}")
        waiting = open_staging(settings_module.load()).waiting()
        # What is as it was at the last tick is not being written any more.
        names = [name for name, state in waiting.items() if before.get(name) == state]
        cursor = json.dumps(waiting)
        if not names:
            context.update_cursor(cursor)
            return dg.SkipReason(f"{domain}: no file waits, or it is still being written")
        if reason := must_wait(context.instance, job.name):
            return dg.SkipReason(f"{domain}: {reason}, {len(names)} files to go")
        config = dg.RunConfig(ops={f"{domain}_take_files": FilesConfig(names=names)})
        return dg.SensorResult([dg.RunRequest(run_config=config, tags={KIND_TAG: DRAIN})], cursor=cursor)

    return files_sensor
