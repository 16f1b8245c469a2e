"""What must hold for Magic's sets, cards and prices, beside what dbt tests."""

from __future__ import annotations

from lakehouse.domains.mtg.feeds import FEEDS
from lakehouse.orchestration.checks import build_account_check

accounts = [build_account_check(feed) for feed in FEEDS]
