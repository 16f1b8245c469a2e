"""The tables that all domains share, as assets: written by the drains and the file runs of every feed."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from lakehouse.contracts.contract import Contract
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.contracts.delivery import DELIVERY_RECORD
from lakehouse.ledger.feed import Feed
from lakehouse.orchestration.describe import describe_contract, staging_key


def platform_specs(feeds: Iterable[Feed], files: Iterable[Contract]) -> list[dg.AssetSpec]:
    """Dead letters and deliveries, downstream of all that records come from; a run that writes them reports it."""
    topics = [dg.AssetKey(feed.topic.asset_key) for feed in feeds]
    folders = [staging_key(contract) for contract in files]
    return [
        dg.AssetSpec(**describe_contract(DEAD_LETTER), deps=[*topics, *folders], kinds={"kafka", "iceberg"}),
        dg.AssetSpec(**describe_contract(DELIVERY_RECORD), deps=folders, kinds={"file", "iceberg"}),
    ]
