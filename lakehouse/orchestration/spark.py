"""Tables that Spark makes, as Dagster shows them: one run each, on a server that is there."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg

from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.adapters.spark.resource import SparkResource
from lakehouse.contracts.contract import Contract
from lakehouse.naming import TableName
from lakehouse.orchestration.describe import describe_contract
from lakehouse.orchestration.landing import RETRY

if TYPE_CHECKING:
    from lakehouse.adapters.spark.workspace import Workspace
    from lakehouse.ledger.built import Built

Build = Callable[["Workspace"], "Built"]


def build_spark_asset(
    contract: Contract, build: Build, *sources: TableName, pool: str, **attributes: Any
) -> dg.AssetsDefinition:
    """A table as an asset.

    Args:
        contract: Of the table.
        build: Makes it, or what is new of it.
        sources: Tables that it is made of.
        pool: Two runs of one pool never write at once.
        attributes: What else Dagster should know.
    """

    @dg.asset(  # type: ignore[untyped-decorator]
        **{**describe_contract(contract), **attributes},
        deps=[dg.AssetKey(source.key) for source in sources],
        kinds={"spark", "iceberg"},
        retry_policy=RETRY,
        pool=pool,
    )
    def table(
        context: dg.AssetExecutionContext, spark: SparkResource, iceberg: IcebergResource
    ) -> dg.MaterializeResult[None]:
        from lakehouse.adapters.spark.workspace import Workspace

        with spark.session() as session:
            built = build(Workspace(session, iceberg.catalog(), context.run.run_id))
        context.log.info("%s: %d rows, read %s, %d refused", built.table, built.rows, built.mode, built.refused)
        return dg.MaterializeResult(
            metadata={"rows": built.rows, "read": str(built.mode), "refused": built.refused, "spark": spark_interface()}
        )

    return table  # type: ignore[no-any-return]


def spark_interface() -> dg.MetadataValue[str]:
    """Where Spark shows what it did."""
    from lakehouse.settings import load
    from lakehouse.stack.spark import Spark

    return dg.MetadataValue.url(Spark().address(load()))
