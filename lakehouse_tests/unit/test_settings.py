"""Settings: which source wins, and what a wrong value says."""

from pathlib import Path

import pytest

from lakehouse import settings
from lakehouse.errors import SettingsError


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder of its own, and none of our variables in the environment."""
    monkeypatch.setattr(settings, "PROJECT", tmp_path)
    monkeypatch.setattr(settings, "DEFAULT_HOME", tmp_path / "home")
    for names in settings._FIELD_OF:
        monkeypatch.delenv(names, raising=False)
    return tmp_path


def test_the_environment_wins_over_the_files(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "lakehouse.toml").write_text("batch_size = 1\ntrino_user = 'toml'\ndb_name = 'toml'\n")
    (project / ".env").write_text("BATCH_SIZE=2\nTRINO_USER=dotenv\n")
    monkeypatch.setenv("BATCH_SIZE", "3")
    loaded, origins = settings.load(), settings.origin_of_settings()
    assert (loaded.batch_size, loaded.trino_user, loaded.db_name) == (3, "dotenv", "toml")
    assert (origins["batch_size"], origins["trino_user"]) == ("environment BATCH_SIZE", ".env")
    assert (origins["db_name"], origins["db_user"]) == ("lakehouse.toml", "default")


@pytest.mark.parametrize("name", ["KAFKA_BOOTSTRAP_SERVERS", "KAFKA_BROKERS", "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS"])
def test_the_names_people_use_are_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "broker:9092")
    loaded = settings.load()
    assert (loaded.kafka_brokers, loaded.runs_kafka) == ("broker:9092", False)


def test_a_wrong_value_is_named_with_its_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_SIZE", "many")
    with pytest.raises(SettingsError, match=r"batch_size = 'many' \(from environment BATCH_SIZE\): .* valid integer"):
        settings.load()


def test_an_unknown_name_in_the_file_is_an_error(project: Path) -> None:
    (project / "lakehouse.toml").write_text("batchsize = 1\n")
    with pytest.raises(SettingsError, match=r"lakehouse\.toml: unknown setting batchsize; did you mean batch_size\?"):
        settings.load()


def test_an_unknown_variable_with_our_prefix_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_BATCHSIZE", "5")
    expected = r"environment: unknown setting LAKEHOUSE_BATCHSIZE; did you mean LAKEHOUSE_BATCH_SIZE\?"
    with pytest.raises(SettingsError, match=expected):
        settings.load()


def test_a_broken_file_is_an_error(project: Path) -> None:
    (project / "lakehouse.toml").write_text("batch_size = \n")
    with pytest.raises(SettingsError, match=r"lakehouse\.toml is not valid TOML"):
        settings.load()


def test_generated_passwords_are_used_and_never_shown(project: Path) -> None:
    (project / "home").mkdir()
    (project / "home" / "secrets.toml").write_text("db_password = 'hunter2'\n")
    loaded = settings.load()
    assert loaded.db_password.get_secret_value() == "hunter2"
    assert settings.shown(loaded, "db_password") == "********"
    assert "hunter2" not in repr(loaded)
    assert settings.origin_of_settings()["db_password"] == "generated"


def test_a_warehouse_is_a_file_or_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_WAREHOUSE", "/data")
    with pytest.raises(SettingsError, match="must start with file:/// or s3://"):
        settings.load()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("warehouse", "s3://", "must name a bucket and a prefix"),
        ("staging", "s3://lake/", "must name a bucket and a prefix"),
        ("staging", "gs://lake/in", "must be a folder, or start with s3://"),
        ("compute_logs", "/var/log", "must start with s3://"),
        ("s3_endpoint", "store.example:9000", "must start with https:// or http://, or be `local`"),
    ],
)
def test_a_place_in_a_bucket_is_named_in_full(name: str, value: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        settings.load(**{name: value})


@pytest.mark.usefixtures("project")
def test_a_bucket_may_be_a_warehouse_as_a_whole() -> None:
    assert settings.load(warehouse="s3://lake/").warehouse_uri == "s3://lake"


@pytest.mark.usefixtures("project")
def test_a_token_in_the_address_of_spark_is_not_shown() -> None:
    loaded = settings.load(spark_remote="sc://spark.example:443/;use_ssl=true;token=hunter2")
    assert not loaded.runs_spark
    assert loaded.spark_address.endswith("hunter2")
    assert settings.shown(loaded, "spark_remote") == "sc://spark.example:443"
    with pytest.raises(SettingsError, match="must start with sc://, or be `local`"):
        settings.load(spark_remote="http://spark.example:443")
