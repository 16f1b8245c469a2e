"""The dead letters as an asset: written by the drains of all feeds."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.ledger.feed import Feed
from lakehouse.orchestration.describe import describe_contract


def dead_letters_spec(feeds: Iterable[Feed]) -> dg.AssetSpec:
    """The table, downstream of every feed's topic; a drain that refuses records reports its materialisation."""
    return dg.AssetSpec(
        **describe_contract(DEAD_LETTER),
        deps=[dg.AssetKey(feed.topic.asset_key) for feed in feeds],
        kinds={"kafka", "iceberg"},
    )
