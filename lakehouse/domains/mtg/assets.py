"""What Spark and Flink make of Magic's sets, cards and prices, as Dagster shows it: silver, and statistics."""

from typing import TYPE_CHECKING

import dagster as dg

from lakehouse.domains.mtg.bronze import mtg_cards_topic, mtg_prices_topic
from lakehouse.domains.mtg.statistics import STATISTICS
from lakehouse.domains.mtg.tables import CARD_VERSION, PRICE, SET
from lakehouse.naming import MTG_CARDS, MTG_PRICES, MTG_SETS, MTG_STATISTICS_TOPIC
from lakehouse.orchestration.describe import describe_contract, freshness, topic_spec
from lakehouse.orchestration.spark import Build, build_spark_asset

if TYPE_CHECKING:
    from lakehouse.adapters.spark.workspace import Workspace
    from lakehouse.ledger.built import Built

POOL = "mtg_models"
"""Two runs never write to the same tables at once."""
_DAILY = freshness(warn_hours=26, fail_hours=50)


def _silver(name: str) -> Build:
    def build(work: "Workspace") -> "Built":
        from lakehouse.domains.mtg import silver

        built: Built = getattr(silver, name)(work)
        return built

    return build


sets = build_spark_asset(SET, _silver("build_sets"), MTG_SETS, pool=POOL, freshness_policy=_DAILY)
cards = build_spark_asset(CARD_VERSION, _silver("build_cards"), MTG_CARDS, pool=POOL, freshness_policy=_DAILY)
prices = build_spark_asset(PRICE, _silver("build_prices"), MTG_PRICES, pool=POOL, freshness_policy=_DAILY)
silver_assets = [sets, cards, prices]

_COUNTED = [mtg_cards_topic, mtg_prices_topic]
statistics_topic = topic_spec(
    MTG_STATISTICS_TOPIC,
    "Statistics of each set and rarity, absolute; of several the one with the highest version holds.",
).replace_attributes(deps=_COUNTED, kinds={"flink", "kafka"})
statistics = dg.AssetSpec(**describe_contract(STATISTICS), deps=_COUNTED, kinds={"flink", "iceberg"})
