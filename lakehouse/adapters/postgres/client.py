"""Connections to the serving database, and rows into it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import psycopg2
import pyarrow.csv as pc
from psycopg2 import sql

from lakehouse.errors import LakehouseError

if TYPE_CHECKING:
    import pyarrow as pa
    from psycopg2.extensions import connection as Connection  # noqa: N812
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

    from lakehouse.settings import Settings

TIMEOUT_SECONDS = 5


def connect(settings: Settings, name: str) -> Connection:
    """A connection to the serving database; each transaction is the caller's.

    Args:
        settings: Where it is.
        name: Who asks, for `pg_stat_activity`.

    Raises:
        LakehouseError: it does not answer, or refuses.
    """
    with _in_words(settings):
        return psycopg2.connect(
            host=settings.db_address,
            port=settings.db_port,
            dbname=settings.db_name,
            user=settings.db_user,
            password=settings.db_password.get_secret_value(),
            connect_timeout=TIMEOUT_SECONDS,
            application_name=f"lakehouse {name}",
            options="-c timezone=UTC",
        )


@contextmanager
def open_postgres(settings: Settings, name: str) -> Iterator[Connection]:
    """Like `connect`, for a block.

    Raises:
        LakehouseError: also where the connection is lost within the block.
    """
    with closing(connect(settings, name)) as connection, _in_words(settings):
        yield connection


@contextmanager
def _in_words(settings: Settings) -> Iterator[None]:
    try:
        yield
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        reason = str(error).strip().splitlines()[-1:]
        raise LakehouseError(f"PostgreSQL at {settings.db_address}:{settings.db_port}: {''.join(reason)}") from None


def copy_rows(cursor: Cursor, table: str, rows: pa.Table) -> None:
    """Append rows to a table, whose columns have the same names; nothing is done a row.

    An empty text and none at all stay different: CSV of both sides writes the first in quotes.

    Args:
        cursor: In a transaction.
        table: Its name, from code.
        rows: Without binary columns.
    """
    text = io.BytesIO()
    pc.write_csv(rows, text, pc.WriteOptions(include_header=False))
    text.seek(0)
    columns = sql.SQL(", ").join(map(sql.Identifier, rows.column_names))
    copy = sql.SQL("copy {} ({}) from stdin with (format csv)").format(sql.Identifier(table), columns)
    cursor.copy_expert(copy, text)
