"""Spark: one resident Spark Connect server with driver and executor in it, from pinned jars."""

from __future__ import annotations

from lakehouse.adapters.spark.session import version
from lakehouse.errors import LakehouseError
from lakehouse.naming import CATALOG, Domain
from lakehouse.settings import LOOPBACK, Settings
from lakehouse.stack.artifacts import Artifacts, fingerprint, pinned
from lakehouse.stack.assemble import assemble, link_files
from lakehouse.stack.environment import program_environment
from lakehouse.stack.files import cache_folder, java_properties, make_folder, server_folder, write_file
from lakehouse.stack.jvm import LOGGING, LOGGING_FILE, UNSAFE, classpath, java_command, opened
from lakehouse.stack.server import NotReady, Port, Program, Server

HEAP_MB = 1000
OPENED = (
    *opened(
        *(f"java.lang{part}" for part in ("", ".invoke", ".reflect")),
        *(f"java.util{part}" for part in ("", ".concurrent", ".concurrent.atomic")),
        *("java.io", "java.net", "java.nio", "jdk.internal.ref", "sun.nio.ch", "sun.nio.cs", "sun.util.calendar"),
    ),
    *UNSAFE,
)
"""What Spark reaches into; without, the first rows do not come out of Arrow."""
CONFIGURATION = "spark.properties"
IDLE_SECONDS = 30
"""A session that ends leaves its connection to PostgreSQL open: it is ended there. One that goes on opens another."""


class Spark(Server):
    """One JVM; beside the two ports of the settings it has two of its own choice, for itself, on loopback too."""

    name = "spark"
    title = "Spark"
    needs = ("postgres",)
    domains = frozenset({Domain.CONVERSIONS, Domain.MTG})
    memory_mb = 1500

    def is_local(self, settings: Settings) -> bool:
        """Unless a server is named."""
        return settings.runs_spark

    def address(self, settings: Settings) -> str:
        """Of the interface, where it is known."""
        return f"http://{LOOPBACK}:{settings.spark_port + 1}" if settings.runs_spark else settings.spark_server

    def artifacts(self, settings: Settings) -> Artifacts:
        """Spark's modules, Iceberg's runtime for it, and PostgreSQL's driver."""
        files = pinned(self.name)
        return Artifacts(files, cache_folder() / f"{self.name}-{fingerprint(files)}", size_mb=300)

    def install(self, settings: Settings) -> None:
        """Put the jars side by side."""
        jars = self.artifacts(settings)
        assemble(jars, lambda folder: link_files(jars, folder))

    def configure(self, settings: Settings) -> None:
        """One file, which holds the catalog's password; Spark's interface masks it by its name."""
        folder = make_folder(server_folder(settings, self.name))
        values = {
            "spark.app.name": "lakehouse",
            "spark.master": "local[2]",
            "spark.driver.host": LOOPBACK,
            "spark.driver.bindAddress": LOOPBACK,
            "spark.connect.grpc.binding.address": LOOPBACK,
            "spark.connect.grpc.binding.port": str(settings.spark_port),
            "spark.ui.port": str(settings.spark_port + 1),
            # A port that is taken is to be said, not to be gone around.
            "spark.port.maxRetries": "0",
            "spark.local.dir": str(make_folder(folder / "tmp")),
            "spark.sql.warehouse.dir": (folder / "tmp").as_uri(),
            "spark.sql.catalogImplementation": "in-memory",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": "2",
            # The client gets what went wrong in words; the trace is in the log.
            "spark.sql.connect.serverStacktrace.enabled": "false",
            # What the interface shows stays on the heap for as long as the server lives.
            "spark.ui.retainedJobs": "50",
            "spark.ui.retainedStages": "50",
            "spark.ui.retainedTasks": "500",
            "spark.sql.ui.retainedExecutions": "20",
            "spark.sql.connect.ui.retainedSessions": "20",
            "spark.sql.connect.ui.retainedStatements": "50",
            "spark.sql.defaultCatalog": CATALOG,
            "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
            **{f"spark.sql.catalog.{CATALOG}{option}": value for option, value in _catalog(settings).items()},
        }
        write_file(folder / CONFIGURATION, java_properties(values))
        write_file(folder / LOGGING_FILE, LOGGING)

    def programs(self, settings: Settings) -> tuple[Program, ...]:
        """The server."""
        folder = server_folder(settings, self.name)
        setting = "LAKEHOUSE_SPARK_PORT"
        return (
            Program(
                name=self.name,
                argv=(
                    *java_command(
                        HEAP_MB,
                        *OPENED,
                        f"-Djava.io.tmpdir={folder / 'tmp'}",
                        f"-Dlog4j2.configurationFile={folder / LOGGING_FILE}",
                    ),
                    *classpath(self.artifacts(settings).folder),
                    # Started directly: Spark's scripts ask for a module that this Java does not have.
                    "org.apache.spark.deploy.SparkSubmit",
                    "--properties-file",
                    str(folder / CONFIGURATION),
                    "--class",
                    "org.apache.spark.sql.connect.service.SparkConnectServer",
                    "spark-internal",
                ),
                cwd=folder,
                # The interface listens everywhere otherwise.
                env=program_environment(SPARK_LOCAL_IP=LOOPBACK),
                files=(folder / CONFIGURATION, folder / LOGGING_FILE),
                ports=(Port(settings.spark_port, setting), Port(settings.spark_port + 1, setting)),
                stop_seconds=20,
            ),
        )

    def check(self, settings: Settings) -> str:
        """Ask for its version as every client does."""
        try:
            return version(settings)
        except LakehouseError as error:
            raise NotReady(str(error)) from None


def _catalog(settings: Settings) -> dict[str, str]:
    return {
        "": "org.apache.iceberg.spark.SparkCatalog",
        ".type": "jdbc",
        ".uri": settings.catalog_jdbc_url,
        ".jdbc.user": settings.catalog_db_user,
        ".jdbc.password": settings.catalog_db_password.get_secret_value(),
        ".jdbc.schema-version": "V1",
        ".jdbc.options": f"-c idle_session_timeout={IDLE_SECONDS}s",
        ".retryable_status_codes": "57P05",  # what PostgreSQL says to the next statement then
        ".warehouse": settings.warehouse_uri,
        # Other engines commit meanwhile; a table that was read once would stay as it was for half a minute.
        ".cache-enabled": "false",
    }
