"""All jobs that run in Flink, for what looks at every domain."""

from __future__ import annotations

from lakehouse.domains.conversions.stream import PIPELINE as CONVERSIONS
from lakehouse.domains.mtg.statistics import PIPELINE as MTG
from lakehouse.domains.players.statistics import PIPELINE as PLAYER_STATISTICS
from lakehouse.domains.players.stream import PIPELINE as PLAYERS
from lakehouse.errors import LakehouseError
from lakehouse.streaming.statements import Pipeline

LANDINGS = (PLAYERS, CONVERSIONS)
"""Those that land a topic, so that the audit must account for it."""
PIPELINES: tuple[Pipeline, ...] = (*LANDINGS, PLAYER_STATISTICS, MTG)


def pipeline_named(name: str) -> Pipeline:
    """The pipeline of that name.

    Raises:
        LakehouseError: naming those there are.
    """
    for pipeline in PIPELINES:
        if pipeline.name == name:
            return pipeline
    raise LakehouseError(f"there is no pipeline {name}; there is {', '.join(p.name for p in PIPELINES)}")
