"""Nessie: an Iceberg REST catalog, for whoever wants one. What it knows it keeps in PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import requests

from lakehouse.errors import LakehouseError, StackError
from lakehouse.naming import Domain
from lakehouse.settings import LOOPBACK, Settings, is_s3
from lakehouse.stack.artifacts import Artifacts, fingerprint, pinned
from lakehouse.stack.assemble import assemble, link_files
from lakehouse.stack.environment import program_environment
from lakehouse.stack.files import cache_folder, java_properties, make_folder, server_folder, write_file
from lakehouse.stack.jvm import UNSAFE, java_command
from lakehouse.stack.server import NotReady, Port, Program, Server

HEAP_MB = 384
WAREHOUSE = "warehouse"
SECRETS = "lakehouse.store"
"""Where in the configuration the keys of the bucket are."""


class Nessie(Server):
    """One JVM. Anyone who reaches it may do anything, so it listens on loopback only."""

    name = "nessie"
    title = "Nessie"
    needs = ("postgres", "s3")
    domains = frozenset(Domain)
    memory_mb = 550

    def is_used(self, settings: Settings) -> bool:
        """Where a REST catalog is named."""
        return bool(settings.catalog_url) and not settings.is_hive

    def is_local(self, settings: Settings) -> bool:
        """Only where the settings say so."""
        return settings.runs_nessie

    def address(self, settings: Settings) -> str:
        """Of the REST interface."""
        return settings.catalog_address

    def artifacts(self, settings: Settings) -> Artifacts:
        """One jar with all it needs."""
        files = pinned(self.name)
        return Artifacts(files, cache_folder() / f"{self.name}-{fingerprint(files)}", size_mb=250)

    def install(self, settings: Settings) -> None:
        """Put the jar into place."""
        jar = self.artifacts(settings)
        assemble(jar, lambda folder: link_files(jar, folder))

    def configure(self, settings: Settings) -> None:
        """State in the catalog's database, tables in the bucket; clients have keys of their own for that.

        Raises:
            StackError: the warehouse is not in a bucket.
        """
        if not is_s3(settings.warehouse_uri):
            raise StackError(
                "Nessie keeps tables in a bucket only: set `warehouse` to s3://…, or leave out `catalog_url`"
            )
        store = "nessie.catalog.service.s3.default-options"
        key, secret = settings.s3_keys
        values = {
            "quarkus.http.host": LOOPBACK,
            "quarkus.http.port": str(settings.nessie_port),
            "quarkus.http.access-log.enabled": "false",
            "quarkus.management.enabled": "false",
            "quarkus.log.level": "WARN",
            "nessie.version.store.type": "JDBC2",
            "nessie.version.store.persist.jdbc.datasource": "postgresql",
            "quarkus.datasource.postgresql.jdbc.url": settings.catalog_jdbc_url,
            "quarkus.datasource.postgresql.username": settings.catalog_db_user,
            "quarkus.datasource.postgresql.password": settings.catalog_db_password.get_secret_value(),
            "quarkus.datasource.postgresql.jdbc.max-size": "8",
            "nessie.catalog.default-warehouse": WAREHOUSE,
            f"nessie.catalog.warehouses.{WAREHOUSE}.location": settings.warehouse_uri,
            f"{store}.region": settings.s3_region,
            f"{store}.request-signing-enabled": "false",
        }
        if settings.s3_url:
            values |= {f"{store}.endpoint": settings.s3_url, f"{store}.path-style-access": "true"}
        if key:
            values |= {
                f"{store}.access-key": f"urn:nessie-secret:quarkus:{SECRETS}",
                f"{SECRETS}.name": key,
                f"{SECRETS}.secret": secret,
            }
        write_file(_configuration(settings), java_properties(values))

    def programs(self, settings: Settings) -> tuple[Program, ...]:
        """The server."""
        configuration = _configuration(settings)
        jar = self.artifacts(settings).folder / self.artifacts(settings).files[0].filename
        return (
            Program(
                name=self.name,
                argv=(
                    *java_command(HEAP_MB, *UNSAFE, f"-Dsmallrye.config.locations={configuration.as_uri()}"),
                    "-jar",
                    str(jar),
                ),
                cwd=configuration.parent,
                env=program_environment(),
                files=(configuration,),
                ports=(Port(settings.nessie_port, "LAKEHOUSE_NESSIE_PORT"),),
            ),
        )

    def after_start(self, settings: Settings) -> None:
        """Make the namespaces of the layers: Trino's schemas are theirs."""
        # Here and not above: every command would pay for the import.
        from lakehouse.adapters.iceberg.catalog import connect

        try:
            connect(settings)
        except LakehouseError as error:
            raise NotReady(str(error)) from None

    def check(self, settings: Settings) -> str:
        """Ask for the catalog's configuration, as every client does."""
        try:
            requests.get(f"{settings.catalog_address}/v1/config", timeout=3).raise_for_status()
        except requests.RequestException as error:
            raise NotReady(f"no answer from {settings.catalog_address}: {type(error).__name__}") from None
        return pinned(self.name)[0].version if self.is_local(settings) else "REST"


def _configuration(settings: Settings) -> Path:
    return make_folder(server_folder(settings, Nessie.name)) / "nessie.properties"
