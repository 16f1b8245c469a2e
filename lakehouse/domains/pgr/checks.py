"""Checks of the grievance domain that dbt does not make."""

from __future__ import annotations

from lakehouse.domains.pgr.bronze import FEED
from lakehouse.orchestration.checks import build_account_check

every_offset_is_accounted_for = build_account_check(FEED)
