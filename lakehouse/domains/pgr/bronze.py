"""Bronze of the grievance events: the topic, and the table it is landed in."""

from collections.abc import Iterator

import dagster as dg

from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.adapters.kafka.resource import KafkaResource
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.ledger.feed import Feed
from lakehouse.naming import PGR_EVENTS_TOPIC
from lakehouse.orchestration.describe import describe_contract, freshness, staging_spec, topic_spec
from lakehouse.orchestration.landing import RETRY, land

FEED = Feed(PGR_EVENTS_TOPIC, SERVICE_EVENT, topic_setting="kafka_topic")

pgr_events_topic = topic_spec(
    PGR_EVENTS_TOPIC, "Service events as the applications publish them, keyed by case; kept for seven days."
)


service_event_files = staging_spec(
    SERVICE_EVENT, "CSV, Parquet and JSON Lines files of service events, dropped into the staging folder."
)


@dg.asset(  # type: ignore[untyped-decorator]
    **describe_contract(SERVICE_EVENT),
    deps=[pgr_events_topic, service_event_files],
    kinds={"kafka", "iceberg"},
    retry_policy=RETRY,
    freshness_policy=freshness(warn_hours=24, fail_hours=48),
)
def service_events_raw(
    context: dg.AssetExecutionContext, kafka: KafkaResource, iceberg: IcebergResource
) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[None]]:
    """Drain the topic. The description of the asset is the contract's."""
    yield from land(context, FEED, kafka, iceberg)
