"""Silver and gold of the conversions as Dagster shows them: one run of Spark each, on a server that is there."""

import sys
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from lakehouse import settings as settings_module
from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.adapters.spark.resource import SparkResource
from lakehouse.contracts.contract import Contract
from lakehouse.domains.conversions import tables
from lakehouse.errors import LakehouseError
from lakehouse.naming import ANALYTICS, CONVERSION_EVENTS, CONVERSIONS, DIM_USERS, FACT_CONVERSIONS, TableName
from lakehouse.orchestration.describe import describe_contract, freshness
from lakehouse.orchestration.partitions import DAILY
from lakehouse.orchestration.spark import Build, build_spark_asset, spark_interface

if TYPE_CHECKING:
    from lakehouse.adapters.spark.workspace import Workspace
    from lakehouse.ledger.built import Built

TOLERANCE_TAG = "lakehouse/tolerance"
"""Tag of a backfill's run: share by which the number of conversions of a day may change."""
POOL = "conversions_models"
"""Two runs never write to the same tables at once."""


def _asset(contract: Contract, build: Build, *sources: TableName, **attributes: Any) -> dg.AssetsDefinition:
    return build_spark_asset(contract, build, *sources, pool=POOL, **attributes)


def _silver(name: str) -> Build:
    def build(work: "Workspace") -> "Built":
        from lakehouse.domains.conversions import silver

        built: Built = getattr(silver, name)(work)
        return built

    return build


def _gold(name: str, *given: Any) -> Build:
    def build(work: "Workspace") -> "Built":
        from lakehouse.domains.conversions import gold

        built: Built = getattr(gold, name)(work, *given)
        return built

    return build


_HOURLY = freshness(warn_hours=3, fail_hours=26)
_DAILY: dict[str, Any] = {"owners": [ANALYTICS], "freshness_policy": freshness(warn_hours=26, fail_hours=50)}

conversions = _asset(tables.CONVERSION, _silver("build_conversions"), CONVERSION_EVENTS, freshness_policy=_HOURLY)
dim_users = _asset(tables.USER_VERSION, _silver("build_users"), CONVERSIONS, freshness_policy=_HOURLY)
dim_user = _asset(tables.USER, _gold("build_dim_user"), DIM_USERS, **_DAILY)
dim_hour = _asset(tables.HOUR, _gold("build_dim_hour"), **_DAILY)
fact_conversions = _asset(tables.FACT, _gold("build_fact"), CONVERSIONS, DIM_USERS, **_DAILY)
marts = [
    _asset(contract, _gold("build_mart", contract), FACT_CONVERSIONS, **_DAILY)
    for contract in (tables.DAILY, tables.HOURLY, tables.POPULARITY)
]
silver_assets = [conversions, dim_users]
gold_assets = [dim_user, dim_hour, fact_conversions, *marts]


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            **describe_contract(tables.BACKFILL),
            deps=[dg.AssetKey(name) for name in (CONVERSION_EVENTS.key, CONVERSIONS.key, FACT_CONVERSIONS.key)],
            kinds={"spark", "iceberg"},
        )
    ],
    name="backfill_log",
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=POOL,
)
def backfill_log(
    context: dg.AssetExecutionContext, spark: SparkResource, iceberg: IcebergResource
) -> dg.MaterializeResult[None]:
    """Make days of silver and gold anew on branches, audit them there, and move the tables when all audits pass."""
    from lakehouse.adapters.spark.workspace import Workspace
    from lakehouse.domains.conversions.backfill import TOLERANCE, run_backfill

    days = context.partition_key_range
    first, last = date.fromisoformat(days.start), date.fromisoformat(days.end)
    with spark.session() as session:
        work = Workspace(session, iceberg.catalog(), context.run.run_id)
        try:
            tolerance = float(context.run.tags.get(TOLERANCE_TAG, TOLERANCE))
            done = run_backfill(work, first, last, tolerance=tolerance, on_step=context.log.info)
        except LakehouseError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
    return dg.MaterializeResult(
        metadata={
            "audits": dg.MetadataValue.json([audit.name for audit in done.audits]),
            "differences": dg.MetadataValue.json({str(d.day): [d.before, d.after] for d in done.differences}),
            "spark": spark_interface(),
        }
    )


@dg.op(pool=POOL)
def erase_user(context: dg.OpExecutionContext, spark: SparkResource, iceberg: IcebergResource) -> None:
    """Erase the user whose id is the input of the process: what Dagster keeps says nothing of who it is."""
    from lakehouse.adapters.spark.workspace import Workspace
    from lakehouse.domains.conversions.erasure import erase

    user = sys.stdin.read()
    if not user:
        raise dg.Failure(
            "`lakehouse erase user ID` starts this job, and says to it alone who it is", allow_retries=False
        )
    with spark.session() as session:
        work = Workspace(session, iceberg.catalog(), context.run.run_id)
        try:
            erase(settings_module.load(), work, user, on_step=context.log.info)
        except LakehouseError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
