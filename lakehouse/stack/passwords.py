"""What `up` generates, kept in ``secrets.toml``, readable by the owner only: passwords, and how Kafka is secured."""

from __future__ import annotations

import json
import secrets
import tomllib

from pydantic import SecretStr

from lakehouse.settings import GENERATED, Settings
from lakehouse.stack.certificates import certificates_in
from lakehouse.stack.files import server_folder, write_file

FIELDS = ("postgres_password", "db_password", "catalog_db_password", "dagster_db_password")
S3_FIELD = "s3_password"
REDIS_FIELD = "redis_password"
KAFKA_USER = "lakehouse"


def ensure_passwords(settings: Settings) -> Settings:
    """Generate what neither the settings nor an earlier `up` has set; returns settings that hold all passwords."""
    needed = [
        *(FIELDS if settings.runs_postgres else ()),
        *((S3_FIELD,) if settings.runs_s3 else ()),
        *((REDIS_FIELD,) if settings.runs_redis else ()),
    ]
    known = _read(settings)
    missing = [name for name in needed if not getattr(settings, name).get_secret_value()]
    fresh = {name: secrets.token_urlsafe(24) for name in missing if name not in known}
    if fresh:
        _write(settings, known | fresh)
    return settings.model_copy(update={name: SecretStr((known | fresh)[name]) for name in missing})


def choose_security(settings: Settings, *, is_secure: bool) -> None:
    """Have every command know from now on whether the local broker asks for TLS and a password.

    What the environment or a file of settings says wins all the same.
    """
    known = _read(settings)
    chosen = {
        "kafka_security_protocol": "SASL_SSL",
        "kafka_username": KAFKA_USER,
        "kafka_password": known.get("kafka_password") or secrets.token_urlsafe(24),
        "kafka_ssl_ca": str(certificates_in(server_folder(settings, "kafka")).authority),
    }
    rest = {name: value for name, value in known.items() if name not in chosen}
    _write(settings, rest | chosen if is_secure else rest)


def _read(settings: Settings) -> dict[str, str]:
    path = settings.home / GENERATED
    return tomllib.loads(path.read_text()) if path.exists() else {}


def _write(settings: Settings, values: dict[str, str]) -> None:
    # A JSON string is a TOML string.
    write_file(settings.home / GENERATED, "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
