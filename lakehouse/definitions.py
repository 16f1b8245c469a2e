"""The code location: merges the domains and binds the resources. Nothing else."""

from __future__ import annotations

import dagster as dg

from lakehouse.adapters.dbt.resource import DbtResource
from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.adapters.kafka.resource import KafkaResource
from lakehouse.adapters.spark.resource import SparkResource
from lakehouse.domains.apis import APIS
from lakehouse.domains.conversions import definitions as conversions
from lakehouse.domains.feeds import FEEDS, FILES
from lakehouse.domains.mtg import definitions as mtg
from lakehouse.domains.pgr import definitions as pgr
from lakehouse.domains.pipelines import LANDINGS
from lakehouse.domains.players import definitions as players
from lakehouse.domains.rawg import definitions as rawg
from lakehouse.orchestration.alerts import build_alerts
from lakehouse.orchestration.platform import build_platform
from lakehouse.orchestration.upkeep import build_maintenance

defs = dg.Definitions.merge(
    conversions.defs,
    mtg.defs,
    pgr.defs,
    players.defs,
    rawg.defs,
    build_platform(FEEDS, [FILES], LANDINGS, APIS),
    build_maintenance(),
    build_alerts(),
    dg.Definitions(
        resources={
            "kafka": KafkaResource(),
            "iceberg": IcebergResource(),
            "dbt": DbtResource(),
            "spark": SparkResource(),
        }
    ),
)
