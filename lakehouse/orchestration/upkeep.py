"""Maintenance as Dagster shows it: one asset for all tables, every hour, and a check on what it has to keep few."""

import dataclasses
from typing import Any

import dagster as dg

from lakehouse import settings as settings_module
from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.naming import DATA_PLATFORM, TABLES, Domain
from lakehouse.orchestration.landing import RETRY
from lakehouse.orchestration.scheduled import build_scheduled_job

MAINTENANCE = dg.AssetKey([str(Domain.PLATFORM), "maintenance"])
TOO_MANY = 5
"""Times the number that maintenance leaves: then it does not run, or cannot keep up."""


@dg.asset(
    key=MAINTENANCE,
    group_name=str(Domain.PLATFORM),
    owners=[DATA_PLATFORM],
    tags={"layer": "platform", "domain": str(Domain.PLATFORM)},
    kinds={"iceberg", "trino"},
    description=(
        "Compaction, snapshot expiry and removal of orphan files over all tables, with the state of each before and"
        " after. The same as `lakehouse maintain`."
    ),
    retry_policy=RETRY,
    pool="maintenance",
)
def maintenance(context: dg.AssetExecutionContext, iceberg: IcebergResource) -> dg.MaterializeResult[None]:
    """Maintain all tables."""
    from lakehouse.maintenance.maintain import maintain

    done = maintain(
        settings_module.load(),
        iceberg.catalog(),
        on_table=lambda name: context.log.info("looking at %s", name),
    )
    records = []
    for upkeep in done:
        numbers: dict[str, Any] = {"table": str(upkeep.table)}
        for name, before in dataclasses.asdict(upkeep.before).items():
            numbers |= {f"{name}_before": before, f"{name}_after": getattr(upkeep.after, name)}
        work = {name: getattr(upkeep, name) for name in ("is_compacted", "expired_snapshots", "orphan_files")}
        records.append(dg.TableRecord(numbers | work))
    metadata: dict[str, Any] = {
        "compacted_tables": sum(upkeep.is_compacted for upkeep in done),
        "expired_snapshots": sum(upkeep.expired_snapshots for upkeep in done),
        "orphan_files": sum(upkeep.orphan_files for upkeep in done),
        "orphan_megabytes": sum(upkeep.orphan_megabytes for upkeep in done),
    }
    if records:
        metadata["tables"] = dg.MetadataValue.table(records)
    return dg.MaterializeResult(metadata=metadata)


@dg.asset_check(
    asset=maintenance,
    description=f"No table has {TOO_MANY} times the snapshots or small files that maintenance leaves.",
)
def snapshots_and_small_files_are_few(iceberg: IcebergResource) -> dg.AssetCheckResult:
    """Look at the metadata of every table."""
    from lakehouse.adapters.iceberg.catalog import find_table
    from lakehouse.maintenance.state import measure

    settings = settings_module.load()
    catalog = iceberg.catalog()
    found = {str(name): measure(table) for name in TABLES if (table := find_table(catalog, name))}
    many = {
        name: dataclasses.asdict(state)
        for name, state in found.items()
        if state.snapshots > TOO_MANY * settings.snapshots_kept
        or state.small_files > TOO_MANY * settings.small_files_kept
    }
    return dg.AssetCheckResult(
        passed=not many,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "tables": dg.MetadataValue.json({name: dataclasses.asdict(state) for name, state in found.items()}),
            "too_many": dg.MetadataValue.json(many),
        },
    )


def build_maintenance() -> dg.Definitions:
    """The asset, its check and its schedule."""
    job, hourly = build_scheduled_job(
        "maintenance",
        dg.AssetSelection.assets(maintenance),
        cron="40 * * * *",
        description="Keeps all tables cheap to read and to append to.",
    )
    return dg.Definitions(
        assets=[maintenance], asset_checks=[snapshots_and_small_files_are_few], jobs=[job], schedules=[hourly]
    )
