"""What must hold for the tables of the conversions."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.adapters.spark.resource import SparkResource
from lakehouse.domains.conversions.stream import PIPELINE
from lakehouse.naming import CONVERSION_EVENTS
from lakehouse.orchestration.checks import build_stream_check

LOOK_BACK = timedelta(days=2)
"""Event time over which stream and batch are compared."""

every_offset_is_accounted_for = build_stream_check(PIPELINE)


@dg.asset_check(
    asset=dg.AssetKey(CONVERSION_EVENTS.key),
    description="What the stream made of the records of the last two days is what Spark makes of their payloads.",
)
def stream_and_batch_agree(
    context: dg.AssetCheckExecutionContext, spark: SparkResource, iceberg: IcebergResource
) -> dg.AssetCheckResult:
    """Compare sums of hashes by hour."""
    from lakehouse.adapters.spark.workspace import Workspace
    from lakehouse.domains.conversions.agreement import disagreements

    with spark.session() as session:
        work = Workspace(session, iceberg.catalog(), context.run.run_id)
        found = disagreements(work, datetime.now(UTC) - LOOK_BACK)
    hours = {one.hour.isoformat(): one.rows for one in found}
    return dg.AssetCheckResult(passed=not found, metadata={"hours": dg.MetadataValue.json(hours)})
