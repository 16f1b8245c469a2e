"""The RAWG API, as the ledger of pulls knows it."""

from __future__ import annotations

from lakehouse.domains.rawg.contract import RAWG_GAME
from lakehouse.ledger.api import Api

API = Api("rawg", RAWG_GAME, item_id="game_id", item_hash="content_hash")
