"""Spark as a Dagster resource."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import dagster as dg

from lakehouse import settings as settings_module

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class SparkResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The server that the settings name. Holds no configuration, so that no secret can be seen in Dagster."""

    def session(self) -> AbstractContextManager[SparkSession]:
        """A session of one's own, which ends with the block.

        Raises:
            LakehouseError: Spark does not answer.
        """
        from lakehouse.adapters.spark.session import open_session

        return open_session(settings_module.load())
