"""Spark Connect beside the other engines: what one of them writes is what the others read."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import psutil
import psycopg2
import pyarrow as pa
import pytest
import requests
from pyspark import StorageLevel
from pyspark.sql import Observation, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import Row

from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.adapters.spark.resource import SparkResource
from lakehouse.adapters.spark.session import open_session, version
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings, load
from lakehouse.stack import down, up
from lakehouse.stack.registry import by_name
from lakehouse_tests.conftest import Stack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

TABLE = "silver.spark_numbers"
ONE, TWO, THREE = (1, "one"), (2, "two"), (3, "three")


@pytest.fixture(scope="module")
def settings(stack: Stack) -> Iterator[Settings]:
    """Spark beside the other servers."""
    up(stack.settings, servers=["spark"])
    try:
        yield load()
    finally:
        down(stack.settings, ["spark"])


@pytest.fixture(scope="module")
def spark(settings: Settings) -> Iterator[SparkSession]:
    with SparkResource().session() as session:
        yield session


@pytest.fixture
def table(spark: SparkSession) -> Iterator[str]:
    """A table with two rows."""
    connect(load())  # its namespaces exist then
    spark.sql(f"create table {TABLE} (id bigint, name string) using iceberg tblproperties ('format-version' = '2')")
    try:
        spark.sql(f"insert into {TABLE} values (1, 'one'), (2, 'zwei')")
        yield TABLE
    finally:
        spark.sql(f"drop table {TABLE} purge")


def merge(spark: SparkSession, target: str, *rows: tuple[int, str]) -> None:
    spark.createDataFrame(list(rows), "id bigint, name string").createOrReplaceTempView("arrived")
    spark.sql(
        f"merge into {target} t using arrived a on t.id = a.id"
        " when matched then update set * when not matched then insert *"
    )


def by_spark(spark: SparkSession, table: str) -> list[Any]:
    return [tuple(row) for row in spark.table(table).orderBy("id").collect()]


def by_trino(stack: Stack, table: str) -> list[Any]:
    return [tuple(row) for row in stack.sql(f"select id, name from iceberg.{table} order by id")]


def by_pyiceberg(table: str) -> list[Any]:
    rows = connect(load()).load_table(table).scan().to_arrow().sort_by("id").to_pylist()
    return [(row["id"], row["name"]) for row in rows]


def eventually(is_so: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(1)


def test_what_is_merged_is_read_by_every_engine(spark: SparkSession, stack: Stack, table: str) -> None:
    merge(spark, table, TWO, THREE)
    assert by_spark(spark, table) == by_trino(stack, table) == by_pyiceberg(table) == [ONE, TWO, THREE]


def test_what_others_commit_is_seen_at_once(spark: SparkSession, stack: Stack, table: str) -> None:
    assert len(by_spark(spark, table)) == 2
    connect(load()).load_table(table).append(pa.table({"id": [3], "name": ["three"]}))
    assert by_spark(spark, table)[-1] == THREE
    stack.sql(f"insert into iceberg.{table} values (4, 'four')")
    assert by_spark(spark, table)[-1] == (4, "four")


def test_a_branch_is_seen_by_nobody_until_it_is_main(spark: SparkSession, stack: Stack, table: str) -> None:
    before = by_spark(spark, table)
    spark.sql(f"alter table {table} create branch audit")
    merge(spark, f"{table}.branch_audit", TWO, THREE)
    assert by_spark(spark, f"{table}.branch_audit") == [ONE, TWO, THREE]
    assert by_spark(spark, table) == by_trino(stack, table) == by_pyiceberg(table) == before
    spark.sql(f"call system.fast_forward('{table}', 'main', 'audit')")
    assert by_spark(spark, table) == by_trino(stack, table) == by_pyiceberg(table) == [ONE, TWO, THREE]


def test_a_commit_carries_what_it_is_told_to(spark: SparkSession, table: str) -> None:
    rows = spark.createDataFrame([THREE], "id bigint, name string")
    rows.writeTo(table).option("snapshot-property.lakehouse.run", "a run").append()
    snapshot = connect(load()).load_table(table).current_snapshot()
    assert snapshot
    assert snapshot.summary
    assert snapshot.summary["lakehouse.run"] == "a run"


def test_frames_go_there_and_back_through_arrow(spark: SparkSession) -> None:
    sent = pa.table({"id": [1, 2, 3], "at": pa.array([0, None, 10**15], pa.timestamp("us", tz="UTC"))})
    seen = Observation("seen")
    frame = spark.createDataFrame(sent).observe(seen, F.count("*").alias("rows"), F.count("at").alias("times"))
    newest_first = Window.partitionBy(F.col("id") % 2).orderBy(F.col("id").desc())
    newest = frame.withColumn("place", F.row_number().over(newest_first)).filter("place = 1").drop("place")
    assert newest.orderBy("id").toArrow() == sent.slice(1)
    assert seen.get == {"rows": 3, "times": 2}


def test_frames_that_are_kept_go_to_the_disk_where_memory_is_short(spark: SparkSession) -> None:
    """The serializer that it writes them with loads classes for statistics, and all that these need."""
    kept = spark.range(10_000).selectExpr("id", "cast(id as string) as text").persist(StorageLevel.DISK_ONLY)
    try:
        assert kept.count() == 10_000
        assert kept.agg(F.sum("id")).toArrow().to_pylist() == [{"sum(id)": 49_995_000}]
    finally:
        kept.unpersist()


def test_times_without_a_zone_are_utc(spark: SparkSession) -> None:
    (row,) = spark.sql("select unix_micros(timestamp '1970-01-01 00:00:01') as micros").collect()
    assert row == Row(micros=1_000_000)


def test_an_error_is_in_words(spark: SparkSession, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match="nothing_here") as raised:
        spark.sql("select * from silver.nothing_here").collect()
    assert "\tat " not in str(raised.value)
    assert capfd.readouterr().err == ""


def test_sessions_that_end_leave_no_connection_behind(settings: Settings, stack: Stack, table: str) -> None:
    for _ in range(3):
        with open_session(settings) as session:
            session.table(table).count()
    assert connections(settings, stack) >= 3
    eventually(lambda: connections(settings, stack) == 0)


def connections(settings: Settings, stack: Stack) -> int:
    """How many of them PostgreSQL holds open for Spark."""
    (pid,) = stack.pids("spark")
    ports = [found.laddr.port for found in psutil.Process(pid).net_connections("tcp") if found.raddr]
    connection = psycopg2.connect(
        host=settings.db_address,
        port=settings.db_port,
        dbname=settings.catalog_db_name,
        user=settings.catalog_db_user,
        password=settings.catalog_db_password.get_secret_value(),
    )
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("select pid from pg_stat_activity where client_port = any(%s)", (ports,))
        return len(cursor.fetchall())


def test_secrets_are_not_in_the_interface_nor_in_the_list_of_processes(settings: Settings, stack: Stack) -> None:
    secret, url = settings.catalog_db_password.get_secret_value(), by_name("spark").address(settings)
    api = f"{url}/api/v1/applications"
    (application,) = requests.get(api, timeout=30).json()
    environment = requests.get(f"{api}/{application['id']}/environment", timeout=30)
    hidden = {name for name, value in environment.json()["sparkProperties"] if "redacted" in value}
    assert hidden == {"spark.sql.catalog.lake.jdbc.password"}
    pages = [environment.text, *(requests.get(f"{url}/{page}/", timeout=30).text for page in ("environment", "SQL"))]
    (pid,) = stack.pids("spark")
    assert not [1 for text in (*pages, " ".join(psutil.Process(pid).cmdline())) if secret in text]
    assert (settings.home / "spark" / "spark.properties").stat().st_mode & 0o077 == 0


def test_it_listens_on_loopback_only(settings: Settings, stack: Stack) -> None:
    (pid,) = stack.pids("spark")
    found = psutil.Process(pid).net_connections("inet")
    listening = {c.laddr for c in found if c.status == psutil.CONN_LISTEN}
    assert {address.ip for address in listening} <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert {settings.spark_port, settings.spark_port + 1} <= {address.port for address in listening}


def test_a_killed_server_comes_back(settings: Settings, stack: Stack) -> None:
    (killed,) = stack.pids("spark")
    os.kill(killed, signal.SIGKILL)

    def answers() -> bool:
        with suppress(LakehouseError):
            return bool(version(settings))
        return False

    eventually(answers)
    assert stack.pids("spark") != (killed,)
    with open_session(settings) as session:
        assert session.range(3).count() == 3
