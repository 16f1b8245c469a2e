"""S3: S3Proxy, a store of one jar that keeps objects as plain files. For a bucket without a cloud."""

from __future__ import annotations

from pathlib import Path

from lakehouse.errors import LakehouseError
from lakehouse.naming import Domain
from lakehouse.settings import Settings
from lakehouse.stack.artifacts import Artifacts, fingerprint, pinned
from lakehouse.stack.assemble import assemble, link_files
from lakehouse.stack.environment import program_environment
from lakehouse.stack.files import MEGABYTE, cache_folder, java_properties, make_folder, server_folder, write_file
from lakehouse.stack.jvm import classpath, java_command
from lakehouse.stack.server import NotReady, Port, Program, Server

HEAP_MB = 384
SILENT = "ch.qos.logback.core.status.NopStatusListener"
"""Of the logging's own beginnings."""
LARGEST_SIGNED_MB = 34
THREADS = 16
"""Parts of uploads that are signed as a whole are held on the heap: PyArrow's have 10 MB, Trino's at most 32 MB. So
there are never more of them than the heap has room for; whoever comes later waits."""


class S3Proxy(Server):
    """One JVM. It has no durability of its own beyond the file system's: for one machine and for tests."""

    name = "s3"
    title = "S3"
    domains = frozenset(Domain)
    memory_mb = 550

    def is_used(self, settings: Settings) -> bool:
        """Where a bucket is named."""
        return bool(settings.s3_buckets)

    def is_local(self, settings: Settings) -> bool:
        """Only where the settings say so: without an endpoint, buckets are Amazon's."""
        return settings.runs_s3

    def address(self, settings: Settings) -> str:
        """Of the store."""
        return settings.s3_url or f"Amazon S3, {settings.s3_region}"

    def artifacts(self, settings: Settings) -> Artifacts:
        """One jar with all it needs."""
        files = pinned(self.name)
        return Artifacts(files, cache_folder() / f"{self.name}-{fingerprint(files)}", size_mb=60)

    def install(self, settings: Settings) -> None:
        """Put the jar into place."""
        jar = self.artifacts(settings)
        assemble(jar, lambda folder: link_files(jar, folder))

    def configure(self, settings: Settings) -> None:
        """One user, and objects as files."""
        key, secret = settings.s3_keys
        values = {
            "s3proxy.endpoint": settings.s3_url,
            "s3proxy.authorization": "aws-v2-or-v4",
            "s3proxy.identity": key,
            "s3proxy.credential": secret,
            # Trino sends some that it does not know.
            "s3proxy.ignore-unknown-headers": "true",
            "s3proxy.v4-max-non-chunked-request-size": str(LARGEST_SIGNED_MB * MEGABYTE),
            "s3proxy.jetty.max-threads": str(THREADS),
            "jclouds.provider": "filesystem-nio2",
            "jclouds.filesystem.basedir": str(make_folder(_data(settings))),
        }
        write_file(_configuration(settings), java_properties(values))

    def programs(self, settings: Settings) -> tuple[Program, ...]:
        """The store."""
        configuration = _configuration(settings)
        return (
            Program(
                name=self.name,
                argv=(
                    *java_command(HEAP_MB, f"-Dlogback.statusListenerClass={SILENT}"),
                    *classpath(self.artifacts(settings).folder),
                    "org.gaul.s3proxy.Main",
                    "--properties",
                    str(configuration),
                ),
                cwd=configuration.parent,
                # Objects are files, whose names may be in any language.
                env=program_environment(LOG_LEVEL="warn", LC_ALL="C.UTF-8"),
                files=(configuration,),
                ports=(Port(settings.s3_port, "LAKEHOUSE_S3_PORT"),),
            ),
        )

    def after_start(self, settings: Settings) -> None:
        """Make the buckets that the settings name."""
        # Here and not above: every command would pay for the import of Amazon's client.
        from lakehouse.adapters.s3.client import explained, open_client

        try:
            for bucket in settings.s3_buckets:
                with explained(settings, bucket):
                    store = open_client(settings)
                    if bucket not in {found["Name"] for found in store.list_buckets()["Buckets"]}:
                        store.create_bucket(Bucket=bucket)
        except LakehouseError as error:
            raise NotReady(str(error)) from None

    def check(self, settings: Settings) -> str:
        """Look into every bucket that the settings name."""
        from lakehouse.adapters.s3.client import require_bucket

        try:
            for bucket in settings.s3_buckets:
                require_bucket(settings, bucket)
        except LakehouseError as error:
            raise NotReady(str(error)) from None
        return pinned(self.name)[0].version if self.is_local(settings) else ", ".join(settings.s3_buckets)


def _configuration(settings: Settings) -> Path:
    return server_folder(settings, S3Proxy.name) / "s3proxy.properties"


def _data(settings: Settings) -> Path:
    return server_folder(settings, S3Proxy.name) / "data"
