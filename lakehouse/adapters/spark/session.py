"""Sessions on the Spark Connect server that the settings name. Spark itself is never started here."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from lakehouse.errors import LakehouseError
from lakehouse.settings import is_s3

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from lakehouse.settings import Settings

ANSWER_SECONDS = 20
RETRIES = 6
"""A minute, in which the server comes back when it was restarted; the client's own choice is ten."""

LOGGERS = ("DataFrameQueryContextLogger", "SQLQueryContextLogger")
"""They print every error of a query with its trace, before it is raised."""


@contextmanager
def kept(frame: DataFrame) -> Iterator[DataFrame]:
    """A frame that is computed once within the block, and given up with it, however that ends."""
    frame = frame.cache()
    try:
        yield frame
    finally:
        frame.unpersist()


@contextmanager
def open_session(settings: Settings) -> Iterator[SparkSession]:
    """A session of one's own, which ends with the block; its temporary views and settings are seen by no one else.

    Raises:
        LakehouseError: Spark does not answer, or the warehouse is where the local one cannot write.
    """
    from pyspark.logger import PySparkLogger
    from pyspark.sql import SparkSession
    from pyspark.sql.connect.client.reattach import ExecutePlanResponseReattachableIterator
    from pyspark.sql.connect.client.retries import DefaultPolicy

    if settings.runs_spark and is_s3(settings.warehouse_uri):
        raise LakehouseError(f"the local Spark works on a folder only, so far: not on {settings.warehouse_uri}")
    version(settings)
    for name in LOGGERS:
        PySparkLogger.getLogger(name).setLevel(logging.CRITICAL)
    session = SparkSession.builder.remote(settings.spark_address).create()
    session.client.set_retry_policies([DefaultPolicy(max_retries=RETRIES)])
    try:
        yield session
    finally:
        # What the client has yet to say of the results that it took: after its session, it would be an error.
        ExecutePlanResponseReattachableIterator.shutdown()
        session.stop()


def version(settings: Settings) -> str:
    """Version of the server, which has answered then.

    The client's own session would wait for minutes for a server that is not there.

    Raises:
        LakehouseError: Spark does not answer.
    """
    import grpc
    from pyspark.sql.connect.client import DefaultChannelBuilder
    from pyspark.sql.connect.proto import (
        AnalyzePlanRequest,
        ReleaseSessionRequest,
        SparkConnectServiceStub,
        UserContext,
    )

    builder = DefaultChannelBuilder(settings.spark_address)
    session, user = str(uuid4()), UserContext(user_id=builder.userId or "")
    question = AnalyzePlanRequest(
        session_id=session, user_context=user, spark_version=AnalyzePlanRequest.SparkVersion()
    )
    with builder.toChannel() as channel:
        server = SparkConnectServiceStub(channel)  # type: ignore[no-untyped-call]
        try:
            answer = server.AnalyzePlan(question, timeout=ANSWER_SECONDS, metadata=builder.metadata())
            end = ReleaseSessionRequest(session_id=session, user_context=user)
            server.ReleaseSession(end, timeout=ANSWER_SECONDS, metadata=builder.metadata())
        except grpc.RpcError as error:
            raise LakehouseError(
                f"Spark does not answer at {settings.spark_server} ({error.code().name}): is it up? "
                "`lakehouse status`, `lakehouse up spark`"
            ) from None
    return str(answer.spark_version.version)
