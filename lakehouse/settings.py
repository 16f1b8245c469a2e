"""The one reader of environment variables.

Values come from the environment, then ``.env``, then ``lakehouse.toml`` (both in the project folder), then the
passwords that ``lakehouse up`` generated, then the defaults below. A server whose address is not set is one of the
local stack.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from lakehouse.errors import SettingsError

PROJECT = Path(__file__).resolve().parent.parent
"""The checkout: where ``.env``, ``lakehouse.toml``, ``dagster.yaml`` and the dbt project are."""

DEFAULT_HOME = PROJECT / ".lakehouse"
ENV_PREFIX = "LAKEHOUSE_"
OTHER_VARIABLES = {"LAKEHOUSE_REAL_DATA"}
"""Variables with our prefix that are no settings: where the tests find real data."""

LOOPBACK = "127.0.0.1"
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104
HERE = "local"
"""Value of an address that says: the local stack's server."""
S3 = "s3://"
THRIFT = "thrift://"
S3_USER = "lakehouse"
"""Access key of the local S3 store."""
IDLE_COMMIT_SECONDS = 10
"""A commit's transaction takes milliseconds. A process that is frozen within one must not hold up every other."""
GENERATED = "secrets.toml"
"""File in ``home`` with the passwords that ``lakehouse up`` generated, readable by the owner only."""


def is_s3(place: str) -> bool:
    """Whether a place is in a bucket, and not in a folder."""
    return place.startswith(S3)


def bucket_and_key(uri: str) -> tuple[str, str]:
    """The two parts of `s3://bucket/key`."""
    bucket, _, key = uri.removeprefix(S3).partition("/")
    return bucket, key


def _names(field: str, *aliases: str) -> AliasChoices:
    return AliasChoices(ENV_PREFIX + field.upper(), *aliases)


class Settings(BaseSettings):
    """Everything that differs between a laptop and a cluster."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True)

    home: Path = Field(
        DEFAULT_HOME,
        validation_alias=_names("home"),
        description="Folder for the data, logs and passwords of the servers on this machine.",
    )
    warehouse: str = Field(
        "",
        validation_alias=_names("warehouse"),
        description="Root of the tables' data, `file:///…` or `s3://…`. Default: `warehouse` in `home`.",
    )

    staging: str = Field(
        "",
        validation_alias=_names("staging"),
        description="Folder, or `s3://…`, into which files are dropped to be taken in. Default: `staging` in `home`.",
    )
    compute_logs: str = Field(
        "",
        validation_alias=_names("compute_logs"),
        description="`s3://…` for the output of Dagster's runs. Default: a folder in `home`.",
    )

    catalog_url: str = Field(
        "",
        validation_alias=_names("catalog_url"),
        description=(
            "URL of an Iceberg REST catalog, or `thrift://…` of a Hive Metastore (untested); `local`: a Nessie of the"
            " local stack, with the warehouse in a bucket. Unset: the catalog is in PostgreSQL."
        ),
    )
    nessie_port: int = Field(
        19120, validation_alias=_names("nessie_port"), description="Port of the local Nessie.", ge=1, le=65535
    )

    kafka_bootstrap_servers: str = Field(
        "",
        validation_alias=_names("kafka_bootstrap_servers", "KAFKA_BOOTSTRAP_SERVERS", "KAFKA_BROKERS"),
        description="Kafka brokers, `host:port,…`. Unset: the local stack's broker.",
    )
    kafka_port: int = Field(
        19092, validation_alias=_names("kafka_port"), description="Port of the local broker.", ge=1, le=65535
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT",
        validation_alias=_names("kafka_security_protocol", "KAFKA_SECURITY_PROTOCOL"),
        description="How to talk to the brokers. SASL uses SCRAM-SHA-512.",
    )
    kafka_username: str = Field(
        "", validation_alias=_names("kafka_username", "KAFKA_USERNAME"), description="SASL user."
    )
    kafka_password: SecretStr = Field(
        SecretStr(""), validation_alias=_names("kafka_password", "KAFKA_PASSWORD"), description="SASL password."
    )
    kafka_ssl_ca: str = Field(
        "",
        validation_alias=_names("kafka_ssl_ca", "KAFKA_SSL_CA_LOCATION"),
        description="File in PEM with the authority that signed the brokers' certificates. Unset: the system's.",
    )
    kafka_topic: str = Field(
        "pgr-events",
        validation_alias=_names("kafka_topic", "KAFKA_TOPIC"),
        description="Topic the service events are read from.",
    )
    kafka_group_id: str = Field(
        "bronze-ingestion",
        validation_alias=_names("kafka_group_id", "KAFKA_GROUP_ID"),
        description="Consumer group that shows progress to lag tools.",
    )

    batch_size: int = Field(
        50_000, validation_alias=_names("batch_size", "BATCH_SIZE"), description="Rows a bronze commit at most.", ge=1
    )
    flush_interval_sec: float = Field(
        5.0,
        validation_alias=_names("flush_interval_sec", "FLUSH_INTERVAL_SEC"),
        description="Seconds a record waits at most for its commit.",
        gt=0,
    )
    drain_idle_sec: float = Field(
        10.0,
        validation_alias=_names("drain_idle_sec"),
        description="A draining run ends after this long without a record.",
        gt=0,
    )
    drain_max_sec: float = Field(
        600.0, validation_alias=_names("drain_max_sec"), description="A draining run ends after this long.", gt=0
    )

    refused_share: float = Field(
        0.05,
        validation_alias=_names("refused_share"),
        description="Share of a day's records that may become dead letters before the check on them fails.",
        ge=0,
        le=1,
    )

    snapshots_kept: int = Field(
        100,
        validation_alias=_names("snapshots_kept"),
        description="Snapshots of a table that maintenance leaves, beside those that a reader still needs.",
        ge=1,
    )
    snapshot_retention_hours: float = Field(
        7 * 24.0,
        validation_alias=_names("snapshot_retention_hours"),
        description="Hours after which maintenance takes a snapshot out, though it be among those kept.",
        ge=1,
    )
    small_files_kept: int = Field(
        20,
        validation_alias=_names("small_files_kept"),
        description="Small files a table may have before maintenance puts them together.",
        ge=2,
    )
    orphan_age_hours: float = Field(
        72.0,
        validation_alias=_names("orphan_age_hours"),
        description="Age at which a file that no snapshot names is removed; younger ones may be of a commit under way.",
        ge=24,
    )

    trino_host: str = Field(
        "", validation_alias=_names("trino_host", "TRINO_HOST"), description="Trino. Unset: the local stack's."
    )
    trino_port: int = Field(
        18080, validation_alias=_names("trino_port", "TRINO_PORT"), description="Port of Trino.", ge=1, le=65535
    )
    trino_user: str = Field(
        "lakehouse", validation_alias=_names("trino_user", "TRINO_USER"), description="User name in Trino."
    )

    db_host: str = Field(
        "", validation_alias=_names("db_host", "DB_HOST"), description="PostgreSQL. Unset: the local stack's."
    )
    db_port: int = Field(
        15432, validation_alias=_names("db_port", "DB_PORT"), description="Port of PostgreSQL.", ge=1, le=65535
    )
    postgres_password: SecretStr = Field(
        SecretStr(""),
        validation_alias=_names("postgres_password", "POSTGRES_PASSWORD"),
        description="Superuser of the local PostgreSQL. Generated.",
    )
    db_name: str = Field("lakehouse", validation_alias=_names("db_name", "DB_NAME"), description="Serving database.")
    db_user: str = Field("serving", validation_alias=_names("db_user", "DB_USER"), description="Serving role.")
    db_password: SecretStr = Field(
        SecretStr(""),
        validation_alias=_names("db_password", "DB_PASSWORD"),
        description="Password of the serving role. Generated.",
    )
    catalog_db_name: str = Field(
        "catalog", validation_alias=_names("catalog_db_name"), description="Database of the Iceberg catalog."
    )
    catalog_db_user: str = Field(
        "catalog", validation_alias=_names("catalog_db_user"), description="Role of the Iceberg catalog."
    )
    catalog_db_password: SecretStr = Field(
        SecretStr(""),
        validation_alias=_names("catalog_db_password"),
        description="Password of the catalog's role. Generated.",
    )
    dagster_db_name: str = Field(
        "dagster", validation_alias=_names("dagster_db_name"), description="Database of Dagster's storage."
    )
    dagster_db_user: str = Field(
        "dagster", validation_alias=_names("dagster_db_user"), description="Role of Dagster's storage."
    )
    dagster_db_password: SecretStr = Field(
        SecretStr(""),
        validation_alias=_names("dagster_db_password"),
        description="Password of Dagster's role. Generated.",
    )

    flink_url: str = Field(
        "",
        validation_alias=_names("flink_url", "FLINK_REST_URL"),
        description="REST address of a Flink cluster, `http://host:port`. Unset: the local stack's.",
    )
    flink_port: int = Field(
        18081,
        validation_alias=_names("flink_port"),
        description="Port of the local Flink's interface; its job manager takes the one after it.",
        ge=1,
        le=65534,
    )
    spark_remote: str = Field(
        "",
        validation_alias=_names("spark_remote", "SPARK_REMOTE"),
        description="Address of a Spark Connect server, `sc://host:port`. Unset: the local stack's.",
    )
    spark_port: int = Field(
        15002,
        validation_alias=_names("spark_port"),
        description="Port of the local Spark Connect server; its interface takes the one after it.",
        ge=1,
        le=65534,
    )
    checkpoint_sec: int = Field(
        60,
        validation_alias=_names("checkpoint_sec"),
        description="Seconds between two commits of an always-on job.",
        ge=1,
    )
    stream_restart_sec: int = Field(
        30,
        validation_alias=_names("stream_restart_sec"),
        description="Seconds until Flink restarts an always-on job that failed; the fourth time Dagster does.",
        ge=0,
    )

    dagster_port: int = Field(
        3000, validation_alias=_names("dagster_port"), description="Port of Dagster's UI.", ge=1, le=65535
    )

    alert_webhook: SecretStr = Field(
        SecretStr(""),
        validation_alias=_names("alert_webhook"),
        description="URL that is told, in JSON, of failed runs and checks, stale assets and streams in trouble.",
    )

    api_port: int = Field(
        18000, validation_alias=_names("api_port"), description="Port of the HTTP API.", ge=1, le=65535
    )
    api_host: str = Field(
        LOOPBACK,
        validation_alias=_names("api_host"),
        description="Address that the HTTP API listens on. Any other than loopback: a request needs an API key.",
    )
    api_keys_required: bool = Field(
        default=False, validation_alias=_names("api_keys_required"), description="Ask for API keys on loopback, too."
    )
    api_events_per_second: float = Field(
        5_000,
        validation_alias=_names("api_events_per_second"),
        description="Events that may be sent, or questions asked, with one API key in a second.",
        gt=0,
    )

    redis_host: str = Field(
        "", validation_alias=_names("redis_host", "REDIS_HOST"), description="Redis. Unset: the local stack's."
    )
    redis_port: int = Field(
        16379, validation_alias=_names("redis_port", "REDIS_PORT"), description="Port of Redis.", ge=1, le=65535
    )
    redis_password: SecretStr = Field(
        SecretStr(""),
        validation_alias=_names("redis_password", "REDIS_PASSWORD"),
        description="Password of Redis. Generated for the local one.",
    )
    redis_tls: bool = Field(
        default=False, validation_alias=_names("redis_tls"), description="Whether Redis is spoken to through TLS."
    )
    player_events_kept_days: int = Field(
        30,
        validation_alias=_names("player_events_kept_days"),
        description="Days of events that PostgreSQL's `players.events` holds; older ones are in the lake.",
        ge=1,
    )
    mtg_prices_kept_days: int = Field(
        30,
        validation_alias=_names("mtg_prices_kept_days"),
        description="Days of prices that PostgreSQL's `mtg.card_prices` holds; older ones are in the lake.",
        ge=1,
    )

    rawg_api_key: SecretStr = Field(
        SecretStr(""),
        validation_alias=_names("rawg_api_key", "RAWG_API_KEY"),
        description="Key of the RAWG API, from https://rawg.io/apidocs.",
    )
    rawg_url: str = Field(
        "https://api.rawg.io/api",
        validation_alias=_names("rawg_url"),
        description="Root of the RAWG API, or of a server like it (`lakehouse rawg serve`).",
    )
    rawg_requests_per_second: float = Field(
        5.0,
        validation_alias=_names("rawg_requests_per_second"),
        description="Requests to the RAWG API in a second at most, by all runs on this machine together.",
        gt=0,
    )
    rawg_requests_per_month: int = Field(
        20_000,
        validation_alias=_names("rawg_requests_per_month"),
        description="Requests to the RAWG API in a month (UTC) at most, by all runs together.",
        ge=1,
    )
    rawg_workers: int = Field(
        4, validation_alias=_names("rawg_workers"), description="Pages that are asked of RAWG at once.", ge=1, le=64
    )
    raw: str = Field(
        "",
        validation_alias=_names("raw"),
        description="Folder, or `s3://…`, in which items of RAWG are kept as received, in Parquet. Unset: not kept.",
    )

    mtgjson_url: str = Field(
        "https://mtgjson.com/api/v5/",
        validation_alias=_names("mtgjson_url", "MTGJSON_URL"),
        description="Where MTGJSON's files are: `Meta.json` and the others.",
    )
    mtg_sets: str = Field(
        "all",
        validation_alias=_names("mtg_sets"),
        description="Magic's sets that the daily job takes: codes with commas between, or `all`; `ALL` is Alliances.",
    )

    s3_endpoint: str = Field(
        "",
        validation_alias=_names("s3_endpoint"),
        description="URL of an S3 store of your own; `local`: one of the local stack. Unset: Amazon's.",
    )
    s3_port: int = Field(
        18333, validation_alias=_names("s3_port"), description="Port of the local S3 store.", ge=1, le=65535
    )
    s3_password: SecretStr = Field(
        SecretStr(""),
        validation_alias=_names("s3_password"),
        description="Secret key of the local S3 store. Generated.",
    )
    s3_region: str = Field(
        "us-east-1", validation_alias=_names("s3_region", "AWS_REGION"), description="Region of the bucket."
    )
    aws_access_key_id: SecretStr = Field(
        SecretStr(""), validation_alias=_names("aws_access_key_id", "AWS_ACCESS_KEY_ID"), description="S3 access key."
    )
    aws_secret_access_key: SecretStr = Field(
        SecretStr(""),
        validation_alias=_names("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
        description="S3 secret key.",
    )

    @field_validator("home", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator(
        "kafka_bootstrap_servers", "trino_host", "db_host", "flink_url", "spark_remote", "redis_host", mode="after"
    )
    @classmethod
    def _local(cls, value: str) -> str:
        """``local`` says what an unset address says: the server of the local stack (`lakehouse env` exports it)."""
        return "" if value == HERE else value

    @field_validator("spark_remote", mode="after")
    @classmethod
    def _connect_scheme(cls, value: str) -> str:
        if value and not value.startswith("sc://"):
            raise ValueError(f"must start with sc://, or be `{HERE}`")
        return value

    @field_validator("alert_webhook", mode="after")
    @classmethod
    def _web_address(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not value.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("must start with https:// or http://")
        return value

    @field_validator("mtgjson_url", mode="after")
    @classmethod
    def _file_root(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")):
            raise ValueError("must start with https:// or http://")
        return value.rstrip("/") + "/"

    @field_validator("warehouse", "staging", "compute_logs", "raw", mode="after")
    @classmethod
    def _place(cls, value: str, field: ValidationInfo) -> str:
        if is_s3(value):
            bucket, prefix = bucket_and_key(value)
            if not bucket or not (prefix.rstrip("/") or field.field_name == "warehouse"):
                raise ValueError(f"must name a bucket and a prefix in it: {S3}bucket/prefix")
            return value.rstrip("/")
        if field.field_name in ("staging", "raw") and "://" in value:
            raise ValueError(f"must be a folder, or start with {S3}")
        if field.field_name == "warehouse" and value and not value.startswith("file:///"):
            raise ValueError(f"must start with file:/// or {S3}")
        if field.field_name == "compute_logs" and value:
            raise ValueError(f"must start with {S3}")
        return value.rstrip("/") if field.field_name == "warehouse" else value

    @field_validator("rawg_url", mode="after")
    @classmethod
    def _plain_address(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")) or "?" in value:
            raise ValueError("must start with https:// or http://, without a key")
        return value.rstrip("/")

    @field_validator("catalog_url", mode="after")
    @classmethod
    def _catalog_scheme(cls, value: str) -> str:
        if value and value != HERE and not value.startswith(("http://", "https://", THRIFT)):
            raise ValueError(f"must start with https://, http:// or {THRIFT}, or be `{HERE}`")
        return value.rstrip("/")

    @field_validator("s3_endpoint", mode="after")
    @classmethod
    def _endpoint_scheme(cls, value: str) -> str:
        if value and value != HERE and not value.startswith(("http://", "https://")):
            raise ValueError(f"must start with https:// or http://, or be `{HERE}`")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Overrides given in code, then the named sources in their order of precedence."""
        home = init_settings().get(_ALIAS_OF["home"])
        return (init_settings, *(source for _, source in _sources(settings_cls, home)))

    # What the rest of the code asks: effective values, whoever runs the server.

    @property
    def warehouse_uri(self) -> str:
        """Root of the warehouse, without a trailing slash."""
        return self.warehouse or (self.home / "warehouse").as_uri()

    @property
    def staging_place(self) -> str:
        """Folder, or `s3://…`, into which files are dropped."""
        if is_s3(self.staging):
            return self.staging
        return str(Path(self.staging).expanduser().absolute() if self.staging else self.home / "staging")

    @property
    def raw_place(self) -> str | None:
        """Where items of APIs are kept as received, as a URI; None where they are not."""
        return self.raw if is_s3(self.raw) or not self.raw else Path(self.raw).expanduser().absolute().as_uri()

    @property
    def raw_folder(self) -> Path:
        """Folder in which files of a source are kept as they were received, in a folder of their own."""
        return self.home / "raw" if is_s3(self.raw) or not self.raw else Path(self.raw).expanduser().absolute()

    @property
    def s3_buckets(self) -> list[str]:
        """Buckets that the settings name."""
        places = (self.warehouse, self.staging, self.compute_logs, self.raw)
        return sorted({bucket_and_key(place)[0] for place in places if is_s3(place)})

    @property
    def runs_kafka(self) -> bool:
        """Whether Kafka is a server of the local stack."""
        return not self.kafka_bootstrap_servers

    @property
    def runs_trino(self) -> bool:
        """Whether Trino is a server of the local stack."""
        return not self.trino_host

    @property
    def runs_flink(self) -> bool:
        """Whether Flink is a server of the local stack."""
        return not self.flink_url

    @property
    def runs_spark(self) -> bool:
        """Whether Spark is a server of the local stack."""
        return not self.spark_remote

    @property
    def api_address(self) -> str:
        """Host under which this machine reaches the HTTP API."""
        return LOOPBACK if self.api_host == EVERY_ADDRESS else self.api_host

    @property
    def needs_api_keys(self) -> bool:
        """Whether a request to the HTTP API needs a key: always where others than this machine can make one."""
        return self.api_keys_required or self.api_host != LOOPBACK

    @property
    def runs_redis(self) -> bool:
        """Whether Redis is a server of the local stack."""
        return not self.redis_host

    @property
    def redis_address(self) -> str:
        """Host of Redis to use."""
        return self.redis_host or LOOPBACK

    @property
    def runs_postgres(self) -> bool:
        """Whether PostgreSQL is a server of the local stack."""
        return not self.db_host

    @property
    def runs_s3(self) -> bool:
        """Whether the buckets are on a server of the local stack."""
        return self.s3_endpoint == HERE and bool(self.s3_buckets)

    @property
    def runs_nessie(self) -> bool:
        """Whether the catalog is a server of the local stack."""
        return self.catalog_url == HERE

    @property
    def catalog_address(self) -> str:
        """Where the Iceberg catalog is; empty where it is in PostgreSQL."""
        return f"http://{LOOPBACK}:{self.nessie_port}/iceberg" if self.runs_nessie else self.catalog_url

    @property
    def is_hive(self) -> bool:
        """Whether the Iceberg catalog is a Hive Metastore."""
        return self.catalog_url.startswith(THRIFT)

    @property
    def s3_url(self) -> str:
        """Where the store is; empty for Amazon's."""
        return f"http://{LOOPBACK}:{self.s3_port}" if self.s3_endpoint == HERE else self.s3_endpoint

    @property
    def s3_keys(self) -> tuple[str, str]:
        """Access key and secret key; empty where the machine itself has the right. The local store has its own."""
        if self.s3_endpoint == HERE:
            return S3_USER, self.s3_password.get_secret_value()
        return self.aws_access_key_id.get_secret_value(), self.aws_secret_access_key.get_secret_value()

    @property
    def kafka_brokers(self) -> str:
        """Bootstrap address to use."""
        return self.kafka_bootstrap_servers or f"{LOOPBACK}:{self.kafka_port}"

    @property
    def trino_address(self) -> str:
        """Host of Trino to use."""
        return self.trino_host or LOOPBACK

    @property
    def flink_address(self) -> str:
        """URL of Flink's REST interface."""
        return self.flink_url or f"http://{LOOPBACK}:{self.flink_port}"

    @property
    def spark_address(self) -> str:
        """Connection string of Spark Connect; it may hold a token, so never log it."""
        return self.spark_remote or f"sc://{LOOPBACK}:{self.spark_port}"

    @property
    def spark_server(self) -> str:
        """The same without its parameters, for people."""
        return self.spark_address.partition(";")[0].rstrip("/")

    @property
    def db_address(self) -> str:
        """Host of PostgreSQL to use."""
        return self.db_host or LOOPBACK

    @cached_property
    def catalog_uri(self) -> str:
        """SQLAlchemy URI of the Iceberg catalog; holds the password, so never log it."""
        uri = self._postgres_uri(self.catalog_db_user, self.catalog_db_password, self.catalog_db_name)
        return f"{uri}?options={quote(f'-c idle_in_transaction_session_timeout={IDLE_COMMIT_SECONDS}s')}"

    @property
    def catalog_jdbc_url(self) -> str:
        """Where Java's engines find the Iceberg catalog's database; without user and password."""
        return f"jdbc:postgresql://{self.db_address}:{self.db_port}/{self.catalog_db_name}"

    def _postgres_uri(self, user: str, password: SecretStr, database: str) -> str:
        secret = quote(password.get_secret_value(), safe="")
        return f"postgresql+psycopg2://{quote(user, safe='')}:{secret}@{self.db_address}:{self.db_port}/{database}"


def load(**overrides: Any) -> Settings:
    """Read the settings; ``overrides`` by field name win over every source.

    Raises:
        SettingsError: naming each wrong or unknown setting, where it came from and what it should be.
    """
    ours = {name.upper() for name in os.environ if name.upper().startswith(ENV_PREFIX)} - OTHER_VARIABLES
    _refuse_unknown("environment", ours, _FIELD_OF)
    try:
        return Settings(**_by_alias(overrides))
    except ValidationError as error:
        origins = origin_of_settings()
        raise SettingsError("wrong settings:\n  " + "\n  ".join(_explain(p, origins) for p in error.errors())) from None


def origin_of_settings() -> dict[str, str]:
    """Which source decides each field, e.g. ``environment KAFKA_BROKERS``, ``.env``, ``generated`` or ``default``."""
    origins = dict.fromkeys(Settings.model_fields, "default")
    for label, source in reversed(_sources(Settings)):
        for name in source():
            if field := _FIELD_OF.get(name):
                origins[field] = f"environment {_variable_of(field)}" if label == "environment" else label
    return origins


def shown(settings: Settings, field: str) -> str:
    """A setting's effective value for people; secrets are masked."""
    value = getattr(settings, field)
    if isinstance(value, SecretStr):
        return "********" if value.get_secret_value() else ""
    effective = {
        "warehouse": settings.warehouse_uri,
        "staging": settings.staging_place,
        "kafka_bootstrap_servers": settings.kafka_brokers,
        "spark_remote": settings.spark_server,
        "s3_endpoint": settings.s3_url,
        "catalog_url": settings.catalog_address,
    }
    return str(effective.get(field, value))


def _explain(problem: Any, origins: dict[str, str]) -> str:
    field = _FIELD_OF[str(problem["loc"][0])]
    is_secret = Settings.model_fields[field].annotation is SecretStr
    value = "***" if is_secret else repr(problem["input"])
    return f"{field} = {value} (from {origins[field]}): {problem['msg'].removeprefix('Value error, ')}"


def _sources(cls: type[BaseSettings], home: Path | None = None) -> list[tuple[str, PydanticBaseSettingsSource]]:
    named: list[tuple[str, PydanticBaseSettingsSource]] = [
        ("environment", EnvSettingsSource(cls)),
        (".env", DotEnvSettingsSource(cls, env_file=PROJECT / ".env")),
        ("lakehouse.toml", InitSettingsSource(cls, _by_alias(_read_toml(PROJECT / "lakehouse.toml")))),
    ]
    homes = (home, *(source().get(_ALIAS_OF["home"]) for _, source in named))
    home = next((value for value in homes if value), DEFAULT_HOME)
    generated = Path(home).expanduser() / GENERATED
    return [*named, ("generated", InitSettingsSource(cls, _by_alias(_read_toml(generated))))]


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        values = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path.name} is not valid TOML: {error}") from None
    _refuse_unknown(path.name, values, Settings.model_fields)
    return values


def _refuse_unknown(where: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in sorted(set(names) - set(known)):
        similar = difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean {similar[0]}?" if similar else "`lakehouse settings` lists them all"
        raise SettingsError(f"{where}: unknown setting {name}; {meant}")


def _by_alias(values: dict[str, Any]) -> dict[str, Any]:
    return {_ALIAS_OF[field]: value for field, value in values.items()}


def _aliases(field: str) -> list[str]:
    alias = Settings.model_fields[field].validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else []


def _variable_of(field: str) -> str:
    """The environment variable that gives a field its value: the first of its names that is set."""
    is_set = {name.upper() for name, value in os.environ.items() if value}
    return next(alias for alias in _aliases(field) if alias in is_set)


_ALIAS_OF = {field: _aliases(field)[0] for field in Settings.model_fields}
_FIELD_OF = {alias: field for field in Settings.model_fields for alias in _aliases(field)}
