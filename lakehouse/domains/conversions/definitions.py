"""What the conversions bring to the code location."""

from __future__ import annotations

import dagster as dg

from lakehouse.domains.conversions import bronze

defs = dg.Definitions(assets=[bronze.conversions_topic, bronze.conversion_events, bronze.refused_conversions])
