"""The job that lands conversions."""

from __future__ import annotations

from lakehouse.domains.conversions.contract import CONVERSION_EVENT
from lakehouse.naming import CONVERSIONS_DLQ, CONVERSIONS_TOPIC
from lakehouse.streaming.landing import Landing
from lakehouse.streaming.statements import Source

PIPELINE = Landing("conversions", (Source(CONVERSION_EVENT, CONVERSIONS_TOPIC),), refused=CONVERSIONS_DLQ)
