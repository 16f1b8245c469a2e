"""What must hold for Magic's sets, cards and prices, beside what dbt tests."""

from __future__ import annotations

import dagster as dg

from lakehouse import settings as settings_module
from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.domains.mtg.feeds import FEEDS
from lakehouse.naming import (
    FACT_MTG_CARD_PRICE,
    MTG_BUILDS,
    MTG_CARD_VERSIONS,
    MTG_SET_STATE,
)
from lakehouse.orchestration.checks import SHOWN, build_account_check

JUMP = 10
"""Times by which a price hardly rises or falls in a day."""
JUMPING_SHARE = 0.01
"""Share of a day's prices that may."""

_SIZES = f"""
    select s.set_code, s.total_set_size, count(c.uuid) as cards
    from {MTG_SET_STATE.sql} s left join {MTG_CARD_VERSIONS.sql} c on s.set_code = c.set_code and c.is_current
    where not s.is_deleted and s.total_set_size is not null
    group by s.set_code, s.total_set_size having count(c.uuid) <> s.total_set_size order by s.set_code
"""
_JUMPS = f"""
    select count(*), count_if(price > {JUMP} * previous_price or {JUMP} * price < previous_price)
    from {FACT_MTG_CARD_PRICE.sql}
    where previous_price > 0 and date_key = (select max(date_key) from {FACT_MTG_CARD_PRICE.sql})
"""

accounts = [build_account_check(feed) for feed in FEEDS]


@dg.asset_check(
    asset=dg.AssetKey(MTG_CARD_VERSIONS.key),
    additional_deps=[dg.AssetKey(MTG_SET_STATE.key)],
    description="Each set has as many cards, faces counted, as MTGJSON says it has; of a few it says another number.",
)
def sets_hold_the_cards_they_declare() -> dg.AssetCheckResult:
    """Count the current cards of each set."""
    from lakehouse.adapters.trino.query import query

    _, rows = query(settings_module.load(), _SIZES)
    differing = {code: {"declared": declared, "cards": cards} for code, declared, cards in rows}
    return dg.AssetCheckResult(
        passed=not differing,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"sets": len(differing), "differing": dg.MetadataValue.json(dict(list(differing.items())[:SHOWN]))},
    )


@dg.asset_check(
    asset=dg.AssetKey(MTG_BUILDS.key),
    description="The kept files of the newest build have the checksums that the server said and the table remembers.",
)
def kept_files_are_what_was_received(iceberg: IcebergResource) -> dg.AssetCheckResult:
    """Read them once more."""
    from lakehouse.domains.mtg.pull import changed_files

    count, changed = changed_files(settings_module.load(), iceberg.catalog())
    return dg.AssetCheckResult(passed=not changed, metadata={"files": count, "changed": changed})


@dg.asset_check(
    asset=dg.AssetKey(FACT_MTG_CARD_PRICE.key),
    description=f"Of the newest day's prices few are {JUMP} times, or a {JUMP}th of, what they were the day before.",
)
def prices_hardly_jump() -> dg.AssetCheckResult:
    """Compare the newest day with the one before it."""
    from lakehouse.adapters.trino.query import query

    _, ((prices, jumps),) = query(settings_module.load(), _JUMPS)
    return dg.AssetCheckResult(
        passed=jumps <= JUMPING_SHARE * prices,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"prices": prices, "jumps": jumps, "allowed_share": JUMPING_SHARE},
    )


all_checks = [*accounts, sets_hold_the_cards_they_declare, kept_files_are_what_was_received, prices_hardly_jump]
