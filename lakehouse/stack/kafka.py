"""Kafka: one process that is broker and controller, without ZooKeeper, from pinned jars."""

from __future__ import annotations

import base64
import subprocess
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._metadata import ClusterMetadata
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from lakehouse.adapters.kafka.client import client_config, ensure_topic, open_admin
from lakehouse.errors import StackError
from lakehouse.naming import MAX_MESSAGE_BYTES, TOPICS, Domain
from lakehouse.settings import LOOPBACK, Settings
from lakehouse.stack.artifacts import Artifacts, fingerprint, pinned
from lakehouse.stack.assemble import assemble, link_files
from lakehouse.stack.certificates import certificates_in, ensure_certificates
from lakehouse.stack.environment import program_environment
from lakehouse.stack.files import cache_folder, java_properties, make_folder, server_folder, write_file
from lakehouse.stack.jvm import classpath, java_command
from lakehouse.stack.server import NotReady, Port, Program, Server

HEAP_MB = 384
NODE_ID = "1"
SECURE = "SASL_SSL"
MECHANISM = "SCRAM-SHA-512"
ITERATIONS = 4096
BROKER = "lakehouse-broker"
"""Holder of the broker's certificate."""
LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %m (%c{1})%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""


class Kafka(Server):
    """Broker and controller in one JVM, the controller on the port after the broker's.

    Secured, it has a third port, for itself and for `up`, and opens to nobody without the broker's certificate.
    """

    name = "kafka"
    title = "Kafka"
    domains = frozenset({Domain.PGR, Domain.PLAYERS, Domain.CONVERSIONS, Domain.MTG})
    memory_mb = 600

    def is_local(self, settings: Settings) -> bool:
        """Unless brokers are named."""
        return settings.runs_kafka

    def address(self, settings: Settings) -> str:
        """The bootstrap address."""
        return settings.kafka_brokers

    def artifacts(self, settings: Settings) -> Artifacts:
        """The broker's runtime classpath."""
        files = pinned(self.name)
        return Artifacts(files, cache_folder() / f"{self.name}-{fingerprint(files)}", size_mb=100)

    def install(self, settings: Settings) -> None:
        """Assemble the jars; give the empty log folder an identity."""
        jars = self.artifacts(settings)
        assemble(jars, lambda folder: link_files(jars, folder))
        if not (_data(settings) / "meta.properties").exists():
            self.configure(settings)
            self._format(settings)

    def configure(self, settings: Settings) -> None:
        """The broker's settings: one node, so every internal topic has one replica."""
        folder = make_folder(server_folder(settings, self.name))
        values = {
            "process.roles": "broker,controller",
            "node.id": NODE_ID,
            "controller.quorum.voters": f"{NODE_ID}@{LOOPBACK}:{settings.kafka_port + 1}",
            "controller.listener.names": "CONTROLLER",
            **(_secured(settings) if _is_secure(settings) else _plain(settings)),
            "log.dirs": str(_data(settings)),
            "auto.create.topics.enable": "false",
            "message.max.bytes": str(MAX_MESSAGE_BYTES),
            "replica.fetch.max.bytes": str(MAX_MESSAGE_BYTES),
            "default.replication.factor": "1",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "8",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "8",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # A killed broker may register again only when its old session has ended: 9 s by default.
            "broker.session.timeout.ms": "6000",
            # Segments of 1 GB are never deleted or compacted while open: small topics would ignore their retention.
            "log.segment.bytes": str(256 * 1024 * 1024),
            "num.network.threads": "2",
            "num.io.threads": "4",
        }
        write_file(folder / "server.properties", java_properties(values))
        write_file(folder / "log4j2.properties", LOGGING)

    def programs(self, settings: Settings) -> tuple[Program, ...]:
        """The broker."""
        folder = server_folder(settings, self.name)
        logging = folder / "log4j2.properties"
        configuration = folder / "server.properties"
        secure = _is_secure(settings)
        certificates = certificates_in(folder)
        return (
            Program(
                name=self.name,
                argv=(
                    *java_command(HEAP_MB, f"-Dlog4j2.configurationFile={logging}"),
                    *classpath(self.artifacts(settings).folder),
                    "kafka.Kafka",
                    str(configuration),
                ),
                cwd=folder,
                env=program_environment(),
                files=(configuration, logging, *((certificates.server, certificates.authority) if secure else ())),
                ports=tuple(Port(settings.kafka_port + i, "LAKEHOUSE_KAFKA_PORT") for i in range(3 if secure else 2)),
                stop_seconds=30,
            ),
        )

    def after_start(self, settings: Settings) -> None:
        """Create the user, and the topics that are missing: no client of ours may make one by mistyping its name."""
        if _is_secure(settings):
            _ensure_user(settings)
        present = _metadata(settings).topics
        for topic in TOPICS:
            if topic.name not in present:
                ensure_topic(open_admin(settings), topic)

    def check(self, settings: Settings) -> str:
        """Ask for the cluster's metadata."""
        metadata = _metadata(settings)
        return self._version() if settings.runs_kafka else f"{len(metadata.brokers)} brokers"

    def _version(self) -> str:
        return next(artifact.version for artifact in pinned(self.name) if artifact.name == "kafka-server")

    def _format(self, settings: Settings) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        done = subprocess.run(
            [
                *java_command(128, "-XX:TieredStopAtLevel=1"),
                *classpath(self.artifacts(settings).folder),
                "kafka.tools.StorageTool",
                "format",
                f"--cluster-id={cluster}",
                f"--config={server_folder(settings, self.name) / 'server.properties'}",
                "--ignore-formatted",
            ],
            env=program_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = (done.stderr or done.stdout).strip().splitlines()
            raise StackError(f"Kafka cannot format {_data(settings)}: {reason[-1] if reason else 'no reason given'}")


def _is_secure(settings: Settings) -> bool:
    if settings.kafka_security_protocol not in ("PLAINTEXT", SECURE):
        raise StackError(
            f"the local broker speaks PLAINTEXT or {SECURE}, not {settings.kafka_security_protocol}: change "
            "kafka_security_protocol, or set kafka_bootstrap_servers to use brokers of your own"
        )
    is_secure = settings.kafka_security_protocol == SECURE
    if is_secure and not (settings.kafka_username and settings.kafka_password.get_secret_value()):
        raise StackError("the secured local broker needs a user and a password: `lakehouse up --secure` makes them")
    return is_secure


def _plain(settings: Settings) -> dict[str, str]:
    broker, controller = (f"{LOOPBACK}:{settings.kafka_port + i}" for i in range(2))
    return {
        "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{broker}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
    }


def _secured(settings: Settings) -> dict[str, str]:
    """Clients come with TLS and a password, the broker itself and `up` with the broker's certificate."""
    broker, controller, internal = (f"{LOOPBACK}:{settings.kafka_port + i}" for i in range(3))
    certificates = ensure_certificates(server_folder(settings, Kafka.name), BROKER)
    return {
        "listeners": f"{SECURE}://{broker},CONTROLLER://{controller},INTERNAL://{internal}",
        "advertised.listeners": f"{SECURE}://{broker},INTERNAL://{internal}",
        "listener.security.protocol.map": f"{SECURE}:{SECURE},CONTROLLER:SSL,INTERNAL:SSL",
        "inter.broker.listener.name": "INTERNAL",
        "listener.name.controller.ssl.client.auth": "required",
        "listener.name.internal.ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificates.server),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificates.authority),
        "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
        "sasl.enabled.mechanisms": MECHANISM,
        # Asked for though the users are in the metadata; without the line the broker exits.
        f"listener.name.{SECURE.lower()}.{MECHANISM.lower()}.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{BROKER}",
    }


def open_internal_admin(settings: Settings) -> AdminClient:
    """The administrator of a secured local broker, who holds the broker's certificate."""
    certificates = certificates_in(server_folder(settings, Kafka.name))
    return AdminClient(
        {
            "bootstrap.servers": f"{LOOPBACK}:{settings.kafka_port + 2}",
            "security.protocol": "SSL",
            "ssl.ca.location": str(certificates.authority),
            "ssl.certificate.location": str(certificates.server),
            "ssl.key.location": str(certificates.server),
            "socket.timeout.ms": 3000,
            "log_level": 0,
        }
    )


def _ensure_user(settings: Settings) -> None:
    """Give the user of the settings its password, and the right to do anything with topics and groups."""
    user = UserScramCredentialUpsertion(
        settings.kafka_username,
        ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS),
        settings.kafka_password.get_secret_value().encode(),
    )
    kinds = {
        ResourceType.TOPIC: "*",
        ResourceType.GROUP: "*",
        ResourceType.TRANSACTIONAL_ID: "*",
        ResourceType.BROKER: "kafka-cluster",
    }
    rights = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{settings.kafka_username}", "*",
                   AclOperation.ALL, AclPermissionType.ALLOW)
        for kind, name in kinds.items()
    ]  # fmt: skip
    admin = open_internal_admin(settings)
    try:
        waiting = [
            *admin.alter_user_scram_credentials([user], request_timeout=3).values(),
            *admin.create_acls(rights, request_timeout=3).values(),
        ]
        for future in waiting:
            future.result()
    except KafkaException as error:
        raise NotReady(f"the broker takes no user yet: {error.args[0].str()}") from None


def _data(settings: Settings) -> Path:
    return server_folder(settings, Kafka.name) / "data"


def _metadata(settings: Settings) -> ClusterMetadata:
    # A refused connection is an answer here ("not yet"), not something to report on the terminal.
    client = AdminClient({**client_config(settings), "socket.timeout.ms": 3000, "log_level": 0})
    try:
        metadata = client.list_topics(timeout=3)
    except KafkaException as error:
        raise NotReady(f"no metadata from {settings.kafka_brokers}: {error.args[0].str()}") from None
    if not metadata.brokers:
        raise NotReady("no broker has registered yet")
    return metadata
