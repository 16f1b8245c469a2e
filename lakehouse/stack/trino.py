"""Trino: SQL over the Iceberg catalog, one node, from the pinned distribution."""

from __future__ import annotations

import hashlib

import requests

from lakehouse.naming import CATALOG, TRINO_CATALOG, Domain
from lakehouse.settings import LOOPBACK, Settings, is_s3
from lakehouse.stack.artifacts import Artifacts, fingerprint, pinned, repository
from lakehouse.stack.assemble import assemble, unpack
from lakehouse.stack.environment import program_environment
from lakehouse.stack.files import cache_folder, java_properties, make_folder, server_folder, write_file
from lakehouse.stack.jvm import UNSAFE, classpath, java_command
from lakehouse.stack.server import NotReady, Port, Program, Server

HEAP_MB = 1200
PLUGINS = ("iceberg",)
"""Of the 54 in the distribution: each costs start time and memory."""
LOGGING = "io.trino=INFO\nio.airlift=WARN\norg.apache.hadoop=ERROR\n"


class Trino(Server):
    """Coordinator and worker in one JVM."""

    name = "trino"
    title = "Trino"
    needs = ("postgres", "s3", "nessie")
    domains = frozenset(Domain)
    memory_mb = 1500

    def is_local(self, settings: Settings) -> bool:
        """Unless a host is named."""
        return settings.runs_trino

    def address(self, settings: Settings) -> str:
        """Of its HTTP interface."""
        return f"http://{settings.trino_address}:{settings.trino_port}"

    def artifacts(self, settings: Settings) -> Artifacts:
        """The distribution, of which the core and our plugins are unpacked."""
        files = pinned(self.name)
        folder = cache_folder() / f"{self.name}-{files[0].version}-{fingerprint(files, *PLUGINS)}"
        return Artifacts(files, folder, size_mb=1400)

    def install(self, settings: Settings) -> None:
        """Unpack what is used."""
        distribution = self.artifacts(settings)
        parts = ("lib", *(f"plugin/{plugin}" for plugin in PLUGINS))
        assemble(distribution, lambda folder: unpack(repository() / distribution.files[0].path, folder, parts))

    def configure(self, settings: Settings) -> None:
        """One node on loopback; the catalog is shared with every other engine by its name in PostgreSQL."""
        folder = make_folder(server_folder(settings, self.name))
        node = {
            "coordinator": "true",
            "node-scheduler.include-coordinator": "true",
            "node.environment": "lakehouse",
            "node.id": hashlib.sha256(str(settings.home).encode()).hexdigest()[:16],
            "node.internal-address": LOOPBACK,
            "node.bind-ip": LOOPBACK,
            "http-server.http.port": str(settings.trino_port),
            "discovery.uri": f"http://{LOOPBACK}:{settings.trino_port}",
            "plugin.dir": str(self.artifacts(settings).folder / "plugin"),
            "catalog.config-dir": str(folder / "catalog"),
            # Times without a zone mean UTC in every engine, whatever the client's session says.
            "sql.forced-session-time-zone": "UTC",
            "query.max-memory": "600MB",
            "query.max-memory-per-node": "600MB",
            "memory.heap-headroom-per-node": "300MB",
            # Finished queries are kept on the heap for the web interface.
            "query.max-history": "30",
            "query.min-expire-age": "5m",
        }
        write_file(folder / "config.properties", java_properties(node))
        write_file(folder / "log.properties", LOGGING)
        write_file(folder / "catalog" / f"{TRINO_CATALOG}.properties", java_properties(_catalog(settings)))

    def programs(self, settings: Settings) -> tuple[Program, ...]:
        """The server."""
        folder = server_folder(settings, self.name)
        configuration, levels = folder / "config.properties", folder / "log.properties"
        return (
            Program(
                name=self.name,
                argv=(
                    *java_command(
                        HEAP_MB,
                        *UNSAFE,
                        "-XX:+EnableDynamicAgentLoading",
                        "-Djdk.attach.allowAttachSelf=true",
                        "-Djdk.nio.maxCachedBufferSize=2000000",
                        f"-Dconfig={configuration}",
                        f"-Dlog.levels-file={levels}",
                    ),
                    *classpath(self.artifacts(settings).folder / "lib"),
                    "io.trino.server.TrinoServer",
                ),
                cwd=folder,
                env=program_environment(),
                files=(configuration, levels, folder / "catalog" / f"{TRINO_CATALOG}.properties"),
                ports=(Port(settings.trino_port, "LAKEHOUSE_TRINO_PORT"),),
                stop_seconds=20,
            ),
        )

    def check(self, settings: Settings) -> str:
        """Ask whether it has finished starting."""
        try:
            answer = requests.get(f"{self.address(settings)}/v1/info", timeout=3)
            answer.raise_for_status()
            info = answer.json()
        except requests.RequestException as error:
            raise NotReady(f"no answer from {self.address(settings)}: {type(error).__name__}") from None
        if info["starting"]:
            raise NotReady("still starting")
        return str(info["nodeVersion"]["version"])


def _catalog(settings: Settings) -> dict[str, str]:
    # Tables that were made before the warehouse moved into a bucket stay where they are, and are read there.
    catalog = {"connector.name": "iceberg", "fs.hadoop.enabled": "true", **_tables(settings)}
    return catalog | _s3(settings) if is_s3(settings.warehouse_uri) else catalog


def _tables(settings: Settings) -> dict[str, str]:
    """Where the tables are written down."""
    if settings.is_hive:
        return {"iceberg.catalog.type": "hive_metastore", "hive.metastore.uri": settings.catalog_address}
    if settings.catalog_address:
        return {"iceberg.catalog.type": "rest", "iceberg.rest-catalog.uri": settings.catalog_address}
    return {
        "iceberg.catalog.type": "jdbc",
        "iceberg.jdbc-catalog.driver-class": "org.postgresql.Driver",
        "iceberg.jdbc-catalog.connection-url": settings.catalog_jdbc_url,
        "iceberg.jdbc-catalog.connection-user": settings.catalog_db_user,
        "iceberg.jdbc-catalog.connection-password": settings.catalog_db_password.get_secret_value(),
        "iceberg.jdbc-catalog.catalog-name": CATALOG,
        "iceberg.jdbc-catalog.schema-version": "V1",
        "iceberg.jdbc-catalog.default-warehouse-dir": settings.warehouse_uri,
    }


def _s3(settings: Settings) -> dict[str, str]:
    store = {"fs.native-s3.enabled": "true", "s3.region": settings.s3_region}
    if settings.s3_url:
        # Stores other than Amazon's rarely have a host name a bucket.
        store |= {"s3.endpoint": settings.s3_url, "s3.path-style-access": "true"}
    key, secret = settings.s3_keys
    if key:
        store |= {"s3.aws-access-key": key, "s3.aws-secret-key": secret}
    return store
