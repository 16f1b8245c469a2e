"""Asking Trino."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lakehouse.errors import LakehouseError
from lakehouse.naming import TRINO_CATALOG

if TYPE_CHECKING:
    from lakehouse.settings import Settings


def query(settings: Settings, sql: str, parameters: Sequence[Any] = ()) -> tuple[list[str], list[list[Any]]]:
    """Run a statement; names of the columns and the rows.

    Args:
        settings: Where Trino is.
        sql: Values as ``?``; identifiers come from `lakehouse.naming` only.
        parameters: The values.

    Raises:
        LakehouseError: Trino does not answer or refuses the statement.
    """
    import trino

    connection = trino.dbapi.connect(  # type: ignore[no-untyped-call]
        host=settings.trino_address, port=settings.trino_port, user=settings.trino_user, catalog=TRINO_CATALOG
    )
    try:
        cursor = connection.cursor()
        cursor.execute(sql, list(parameters) or None)
        rows = [list(row) for row in cursor.fetchall()]
        return [column[0] for column in cursor.description or []], rows
    except trino.exceptions.TrinoQueryError as error:
        raise LakehouseError(f"Trino refuses: {error.message}") from None
    except trino.exceptions.TrinoConnectionError as error:
        address = f"{settings.trino_address}:{settings.trino_port}"
        raise LakehouseError(f"Trino does not answer at {address}: {error}") from None
    finally:
        connection.close()
