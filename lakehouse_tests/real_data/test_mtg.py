"""Real sets of MTGJSON's builds, through HTTP, Kafka and Spark: each version, deletion and price is what the files say.

Judged by a recomputation in plain Python; the product's tables are only compared with it.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.adapters.spark.session import open_session
from lakehouse.adapters.spark.workspace import Workspace
from lakehouse.audit import run_audit
from lakehouse.domains.mtg import silver
from lakehouse.domains.mtg.feeds import FEEDS
from lakehouse.domains.mtg.pull import Pulled, Wanted, land_all, pull, take_again
from lakehouse.domains.mtg.server import Fault, Json, Mischief, Shelf, serving, write_build
from lakehouse.naming import Domain
from lakehouse.settings import load
from lakehouse.stack import down, up
from lakehouse_tests import recount_magic
from lakehouse_tests.cleared import clear
from lakehouse_tests.conftest import REAL_DATA, Stack
from lakehouse_tests.failpoints import run_killed

pytestmark = [pytest.mark.real_data, pytest.mark.timeout(1200)]

SEED = 17
PRICED = date(2026, 5, 22)
DAYS = ("2022-02-03", "2022-02-04", "2022-02-05", "2022-02-07")


def folder() -> Path:
    return Path(os.environ[REAL_DATA]) / "mtg"


@pytest.fixture(scope="module")
def spark(stack: Stack) -> Iterator[SparkSession]:
    up(load(), servers=["spark"])
    try:
        with open_session(load()) as session:
            yield session
    finally:
        down(load(), ["spark"])


@dataclass
class Magic:
    """A server with builds, and a lake of their own that takes them."""

    stack: Stack
    spark: SparkSession
    shelf: Shelf
    builds: dict[date, Path]
    pulled: list[Pulled] = field(default_factory=list)

    def serve(self, day: date) -> None:
        self.shelf.folder = self.builds[day]

    def take(self, day: date, what: Wanted) -> Pulled:
        self.serve(day)
        settings = load()
        self.pulled.append(pull(settings, connect(settings), what, run_id="tests"))
        return self.pulled[-1]

    def make_silver(self) -> None:
        settings = load()
        land_all(settings, connect(settings), "tests")
        work = Workspace(self.spark, connect(settings), "tests")
        for build in (silver.build_sets, silver.build_cards, silver.build_prices):
            build(work)

    def versions(self, codes: list[str]) -> list[recount_magic.Version]:
        listed = ", ".join(f"'{code}'" for code in codes)
        found = self.stack.sql(
            "select uuid, cast(valid_from as date), cast(valid_to as date), version, card_object, volatile, told_on"
            f" from iceberg.silver.mtg_cards where set_code in ({listed})"
        )
        return sorted(
            (uuid, first, after, number, json.loads(card), json.loads(changing), told)
            for uuid, first, after, number, card, changing, told in found
        )

    def prices(self) -> list[recount_magic.Price]:
        columns = "uuid, price_date, channel, provider, price_type, finish, currency, price"
        return sorted(tuple(row) for row in self.stack.sql(f"select {columns} from iceberg.silver.mtg_prices"))

    def days(self, condition: str, column: str) -> list[tuple[str, int]]:
        """How many versions of which a condition holds begin, or end, on each day."""
        found = self.stack.sql(
            f"select cast(cast({column} as date) as varchar), count(*) from iceberg.silver.mtg_cards c"
            f" where {condition} group by 1 order by 1"
        )
        return [(day, count) for day, count in found]


MAKE_SILVER = """
from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.adapters.spark.session import open_session
from lakehouse.adapters.spark.workspace import Workspace
from lakehouse.domains.mtg import silver
from lakehouse.settings import load
with open_session(load()) as session:
    work = Workspace(session, connect(load()), "killed")
    for build in (silver.build_sets, silver.build_cards, silver.build_prices):
        build(work)
"""
KILLS: tuple[dict[str, Any], ...] = (
    {"function": "lakehouse.domains.mtg.silver.merge"},
    {"function": "lakehouse.domains.mtg.silver.merge", "after": 0.5},
    {"function": "lakehouse.domains.mtg.silver.pass_over", "calls": 2},
)
"""Of silver: before the cards are merged, while Spark merges them, and after it."""


def neo() -> recount_magic.Builds:
    return recount_magic.read_sets(sorted((folder() / "daily_NEO").glob("*.gz")))


def snapshots() -> recount_magic.Builds:
    paths = [path for day in ("2022-03-15", "2022-04-25") for path in sorted((folder() / f"sets_{day}").glob("*.gz"))]
    return recount_magic.read_sets(paths)


def real_prices() -> Json:
    return json.loads((folder() / "AllPricesToday_excerpt_2026-05-22.json").read_text())["data"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[date, Path]:
    """All real sets as builds, and the real prices as one of their day."""
    root = tmp_path_factory.mktemp("mtgjson")
    prices = write_build(root / "prices", str(PRICED), f"5.3.0+{PRICED:%Y%m%d}", {}, real_prices())
    return {PRICED: prices} | {
        day: write_build(root / str(day), str(day), f"5.2.0+{day:%Y%m%d}", sets)
        for day, sets in (neo() | snapshots()).items()
    }


@pytest.fixture
def magic(
    stack: Stack,
    spark: SparkSession,
    builds: dict[date, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Magic]:
    """Tables and kept downloads of their own for each test; the topics go on."""
    with serving(next(iter(builds.values()))) as shelf:
        monkeypatch.setenv("LAKEHOUSE_MTGJSON_URL", shelf.address)
        monkeypatch.setattr("lakehouse.settings.Settings.raw_folder", tmp_path / "raw")
        lake = Magic(stack, spark, shelf, builds)
        clear(stack, Domain.MTG)
        yield lake
        clear(stack, Domain.MTG)


def test_every_version_deletion_and_price_is_what_the_files_say_though_the_server_misbehaves(magic: Magic) -> None:
    known = neo() | snapshots()
    for day, sets in sorted(known.items()):
        magic.shelf.faults = [
            Fault(mischief, rf"{next(iter(sets))}_?\.json\.gz")
            for mischief in (Mischief.TRUNCATE, Mischief.CORRUPT, Mischief.BUSY, Mischief.UNAVAILABLE)
        ]
        magic.take(day, Wanted(tuple(sets)))
    magic.take(PRICED, Wanted(prices=True))
    magic.make_silver()
    assert magic.versions([code for sets in known.values() for code in sets]) == recount_magic.versions(known)
    assert magic.prices() == recount_magic.prices(real_prices())
    # What is known is asked for by one small file, and nothing is sent again.
    asked = len(magic.shelf.requests)
    assert magic.take(max(known), Wanted(tuple(known[max(known)]))).sent == {}
    assert magic.take(PRICED, Wanted(prices=True)).sent == {}
    assert [request.name for request in magic.shelf.requests[asked:]] == ["Meta.json"] * 2
    report = run_audit(load(), deep=True)
    own = [account for account in report.accounts if account.source in {feed.topic_name for feed in FEEDS}]
    assert all(account.closes for account in own)
    assert sum(account.bronze for account in own) == sum(sent.total for p in magic.pulled for sent in p.sent.values())
    assert sum(account.dead_letters for account in own) == 0


def test_builds_in_any_order_and_again_come_out_the_same_though_silver_is_killed(magic: Magic) -> None:
    """And as they are described: 80 cards came and 7 went, 133 and 45, then none."""
    chance = random.Random(SEED)
    days = [date.fromisoformat(day) for day in DAYS]
    chance.shuffle(days)
    for number, day in enumerate([*days, days[0]]):
        if number < len(days):
            magic.take(day, Wanted(("NEO",)))
        else:
            take_again(load(), connect(load()), day, run_id="tests")
        if number < len(KILLS):
            run_killed(MAKE_SILVER, **KILLS[number])
        magic.make_silver()
    assert magic.versions(["NEO"]) == recount_magic.versions(neo())

    assert magic.days("version = 1", "valid_from") == [(DAYS[0], 392), (DAYS[1], 80), (DAYS[2], 133)]
    is_followed = (
        "exists (select 1 from iceberg.silver.mtg_cards n where n.uuid = c.uuid and n.valid_from = c.valid_to)"
    )
    assert magic.days(f"valid_to is not null and not {is_followed}", "valid_to") == [(DAYS[1], 7), (DAYS[2], 45)]
