"""All jobs that run in Flink, for what looks at every domain."""

from __future__ import annotations

from lakehouse.domains.conversions.stream import PIPELINE as CONVERSIONS

PIPELINES = (CONVERSIONS,)
