"""What must hold for the tables of the conversions."""

from __future__ import annotations

from lakehouse.domains.conversions.stream import PIPELINE
from lakehouse.orchestration.checks import build_stream_check

every_offset_is_accounted_for = build_stream_check(PIPELINE)
