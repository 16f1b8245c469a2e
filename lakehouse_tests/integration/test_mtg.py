"""Made builds of MTGJSON through the whole path, as Dagster runs it every night: HTTP, Kafka, bronze, silver, gold."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from kafka import KafkaAdminClient, KafkaConsumer
from kafka.admin import ConfigResource, ConfigResourceType

from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.adapters.kafka.client import await_topic, open_admin
from lakehouse.adapters.kafka.produce import send
from lakehouse.adapters.postgres.client import open_postgres
from lakehouse.audit import run_audit
from lakehouse.domains.mtg.checks import prices_hardly_jump, sets_hold_the_cards_they_declare
from lakehouse.domains.mtg.feeds import CARDS, SETS
from lakehouse.domains.mtg.made import make_builds
from lakehouse.domains.mtg.pull import Wanted, land_all, pull
from lakehouse.domains.mtg.server import Shelf, serving, write_build
from lakehouse.naming import Domain
from lakehouse.settings import load
from lakehouse.stack import down, up
from lakehouse_tests import recount_magic
from lakehouse_tests.cleared import clear
from lakehouse_tests.conftest import Stack, questions_of_the_readme
from lakehouse_tests.failpoints import run_killed
from lakehouse_tests.topics import ends_of, records_of
from lakehouse_tests.warehouse import DBT_PROJECT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

TODAY = date(2026, 3, 2)
YESTERDAY = date(2026, 3, 1)
LATER = date(2026, 3, 3)


@dataclass
class Magic:
    """A server with two builds, and the lake that takes them."""

    stack: Stack
    shelf: Shelf
    folders: dict[date, Path]

    def serve(self, day: date) -> None:
        self.shelf.folder = self.folders[day]

    def run_daily(self, *tags: str) -> None:
        """The scheduled job, as a user starts it."""
        command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "lakehouse.definitions", "-j", "mtg_daily"]
        done = subprocess.run([*command, *tags], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-6_000:]

    def rows(self, table: str, columns: str) -> list[Any]:
        return sorted(tuple(row) for row in self.stack.sql(f"select {columns} from iceberg.{table}"))

    def versions(self) -> list[Any]:
        columns = "uuid, cast(valid_from as date), cast(valid_to as date), version, card_object, volatile, told_on"
        found = self.stack.sql(f"select {columns} from iceberg.silver.mtg_cards")
        return sorted((*row[:4], json.loads(row[4]), json.loads(row[5]), row[6]) for row in found)

    def builds(self) -> recount_magic.Builds:
        paths = [path for folder in self.folders.values() for path in folder.glob("???.json")]
        return recount_magic.read_sets(path for path in paths if path.stem.isupper())

    def prices(self) -> list[recount_magic.Price]:
        """As the files say: the history of the first build, and the second's day."""
        first = recount_magic.read(self.folders[YESTERDAY] / "AllPrices.json")["data"]
        second = recount_magic.read(self.folders[TODAY] / "AllPricesToday.json")["data"]
        return sorted([*recount_magic.prices(first), *recount_magic.prices(second)])


@pytest.fixture(scope="module")
def magic(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Magic]:
    """Spark beside the other servers, and no table or topic of cards from another test."""
    root = tmp_path_factory.mktemp("mtgjson")
    folders = dict(zip((YESTERDAY, TODAY), make_builds(root, TODAY, cards=50), strict=True))
    up(load(), servers=["spark"])
    try:
        with serving(folders[YESTERDAY]) as shelf, pytest.MonkeyPatch.context() as patch:
            patch.setenv("LAKEHOUSE_MTGJSON_URL", shelf.address)
            clear(stack, Domain.MTG)
            land_all(load(), connect(load()), "tests")  # makes the topics
            yield Magic(stack, shelf, folders)
            clear(stack, Domain.MTG)
    finally:
        down(load(), ["spark"])


def checked(check: dg.AssetChecksDefinition) -> dg.AssetCheckResult:
    result = check()
    assert isinstance(result, dg.AssetCheckResult)
    return result


PULL = """
from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.domains.mtg.pull import Wanted, pull
from lakehouse.settings import load
pull(load(), connect(load()), Wanted(None, prices=True), run_id="killed")
"""


def test_a_pull_that_is_killed_at_any_step_is_completed_by_the_next(magic: Magic) -> None:
    """The steps one after the other, each further on than the one before; whatever was sent is sent once."""
    for function, calls in (
        ("lakehouse.domains.mtg.source._sha256", 2),  # a file is there, the next has come, and is not looked at yet
        ("lakehouse.domains.mtg.pull.spool_prices", 1),
        ("lakehouse.domains.mtg.pull._send", 3),  # sets and cards are sent
        ("lakehouse.ledger.writer.append", 2),  # sets are landed
        ("lakehouse.domains.mtg.pull.write_down", 1),
    ):
        run_killed(PULL, function, calls=calls)
    pulled = pull(load(), connect(load()), Wanted(None, prices=True), run_id="again")
    assert [sent.total for sent in pulled.sent.values()] == [0, 0, 0]
    whole = [one.name for one in magic.shelf.requests if one.name.endswith(".json.gz") and not one.range]
    assert sorted(whole) == ["AllPrices.json.gz", "AllPrintings.json.gz"], "what has come is not asked for again"
    for table, key in (("mtg_sets", "set_code"), ("mtg_cards", "uuid"), ("mtg_prices", "(uuid, price_date)")):
        ((rows, things),) = magic.rows(f"bronze.{table}", f"count(*), count(distinct {key})")
        assert rows == things > 0


def test_a_night_makes_history_of_two_builds_and_every_row_is_what_the_files_say(magic: Magic) -> None:
    """The first of them is on the topics, and partly in bronze."""
    magic.serve(TODAY)
    magic.run_daily()
    assert magic.versions() == recount_magic.versions(magic.builds())
    columns = "uuid, price_date, channel, provider, price_type, finish, currency, price"
    assert magic.rows("silver.mtg_prices", columns) == magic.prices()


def test_gold_points_at_the_version_of_the_day_and_compares_with_the_day_before(magic: Magic) -> None:
    told = {row[:7]: row[7] for row in magic.prices()}
    spans = {(uuid, first): (first, after) for uuid, first, after, *_ in recount_magic.versions(magic.builds())}
    wanted = []
    for place, price in told.items():
        uuid, day = place[:2]
        valid = [
            first
            for (u, first), (_, after) in spans.items()
            if u == uuid and first <= day and (not after or day < after)
        ]
        before = told.get((uuid, date.fromordinal(day.toordinal() - 1), *place[2:]))
        wanted.append((*place, price, None if before is None else price - before, valid[0] if valid else None))
    found = magic.stack.sql(
        "select f.uuid, date_key, channel, provider, price_type, finish, currency, price, price_change,"
        " cast(c.valid_from as date) from iceberg.gold.fact_mtg_card_price f"
        " left join iceberg.gold.dim_mtg_card c on f.card_key = c.card_key"
    )
    assert sorted(map(tuple, found), key=str) == sorted(wanted, key=str)


def test_prices_that_jump_are_counted(magic: Magic) -> None:
    assert checked(prices_hardly_jump).passed
    fact = "iceberg.gold.fact_mtg_card_price"
    those = f"date_key = (select max(date_key) from {fact}) and price_type = 'buylist' and previous_price > 0"
    ((count,),) = magic.stack.sql(f"select count(*) from {fact} where {those}")
    magic.stack.sql(f"update {fact} set price = price * 1000 where {those}")
    found = checked(prices_hardly_jump)
    magic.stack.sql(f"update {fact} set price = price / 1000 where {those}")
    assert not found.passed
    assert found.metadata["jumps"].value == count > 0


def test_every_rule_that_dbt_states_as_a_unit_test_holds(magic: Magic, tmp_path: Path) -> None:
    folders = [word for name in ("project", "profiles") for word in (f"--{name}-dir", str(DBT_PROJECT))]
    command = [str(Path(sys.executable).parent / "dbt"), "test", "--select", "group:mtg,test_type:unit", *folders]
    done = subprocess.run([*command, "--target-path", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4_000:]
    assert "PASS=2" in done.stdout


def test_the_questions_of_the_readme_have_answers(magic: Magic) -> None:
    questions = questions_of_the_readme("mtg")
    assert len(questions) == 2
    for question in questions:
        assert magic.stack.sql(question), question


def test_a_day_that_is_taken_again_from_its_kept_files_changes_nothing(magic: Magic) -> None:
    asked = len(magic.shelf.requests)
    tables = ("silver.mtg_cards", "silver.mtg_prices", "gold.dim_mtg_card", "gold.fact_mtg_card_price")
    before = [magic.stack.sql(f"select count(*), max(_audit_loaded_at) from iceberg.{name}") for name in tables]
    tag = {"dagster/asset_partition_range_start": str(YESTERDAY), "dagster/asset_partition_range_end": str(TODAY)}
    magic.run_daily("--tags", json.dumps(tag))
    assert len(magic.shelf.requests) == asked
    after = [magic.stack.sql(f"select count(*), max(_audit_loaded_at) from iceberg.{name}") for name in tables]
    assert after == before


def test_a_null_value_is_no_deletion_but_a_dead_letter(magic: Magic) -> None:
    admin, name = open_admin(load()), CARDS.topic_name
    send(load(), name, [(b"nobody", None)])
    land_all(load(), connect(load()), "tests")
    report = run_audit(load(), deep=True)
    own = [account for account in report.accounts if account.source == name]
    assert all(account.closes for account in own)
    assert sum(account.dead_letters for account in own) == 1
    assert sum(account.bronze for account in own) + 1 == sum(
        bounds.end for bounds in await_topic(admin, name).partitions.values()
    )


def test_offsets_that_compaction_took_are_skipped_and_every_account_closes(magic: Magic) -> None:
    """Not after seven days, as it would be, but at once."""
    name = SETS.topic_name
    at_once = {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": "0",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.01",
    }
    brokers = load().kafka_brokers
    with closing(KafkaAdminClient(bootstrap_servers=brokers)) as admin:
        admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name, configs={"cleanup.policy": "compact", **at_once})]
        )
    told = {"set_code": "SAME", "build_date": str(TODAY), "is_deleted": False, "set": {"name": "Same"}}
    values = [json.dumps(told | {"build_version": str(number)}).encode() for number in range(50)]
    with closing(KafkaConsumer(bootstrap_servers=brokers, enable_auto_commit=False)) as consumer:
        before = ends_of(consumer, name)
        deadline = time.monotonic() + 120
        while True:
            # A segment is closed when a message comes after its time.
            send(load(), name, [(b"SAME", value) for value in values])
            left = list(records_of(consumer, name, before))
            sent = sum(ends_of(consumer, name).values()) - sum(before.values())
            if len(left) < sent:
                break
            assert time.monotonic() < deadline, "nothing was compacted"
            time.sleep(2)
    land_all(load(), connect(load()), "tests")
    own = [account for account in run_audit(load(), deep=True).accounts if account.source == name]
    assert all(account.closes for account in own)
    assert sum(account.skipped for account in own) > 0


def test_a_card_that_only_a_build_said_that_was_published_again_without_it_is_nowhere(
    magic: Magic, tmp_path: Path
) -> None:
    """Its version is deleted, and nothing is left that points at it."""
    whole = recount_magic.read(magic.folders[TODAY] / "AllPrintings.json")["data"]
    prices = recount_magic.read(magic.folders[TODAY] / "AllPricesToday.json")["data"]
    told = whole["HRB"]
    model = told["cards"][0]
    more = told | {"cards": [*told["cards"], model | {"uuid": "only-once"}], "totalSetSize": len(told["cards"]) + 1}
    offers = {"paper": {"northshop": {"currency": "USD", "retail": {"foil": {str(LATER): 5.0}}}}}
    for number, sets in enumerate((whole | {"HRB": more}, whole)):
        prices_then = prices | ({} if number else {"only-once": offers})
        magic.shelf.folder = write_build(tmp_path / str(number), str(LATER), f"made+{number}", sets, prices_then)
        magic.run_daily()
        facts = magic.stack.sql(
            "select f.card_key is null, c.card_key is null from iceberg.gold.fact_mtg_card_price f"
            " left join iceberg.gold.dim_mtg_card c on f.card_key = c.card_key where f.uuid = 'only-once'"
        )
        assert [tuple(row) for row in facts] == [(bool(number), bool(number))]
        with open_postgres(load(), "tests") as connection, connection.cursor() as cursor:
            cursor.execute("select vanished_on from mtg.cards where uuid = 'only-once'")
            assert cursor.fetchall() == [(LATER if number else None,)]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 1, "say what to take"),
        (("--sets", "HRB", "--all"), 1, "give one of them"),
        (("--sets", "HRB,HRX"), 1, "MTGJSON has no set HRX; did you mean HRB?"),
        (("--all", "--prices"), 0, "nothing new, all of this was taken before"),
    ],
)
def test_the_command_says_what_is_wrong_and_what_is_new(
    magic: Magic, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, said: str
) -> None:
    folder = magic.folders[YESTERDAY if code else TODAY]
    magic.shelf.folder = folder
    command = [sys.executable, "-c", "from lakehouse.cli import main; main()", "mtg", "pull", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert said in " ".join((done.stdout + done.stderr).split())


def test_a_set_without_all_its_cards_is_named(magic: Magic) -> None:
    assert checked(sets_hold_the_cards_they_declare).passed
    magic.stack.sql("delete from iceberg.silver.mtg_cards where set_code = 'EMB' and is_current and side is null")
    found = checked(sets_hold_the_cards_they_declare)
    assert not found.passed
    assert found.metadata["sets"].value == 1
    differing = found.metadata["differing"].value
    assert isinstance(differing, dict)
    assert list(differing) == ["EMB"]
