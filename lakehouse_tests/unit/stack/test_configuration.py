"""What the servers are told, and what is kept from other eyes."""

import json
import os
import shlex
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from lakehouse.adapters.iceberg.catalog import open_catalog
from lakehouse.settings import PROJECT, Settings, load
from lakehouse.stack import environment
from lakehouse.stack.api import Api
from lakehouse.stack.dagster import ATTRIBUTE, LOCATION, MODULE, Dagster
from lakehouse.stack.environment import exports, shell_lines
from lakehouse.stack.files import java_properties, socket_folder
from lakehouse.stack.kafka import Kafka
from lakehouse.stack.passwords import FIELDS, REDIS_FIELD, S3_FIELD, ensure_passwords
from lakehouse.stack.postgres import Postgres, databases
from lakehouse.stack.redis import Redis
from lakehouse.stack.s3 import S3Proxy
from lakehouse.stack.server import Program
from lakehouse.stack.sink import Sink
from lakehouse.stack.spark import Spark
from lakehouse.stack.supervision import Supervisor
from lakehouse.stack.trino import Trino

SERVERS = (Postgres(), S3Proxy(), Kafka(), Redis(), Trino(), Spark(), Sink(), Api(), Dagster())
SECRETS = (*FIELDS, S3_FIELD, REDIS_FIELD)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for field in Settings.model_fields.values():
        for name in getattr(field.validation_alias, "choices", ()):
            monkeypatch.delenv(str(name), raising=False)
    bucket = {"warehouse": "s3://lake/wh", "compute_logs": "s3://lake/logs", "s3_endpoint": "local"}
    return load(home=tmp_path / "a home", kafka_port=39092, trino_port=38080, spark_port=35002, s3_port=38333, **bucket)


def read_properties(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def test_passwords_are_generated_once_and_only_the_owner_can_read_them(settings: Settings) -> None:
    first, second = ensure_passwords(settings), ensure_passwords(settings)
    file = settings.home / "secrets.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    values = [getattr(first, name).get_secret_value() for name in SECRETS]
    assert values == [getattr(second, name).get_secret_value() for name in SECRETS]
    assert len(set(values)) == len(SECRETS)
    assert all(len(value) >= 32 for value in values)


def test_a_password_of_the_user_is_used_and_not_stored(settings: Settings) -> None:
    given = ensure_passwords(load(home=settings.home, db_password="of the user"))
    assert given.db_password.get_secret_value() == "of the user"
    assert set(tomllib.loads((settings.home / "secrets.toml").read_text())) == {*FIELDS, REDIS_FIELD} - {"db_password"}


def test_no_password_is_on_a_command_line_or_in_the_supervisors_configuration(settings: Settings) -> None:
    settings = ensure_passwords(settings)
    programs: list[Program] = []
    for server in SERVERS:
        server.configure(settings)
        programs += server.programs(settings)
    Supervisor(settings).write(programs)
    public = (settings.home / "run" / "supervisord.conf").read_text() + "".join(
        str(program.argv) for program in programs
    )
    assert not [name for name in SECRETS if getattr(settings, name).get_secret_value() in public]


def test_everything_written_is_for_the_owner_only(settings: Settings) -> None:
    settings = ensure_passwords(settings)
    for server in SERVERS:
        server.configure(settings)
    Supervisor(settings).write(program for server in SERVERS for program in server.programs(settings))
    files = [path for path in settings.home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_every_server_listens_on_loopback_only(settings: Settings) -> None:
    Kafka().configure(settings)
    Trino().configure(settings)
    S3Proxy().configure(settings)
    Spark().configure(settings)
    Redis().configure(settings)
    assert 'bind "127.0.0.1"\n' in (settings.home / "redis" / "redis.conf").read_text()
    kafka = read_properties(settings.home / "kafka" / "server.properties")
    assert kafka["listeners"] == "PLAINTEXT://127.0.0.1:39092,CONTROLLER://127.0.0.1:39093"
    trino = read_properties(settings.home / "trino" / "config.properties")
    assert (trino["node.bind-ip"], trino["http-server.http.port"]) == ("127.0.0.1", "38080")
    store = read_properties(settings.home / "s3" / "s3proxy.properties")
    assert store["s3proxy.endpoint"] == "http://127.0.0.1:38333"
    spark = read_properties(settings.home / "spark" / "spark.properties")
    assert {value for name, value in spark.items() if name.lower().endswith(("address", ".host"))} == {"127.0.0.1"}
    assert (spark["spark.connect.grpc.binding.port"], spark["spark.ui.port"]) == ("35002", "35003")
    assert Spark().programs(settings)[0].env["SPARK_LOCAL_IP"] == "127.0.0.1"
    assert "listen_addresses=127.0.0.1" in Postgres().programs(settings)[0].argv
    assert "unix_socket_directories=" in Postgres().programs(settings)[0].argv


def test_a_changed_file_makes_the_supervisor_see_another_program(settings: Settings) -> None:
    written = []
    for port in (38080, 38081):
        moved = load(home=settings.home, trino_port=port)
        Trino().configure(moved)
        Supervisor(moved).write(Trino().programs(moved))
        written.append((settings.home / "run" / "supervisord.conf").read_text())
    assert written[0] != written[1]


def test_the_connections_of_all_roles_fit_into_the_server(settings: Settings) -> None:
    assert sum(database.connections for database in databases(settings)) < 100 - 3


def test_the_warehouse_decides_the_file_system(settings: Settings) -> None:
    def catalog(**values: str) -> dict[str, str]:
        Trino().configure(load(home=settings.home, **values))
        return read_properties(settings.home / "trino" / "catalog" / "iceberg.properties")

    assert "fs.native-s3.enabled" not in catalog()
    own = catalog(warehouse="s3://lake/wh", s3_endpoint="https://store.example", aws_access_key_id="k")
    assert (own["fs.native-s3.enabled"], own["s3.path-style-access"], own["s3.aws-access-key"]) == ("true", "true", "k")
    assert "s3.endpoint" not in catalog(warehouse="s3://lake/wh")


def test_items_kept_in_a_bucket_are_written_with_its_keys_also_beside_a_warehouse_in_a_folder(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {"type": "sql", "uri": "sqlite://", "init_catalog_tables": "true", "warehouse": settings.warehouse_uri}
    monkeypatch.setattr("lakehouse.adapters.iceberg.catalog._place", lambda settings: here)
    kept = {"raw": "s3://lake/raw", "s3_endpoint": "https://store.example", "aws_access_key_id": "k"}
    found = open_catalog(load(home=settings.home, **kept)).properties
    assert (found["s3.endpoint"], found["s3.access-key-id"]) == (kept["s3_endpoint"], "k")
    assert "s3.endpoint" not in open_catalog(load(home=settings.home)).properties


def test_amazons_keys_of_the_shell_are_not_those_of_the_local_store(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ensure_passwords(settings)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of Amazon")
    again = load(home=settings.home, warehouse="s3://lake/wh", s3_endpoint="local")
    assert again.s3_keys == settings.s3_keys
    assert "of Amazon" not in exports(again).values()
    assert load(home=settings.home, warehouse="s3://lake/wh").s3_keys == ("of Amazon", "of Amazon")


def test_a_store_is_started_only_where_a_bucket_is_to_be_local(settings: Settings) -> None:
    def states(**values: str) -> tuple[bool, bool]:
        given = load(home=settings.home, **values)
        return S3Proxy().is_used(given), S3Proxy().is_local(given)

    assert states() == (False, False)
    assert states(s3_endpoint="local") == (False, False)
    assert states(warehouse="s3://lake/wh") == (True, False)
    assert states(warehouse="s3://lake/wh", s3_endpoint="https://store.example") == (True, False)
    assert states(warehouse="s3://lake/wh", s3_endpoint="local") == (True, True)
    assert states(staging="s3://lake/in", s3_endpoint="local") == (True, True)


def test_java_reads_back_what_was_written() -> None:
    written = java_properties({"a": " x\\y\nz é\U0001f600"})
    assert written == "a=\\ x\\\\y\\nz \\u00e9\\ud83d\\ude00\n"


def test_a_long_home_gets_a_short_private_folder_for_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    settings = load(home=tmp_path / ("long" * 40))
    folder = socket_folder(settings)
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert socket_folder(settings) == folder


def test_the_shell_reads_back_every_exported_value(settings: Settings) -> None:
    nasty = "a 'b' \"c\" $HOME `id` \\ ; \n é"
    variables = exports(load(home=settings.home, db_password=nasty, trino_user="it's me"))
    assert variables["PGPASSWORD"] == nasty
    script = shell_lines(variables) + 'printf %s "$PGPASSWORD|$TRINO_USER"'
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True, env={"HOME": "/"})
    assert done.stdout == f"{nasty}|it's me"
    assert all(shlex.split(line) for line in shell_lines({"A": "b"}).splitlines())


def test_what_env_exports_does_not_make_local_servers_look_remote(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in exports(settings).items():
        monkeypatch.setenv(name, value)
    again = load()
    servers = (again.runs_kafka, again.runs_trino, again.runs_spark, again.runs_postgres, again.runs_s3)
    assert servers == (True,) * len(servers)
    assert (again.home, again.kafka_brokers, again.trino_port) == (settings.home, "127.0.0.1:39092", 38080)


def test_the_scripts_come_first_on_the_path_and_only_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", exports(settings)["PATH"])
    folders = exports(settings)["PATH"].split(":")
    assert folders.count(folders[0]) == 1
    assert (Path(folders[0]) / "python").exists()


def test_servers_do_not_depend_on_the_shell_that_started_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [program.env for server in SERVERS for program in server.programs(settings)]
    monkeypatch.setenv("SOMETHING", "else")
    monkeypatch.setenv("PATH", f"/opt/bin:{os.environ['PATH']}")
    assert before == [program.env for server in SERVERS for program in server.programs(settings)]


def test_dagster_has_one_name_for_the_code_everywhere(settings: Settings) -> None:
    Dagster().configure(settings)
    own = json.loads((settings.home / "dagster" / "workspace.yaml").read_text())["load_from"][0]["grpc_server"]
    ours = yaml.safe_load((PROJECT / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    assert own["location_name"] == ours["location_name"] == LOCATION
    assert (ours["module_name"], ours["attribute"]) == (MODULE, ATTRIBUTE)


def test_every_variable_that_dagster_yaml_reads_is_exported(settings: Settings) -> None:
    def variables(node: object) -> set[str]:
        if isinstance(node, dict):
            return {str(node["env"])} if set(node) == {"env"} else set().union(*map(variables, node.values()), set())
        return set().union(*map(variables, node), set()) if isinstance(node, list) else set()

    for logs in ("", "s3://lake/logs"):
        Dagster().configure(settings.model_copy(update={"compute_logs": logs}))
        read = variables(yaml.safe_load((settings.home / "dagster" / "dagster.yaml").read_text()))
        assert read
        assert read <= environment.dagster_variables(settings).keys()


def test_the_output_of_runs_goes_where_the_settings_say(settings: Settings) -> None:
    def written(logs: str) -> dict[str, Any]:
        Dagster().configure(settings.model_copy(update={"compute_logs": logs}))
        return dict(yaml.safe_load((settings.home / "dagster" / "dagster.yaml").read_text()))

    to_bucket, to_folder = written("s3://lake/logs"), written("")
    assert to_bucket["compute_logs"]["class"] == "S3ComputeLogManager"
    assert to_bucket["compute_logs"]["config"]["endpoint_url"] == "http://127.0.0.1:38333"
    assert to_folder == yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    assert to_bucket | {"compute_logs": None} == to_folder | {"compute_logs": None}
