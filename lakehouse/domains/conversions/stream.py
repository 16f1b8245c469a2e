"""The job that lands conversions."""

from __future__ import annotations

from lakehouse.domains.conversions.contract import CONVERSION_EVENT
from lakehouse.naming import CONVERSIONS_DLQ, CONVERSIONS_TOPIC
from lakehouse.streaming.statements import Pipeline

PIPELINE = Pipeline("conversions", CONVERSION_EVENT, CONVERSIONS_TOPIC, CONVERSIONS_DLQ)
