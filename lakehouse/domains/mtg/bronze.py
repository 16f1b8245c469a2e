"""Bronze of Magic's sets, cards and prices: builds are taken and published on topics, which are landed in tables."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import dagster as dg

from lakehouse import settings as settings_module
from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.adapters.kafka.resource import KafkaResource
from lakehouse.domains.mtg.contract import BUILD_RECORD
from lakehouse.domains.mtg.feeds import CARDS, FEEDS, PRICES, SETS
from lakehouse.ledger.feed import Feed
from lakehouse.orchestration.describe import describe_contract, freshness, topic_spec
from lakehouse.orchestration.landing import RETRY, land
from lakehouse.orchestration.partitions import DAILY

_DAILY = freshness(warn_hours=26, fail_hours=50)


@dg.multi_asset(
    specs=[
        dg.AssetSpec(**describe_contract(BUILD_RECORD), kinds={"kafka", "iceberg"}, freshness_policy=_DAILY),
    ],
    name="mtg_builds",
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=RETRY,
    pool="mtg_builds",
)
def mtg_builds(context: dg.AssetExecutionContext, iceberg: IcebergResource) -> dg.MaterializeResult[None]:
    """Without a partition the newest build is taken; of a range of days the builds whose downloads are kept."""
    from lakehouse.domains.mtg.pull import Pulled, pull, take_again, wanted

    settings = settings_module.load()
    given: dict[str, Any] = {"run_id": context.run.run_id}
    taken: list[Pulled] = []
    if context.has_partition_key or context.has_partition_key_range:
        days = context.partition_key_range
        first, last = date.fromisoformat(days.start), date.fromisoformat(days.end)
        # The newest first: then no build has to say again what a later one said.
        for back in range((last - first).days, -1, -1):
            day = first + timedelta(days=back)
            found = take_again(settings, iceberg.catalog(), day, is_needed=first == last, **given)
            taken += [found] if found else []
    else:
        taken.append(pull(settings, iceberg.catalog(), wanted(settings.mtg_sets, prices=True), **given))
    for one in taken:
        context.log.info("build %s: %d parts, sent %s", one.build.version, len(one.parts), one.sent)
    sent = {
        topic: sum(one.sent[topic].total for one in taken if topic in one.sent)
        for topic in (feed.topic_name for feed in FEEDS)
    }
    return dg.MaterializeResult(
        metadata={
            "builds": [one.build.version for one in taken],
            "parts": sum(len(one.parts) for one in taken),
            "sent": dg.MetadataValue.json(sent),
        }
    )


def _topic(feed: Feed, what: str) -> dg.AssetSpec:
    said = f"{what}, as MTGJSON's builds show them; compacted, everything stays for seven days."
    return topic_spec(feed.topic, said).replace_attributes(deps=[mtg_builds])


mtg_sets_topic = _topic(SETS, "Sets of Magic cards, keyed by code")
mtg_cards_topic = _topic(CARDS, "Magic cards, a message a face, keyed by uuid")
mtg_prices_topic = _topic(PRICES, "Prices of Magic cards, a message a card and day, keyed by uuid")
topics = [mtg_sets_topic, mtg_cards_topic, mtg_prices_topic]


def _landed(feed: Feed, topic: dg.AssetSpec) -> dg.AssetsDefinition:
    @dg.asset(  # type: ignore[untyped-decorator]
        **describe_contract(feed.contract),
        # The topic is nobody's step in a run: what is published in it must be there before it is landed.
        deps=[topic, mtg_builds],
        kinds={"kafka", "iceberg"},
        retry_policy=RETRY,
        freshness_policy=_DAILY,
    )
    def landed(
        context: dg.AssetExecutionContext, kafka: KafkaResource, iceberg: IcebergResource
    ) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[None]]:
        yield from land(context, feed, kafka, iceberg)

    return landed  # type: ignore[no-any-return]


landed = [_landed(feed, topic) for feed, topic in zip(FEEDS, topics, strict=True)]
