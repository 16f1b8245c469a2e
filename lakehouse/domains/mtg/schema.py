"""The schema of the Magic cards in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse.adapters.postgres.migrate import migrate

if TYPE_CHECKING:
    from lakehouse.settings import Settings


def ensure_schema(settings: Settings) -> None:
    """Bring the schema `mtg` to what the code expects.

    Raises:
        LakehouseError: PostgreSQL does not answer.
    """
    migrate(settings, "mtg", Path(__file__).parent / "migrations")
