"""The days by which silver and gold can be processed again."""

from __future__ import annotations

import dagster as dg

DAILY = dg.DailyPartitionsDefinition(start_date="2020-01-01", end_offset=1)
"""UTC days of the events; today is one of them."""
