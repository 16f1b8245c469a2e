"""Passwords of the local PostgreSQL: generated once, kept in ``secrets.toml``, readable by the owner only."""

from __future__ import annotations

import json
import secrets
import tomllib

from pydantic import SecretStr

from lakehouse.settings import GENERATED, Settings
from lakehouse.stack.files import write_file

FIELDS = ("postgres_password", "db_password", "catalog_db_password", "dagster_db_password")


def ensure_passwords(settings: Settings) -> Settings:
    """Generate what neither the settings nor an earlier `up` has set; returns settings that hold all passwords."""
    if not settings.runs_postgres:
        return settings
    path = settings.home / GENERATED
    known: dict[str, str] = tomllib.loads(path.read_text()) if path.exists() else {}
    missing = [name for name in FIELDS if not getattr(settings, name).get_secret_value()]
    fresh = {name: secrets.token_urlsafe(24) for name in missing if name not in known}
    if fresh:
        # A JSON string is a TOML string.
        write_file(path, "".join(f"{name} = {json.dumps(value)}\n" for name, value in (known | fresh).items()))
    return settings.model_copy(update={name: SecretStr((known | fresh)[name]) for name in missing})
