"""The schema `mtg` of PostgreSQL as Dagster shows it: one load fills all of its tables, and two checks look at them."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from lakehouse import settings as settings_module
from lakehouse.naming import (
    MTG_CARD_VERSIONS,
    MTG_PRICE_ROWS,
    MTG_SET_STATE,
    MTG_STATISTICS,
    Domain,
    TableName,
)
from lakehouse.orchestration.checks import SHOWN
from lakehouse.orchestration.describe import describe_served
from lakehouse.orchestration.landing import RETRY


def _served(table: str, description: str, source: TableName = MTG_CARD_VERSIONS) -> dg.AssetSpec:
    return dg.AssetSpec(
        **describe_served("postgres", f"mtg_{table}", Domain.MTG),
        deps=[dg.AssetKey(source.key)],
        description=description,
    )


SPECS = {
    "sets": _served("sets", "Sets, one row a code.", MTG_SET_STATE),
    "cards": _served("cards", "Cards, one row a print and face; what has vanished is marked."),
    "card_types": _served("card_types", "Types of each card."),
    "card_subtypes": _served("card_subtypes", "Subtypes of each card."),
    "card_supertypes": _served("card_supertypes", "Supertypes of each card."),
    "card_keywords": _served("card_keywords", "Keywords of each card."),
    "card_legalities": _served("card_legalities", "Verdict on each card by format."),
    "card_prices": _served(
        "card_prices",
        "Prices of the last days, one row a card, channel, provider, kind, finish, currency and day.",
        MTG_PRICE_ROWS,
    ),
}


@dg.multi_asset(specs=list(SPECS.values()), name="mtg_serving", retry_policy=RETRY)
def serving_tables() -> Iterator[dg.MaterializeResult[None]]:
    """Bring all tables to what silver holds, in one transaction: by what changed there since the last time."""
    from lakehouse.domains.mtg.serving import load

    done = load(settings_module.load())
    for table, spec in SPECS.items():
        more = {"prices_of_cards_not_held": done.foreign_prices} if table == "card_prices" else {}
        yield dg.MaterializeResult(asset_key=spec.key, metadata={"changed_rows": done.changed[table], **more})


@dg.asset_check(
    asset=SPECS["cards"].key,
    additional_deps=[spec.key for name, spec in SPECS.items() if name != "cards"],
    description="No row of the schema names a card, a set or a deck that is not there.",
)
def every_reference_holds() -> dg.AssetCheckResult:
    """Count the rows that do."""
    from lakehouse.domains.mtg.agreement import orphans

    found = orphans(settings_module.load())
    return dg.AssetCheckResult(passed=not found, metadata={"orphans": dg.MetadataValue.json(found)})


@dg.asset_check(
    asset=SPECS["card_prices"].key,
    additional_deps=[SPECS["cards"].key],
    description="Cards by set, and prices by kind and day, are those of silver at the snapshots that were loaded.",
)
def served_cards_agree_with_silver() -> dg.AssetCheckResult:
    """Count and add up both."""
    from lakehouse.domains.mtg.agreement import compare

    found = compare(settings_module.load())
    told = [f"{one.what}: PostgreSQL says {one.served}, silver {one.silver}" for one in found[:SHOWN]]
    return dg.AssetCheckResult(passed=not found, metadata={"differences": len(found), "differing": told})


@dg.asset(  # type: ignore[untyped-decorator]
    **describe_served("postgres", "mtg_card_statistics", Domain.MTG),
    deps=[dg.AssetKey(MTG_STATISTICS.key), SPECS["sets"].key],
    description="Statistics of each set and rarity, as Flink counted them; of sets that are held.",
    retry_policy=RETRY,
)
def card_statistics() -> dg.MaterializeResult[None]:
    """Take what gold says, in one transaction; of each set and rarity the highest version stays."""
    from lakehouse.domains.mtg.statistics_serving import load_statistics

    done = load_statistics(settings_module.load())
    return dg.MaterializeResult(metadata={"changed_rows": done.changed, "rows_of_sets_not_held": done.foreign})


CHECKS = (every_reference_holds, served_cards_agree_with_silver)
