"""The code location: merges the domains and binds the resources. Nothing else."""

from __future__ import annotations

import dagster as dg

from lakehouse.adapters.dbt.resource import DbtResource
from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.adapters.kafka.resource import KafkaResource
from lakehouse.domains.feeds import FEEDS
from lakehouse.domains.pgr import definitions as pgr
from lakehouse.orchestration.dead_letters import dead_letters_spec

defs = dg.Definitions.merge(
    pgr.defs,
    dg.Definitions(
        assets=[dead_letters_spec(FEEDS)],
        resources={"kafka": KafkaResource(), "iceberg": IcebergResource(), "dbt": DbtResource()},
    ),
)
