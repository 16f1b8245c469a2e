"""Write the files that are generated from the contracts: ``python -m lakehouse.generate``."""

from __future__ import annotations

from pathlib import Path

from lakehouse.adapters.dbt.project import DBT_PROJECT
from lakehouse.contracts.dbt import dbt_sources
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.domains.mtg.contract import BUILD_RECORD, CARD_MESSAGE, PRICE_MESSAGE, SET_MESSAGE
from lakehouse.domains.mtg.statistics import STATISTICS
from lakehouse.domains.mtg.tables import CARD_VERSION, PRICE, SET
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.domains.players.contract import PLAYER_EVENT
from lakehouse.domains.rawg.contract import RAWG_GAME
from lakehouse.naming import Layer

CONTRACTS = {
    Layer.BRONZE: (
        SERVICE_EVENT,
        PLAYER_EVENT,
        RAWG_GAME,
        DEAD_LETTER,
        SET_MESSAGE,
        CARD_MESSAGE,
        PRICE_MESSAGE,
        BUILD_RECORD,
    ),
    Layer.SILVER: (SET, CARD_VERSION, PRICE),
    Layer.GOLD: (STATISTICS,),
}
"""Tables that dbt does not make, and reads."""


def generated_files() -> dict[Path, str]:
    """Path and text of every generated file."""
    folder = DBT_PROJECT / "models" / "sources"
    return {folder / f"{layer}.yml": dbt_sources(layer, contracts) for layer, contracts in CONTRACTS.items()}


def main() -> None:
    """Write them."""
    for path, text in generated_files().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
