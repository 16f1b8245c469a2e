"""Schemas of the serving database, brought to what the code expects."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse.adapters.postgres.client import connect

if TYPE_CHECKING:
    from lakehouse.settings import Settings

SCRIPTS = Path(__file__).parent / "alembic"
LOCK = "lakehouse migrations"


def migrate(settings: Settings, schema: str, versions: Path) -> None:
    """Create a schema where it is missing, and run the migrations that it has not seen; others wait meanwhile.

    Args:
        settings: Where the database is.
        schema: Its name, from code.
        versions: Folder of the migrations.

    Raises:
        LakehouseError: PostgreSQL does not answer.
    """
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("version_locations", str(versions))
    config.set_main_option("path_separator", "newline")
    engine = create_engine(
        "postgresql+psycopg2://", creator=partial(connect, settings, "migrations"), poolclass=NullPool
    )
    with engine.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(hashtext(:lock))"), {"lock": LOCK})
        connection.execute(text(f"create schema if not exists {schema}"))
        config.attributes.update(connection=connection, schema=schema)
        command.upgrade(config, "head")
