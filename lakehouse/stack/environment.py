"""The environment in which Dagster, dbt, psql and friends find the running stack."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from pydantic import SecretStr

from lakehouse.settings import ENV_PREFIX, HERE, PROJECT, Settings
from lakehouse.stack.files import server_folder

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
PASSED_ON = (
    *("HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "XDG_CACHE_HOME", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"),
    "JDK_JAVA_OPTIONS",  # read by `java` itself
)
PROXIES = ("http_proxy", "https_proxy", "no_proxy")

MEMORY = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20),
}
"""For Python: batches take the pages that the batch before gave back, instead of having new ones zeroed. Left to
itself, glibc raises both thresholds as it goes: memory then grows with the number of batches."""


def program_environment(**more: str) -> dict[str, str]:
    """What every server gets: little, so that the shell `up` was called from makes no difference."""
    names = (*PASSED_ON, *PROXIES, *(name.upper() for name in PROXIES))
    passed = {name: os.environ[name] for name in names if name in os.environ}
    # glibc gives every thread its own arena otherwise, which costs a JVM or a Python server up to 100 MB.
    return passed | {"PATH": f"{_scripts()}:{SYSTEM_PATH}", "MALLOC_ARENA_MAX": "2"} | more


def exports(settings: Settings) -> dict[str, str]:
    """Variables that make `dagster`, `dbt`, `psql` and `lakehouse` itself work on the running stack.

    Holds passwords: hand it to processes or to the user's own shell, never to a log.
    """
    return (
        _settings_that_differ(settings)
        | dagster_variables(settings)
        | _s3_variables(settings)
        | MEMORY
        | {
            "DBT_PROFILES_DIR": str(PROJECT / "dbt_project"),
            "DBT_PROJECT_DIR": str(PROJECT / "dbt_project"),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "TRINO_HOST": settings.trino_address,
            "TRINO_PORT": str(settings.trino_port),
            "TRINO_USER": settings.trino_user,
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_brokers,
            "SPARK_REMOTE": settings.spark_address,
            "PGHOST": settings.db_address,
            "PGPORT": str(settings.db_port),
            "PGDATABASE": settings.db_name,
            "PGUSER": settings.db_user,
            "PGPASSWORD": settings.db_password.get_secret_value(),
            "REDIS_HOST": settings.redis_address,
            "REDIS_PORT": str(settings.redis_port),
            "REDISCLI_AUTH": settings.redis_password.get_secret_value(),
            "PATH": _path_with_scripts(),
        }
    )


def dagster_variables(settings: Settings) -> dict[str, str]:
    """What `dagster.yaml` reads."""
    folder = server_folder(settings, "dagster")
    return {
        "DAGSTER_HOME": str(folder),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        # Materialisations of a backfill's days are written together; one by one each takes three connections.
        "DAGSTER_EVENT_BATCH_SIZE": "1000",
        "DAGSTER_STORAGE_FOLDER": str(folder / "storage"),
        "DAGSTER_POSTGRES_HOST": settings.db_address,
        "DAGSTER_POSTGRES_PORT": str(settings.db_port),
        "DAGSTER_POSTGRES_DB": settings.dagster_db_name,
        "DAGSTER_POSTGRES_USER": settings.dagster_db_user,
        "DAGSTER_POSTGRES_PASSWORD": settings.dagster_db_password.get_secret_value(),
    }


def _s3_variables(settings: Settings) -> dict[str, str]:
    """What Amazon's own tools read, and Dagster where it writes to a bucket."""
    if not settings.s3_buckets:
        return {}
    key, secret = settings.s3_keys
    variables = {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": settings.s3_region,
        "AWS_ENDPOINT_URL_S3": settings.s3_url,
    }
    return {name: value for name, value in variables.items() if value}


def shell_lines(variables: dict[str, str]) -> str:
    """Lines a POSIX shell can evaluate, whatever the values hold."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))


def _settings_that_differ(settings: Settings) -> dict[str, str]:
    """The settings themselves, so that every process sees what `up` saw.

    The addresses exported for other tools (`TRINO_HOST` …) are names that the settings read too: the longer name
    with the value ``local`` keeps a server of this machine from looking like one that runs elsewhere.
    """
    values = {f"{ENV_PREFIX}HOME": str(settings.home)}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if value != field.default:
            values[ENV_PREFIX + name.upper()] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if settings.runs_kafka:
        values[f"{ENV_PREFIX}KAFKA_BOOTSTRAP_SERVERS"] = HERE
    if settings.runs_trino:
        values[f"{ENV_PREFIX}TRINO_HOST"] = HERE
    if settings.runs_flink:
        values[f"{ENV_PREFIX}FLINK_URL"] = HERE
    if settings.runs_spark:
        values[f"{ENV_PREFIX}SPARK_REMOTE"] = HERE
    if settings.runs_redis:
        values[f"{ENV_PREFIX}REDIS_HOST"] = HERE
    if settings.runs_s3:
        for name, value in zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), settings.s3_keys, strict=True):
            values[ENV_PREFIX + name] = value
    return values


def _path_with_scripts() -> str:
    current = os.environ.get("PATH", SYSTEM_PATH)
    others = [folder for folder in current.split(":") if folder != _scripts()]
    return ":".join([_scripts(), *others])


def _scripts() -> str:
    return str(Path(sys.executable).parent)
