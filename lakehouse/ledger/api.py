"""A source that is pulled: an API with lists, and the contract of the table that their items go to."""

from __future__ import annotations

from dataclasses import dataclass

from lakehouse.contracts.contract import Contract


@dataclass(frozen=True)
class Api:
    """An API and where it is landed, and the columns by which an item is known there."""

    source: str
    contract: Contract
    item_id: str
    item_hash: str
