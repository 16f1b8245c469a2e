"""A session on Spark where there is none to be had."""

import pytest

from lakehouse.adapters.spark.session import open_session
from lakehouse.errors import LakehouseError
from lakehouse.settings import load
from lakehouse_tests.conftest import free_ports


def test_a_server_that_is_not_there_is_said_at_once() -> None:
    (port,) = free_ports(1)
    with (
        pytest.raises(LakehouseError, match=rf"does not answer at sc://127.0.0.1:{port} .*`lakehouse up spark`"),
        open_session(load(spark_remote=f"sc://127.0.0.1:{port}/;user_id=someone")),
    ):
        pass


def test_a_bucket_is_refused_by_the_local_server() -> None:
    with (
        pytest.raises(LakehouseError, match="works on a folder only, so far: not on s3://lake/wh"),
        open_session(load(spark_remote="local", warehouse="s3://lake/wh")),
    ):
        pass
