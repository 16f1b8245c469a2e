"""What all domains share: the tables that the drains and file runs of every feed write, their checks, the calendar."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from lakehouse.contracts.contract import Contract
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.contracts.delivery import DELIVERY_RECORD
from lakehouse.contracts.duplicate import DUPLICATE
from lakehouse.contracts.expired_snapshot import EXPIRED_SNAPSHOT
from lakehouse.contracts.pull import PULL_RECORD
from lakehouse.contracts.replay import REPLAY
from lakehouse.ledger.api import Api
from lakehouse.ledger.feed import Feed
from lakehouse.naming import DEAD_LETTERS, Domain
from lakehouse.orchestration.checks import build_audit_check, build_refusal_check
from lakehouse.orchestration.dbt import build_dbt_assets
from lakehouse.orchestration.describe import api_key, describe_contract, freshness, staging_key
from lakehouse.orchestration.scheduled import build_scheduled_job
from lakehouse.orchestration.upkeep import MAINTENANCE
from lakehouse.streaming.landing import Landing


def build_platform(
    feeds: Sequence[Feed], files: Sequence[Contract], pipelines: Sequence[Landing], apis: Sequence[Api]
) -> dg.Definitions:
    """Dead letters, duplicates, deliveries and pulls, downstream of where records come from; the hourly look at them.

    The calendar, `gold.dim_date`, is made by the jobs of the domains whose facts point at it.
    """
    topics = [dg.AssetKey(feed.topic.asset_key) for feed in feeds]
    streamed = [dg.AssetKey(pipeline.topic.asset_key) for pipeline in pipelines]
    queues = [dg.AssetKey(pipeline.refused.asset_key) for pipeline in pipelines]
    folders = [staging_key(contract) for contract in files]
    pulled = [api_key(api.contract) for api in apis]
    refusing = [*topics, *queues, *folders, *pulled]
    few_records_are_refused = build_refusal_check([*(feed.contract for feed in feeds), *(api.contract for api in apis)])
    everything_is_accounted_for = build_audit_check(feeds, pipelines, apis)
    hourly, hourly_schedule = build_scheduled_job(
        "platform_hourly",
        dg.AssetSelection.checks(few_records_are_refused, everything_is_accounted_for),
        cron="10 * * * *",
        description="Looks at what all domains share: how much was refused, and whether every account closes.",
    )
    return dg.Definitions(
        assets=[
            dg.AssetSpec(**describe_contract(DEAD_LETTER), deps=refusing, kinds={"kafka", "iceberg"}),
            dg.AssetSpec(**describe_contract(DUPLICATE), deps=streamed, kinds={"flink", "iceberg"}),
            dg.AssetSpec(**describe_contract(DELIVERY_RECORD), deps=folders, kinds={"file", "iceberg"}),
            dg.AssetSpec(**describe_contract(PULL_RECORD), deps=pulled, kinds={"python", "iceberg"}),
            dg.AssetSpec(
                **describe_contract(REPLAY), deps=[dg.AssetKey(DEAD_LETTERS.key)], kinds={"python", "iceberg"}
            ),
            dg.AssetSpec(**describe_contract(EXPIRED_SNAPSHOT), deps=[MAINTENANCE], kinds={"python", "iceberg"}),
            build_dbt_assets(Domain.PLATFORM, freshness_policy=freshness(warn_hours=26, fail_hours=50)),
        ],
        asset_checks=[few_records_are_refused, everything_is_accounted_for],
        jobs=[hourly],
        schedules=[hourly_schedule],
    )
