"""What must hold for the tables of the players."""

from __future__ import annotations

from lakehouse.domains.players.stream import PIPELINE
from lakehouse.orchestration.checks import build_stream_check

every_offset_is_accounted_for = build_stream_check(PIPELINE)
