"""Real sets of two builds, and prices, through Kafka and Flink: every number is what plain Python makes of it.

They come out of order, again, and with deletions; the job is stopped and started with its state, and without any.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer

from lakehouse import stream
from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.adapters.kafka.client import ensure_topic, open_admin
from lakehouse.adapters.postgres.client import open_postgres
from lakehouse.domains.mtg.made import make_builds
from lakehouse.domains.mtg.pull import Wanted, land_all, pull
from lakehouse.domains.mtg.schema import ensure_schema
from lakehouse.domains.mtg.server import serving
from lakehouse.domains.mtg.statistics import PIPELINE
from lakehouse.domains.mtg.statistics_serving import load_statistics, taken_snapshot
from lakehouse.errors import LakehouseError
from lakehouse.maintenance.maintain import maintain
from lakehouse.naming import MTG_CARDS_TOPIC, MTG_PRICES_TOPIC, MTG_SETS_TOPIC, MTG_STATISTICS, Domain
from lakehouse.settings import Settings, load
from lakehouse.stack import down, up
from lakehouse_tests.cleared import clear
from lakehouse_tests.conftest import REAL_DATA, Stack
from lakehouse_tests.recount_statistics import Group, Sent, recount
from lakehouse_tests.topics import records_of
from lakehouse_tests.warehouse import DBT_PROJECT

pytestmark = [pytest.mark.real_data, pytest.mark.timeout(1200)]

TOPIC, CARDS, PRICES = "mtg.statistics", "mtg.cards", "mtg.prices"
BUILDS = ("2022-03-15", "2022-04-25")
SETS = ("UNH", "UST", "NEC", "CON_", "SNC", "OPCA", "ARN", "L15")
"""Halves and a million mana, cards that vanish, a reserved name, a preview, planes, no cards at all."""
FIRST_DAY = date(2022, 4, 20)
OFFERS = (
    ("paper", "tcgplayer", "retail", "normal", "USD"),
    ("paper", "tcgplayer", "retail", "foil", "USD"),
    ("paper", "cardkingdom", "retail", "etched", "USD"),
    ("paper", "cardkingdom", "buylist", "normal", "USD"),
    ("paper", "cardmarket", "retail", "normal", "EUR"),
    ("paper", "cardsphere", "retail", "normal", None),
    ("mtgo", "cardhoarder", "retail", "normal", "USD"),
)
NOT_HELD = "SNC"
"""A set that PostgreSQL does not know."""
SERVED = ("cards", "average_mana_value", "median_mana_value", "colors", "prices", "movers", "version")
FOREIGN = b"foreign"
"""Key of what is no message of ours."""
Json = dict[str, Any]


def folder() -> Path:
    return Path(os.environ[REAL_DATA]) / "mtg"


def cards_of(build: str) -> dict[str, Json]:
    """Every card of the sets, as the build's files have it."""
    found: dict[str, Json] = {}
    for code in SETS:
        told = json.loads(gzip.decompress((folder() / f"sets_{build}" / f"{code}.json.gz").read_bytes()))["data"]
        found |= {card["uuid"]: card | {"setCode": told["code"]} for card in told["cards"]}
    return found


def told_of(card: Json, build: str) -> Json:
    keys = {"uuid": card["uuid"], "set_code": card["setCode"], "build_date": build, "build_version": f"5.2.0+{build}"}
    return keys | {"is_deleted": False, "card": card}


def gone(card: Json, build: str) -> Json:
    keys = {"uuid": card["uuid"], "set_code": card["setCode"], "build_date": build, "build_version": f"5.2.0+{build}"}
    return keys | {"is_deleted": True}


def prices_of(uuid: str, real: Decimal, day: date, build: date, chance: random.Random) -> Json:
    """A day's prices, about the card's real one; an offer may be missing."""
    asked = []
    for channel, provider, kind, finish, currency in OFFERS:
        if chance.random() < 0.8:
            price = (real * Decimal(chance.randint(80, 130)) / 100).quantize(Decimal("0.01"))
            one: Json = {"channel": channel, "provider": provider, "price_type": kind, "finish": finish}
            asked.append(one | {"price": float(price)} | ({"currency": currency} if currency else {}))
    told = {"uuid": uuid, "price_date": str(day), "build_date": str(build), "build_version": f"5.2.0+{build}"}
    return told | {"prices": asked}


def _parsed(value: Any) -> Any:
    return json.loads(value, parse_float=Decimal) if isinstance(value, str) else value


@dataclass
class Magic:
    """The topics, and what came of them."""

    stack: Stack
    settings: Settings
    producer: KafkaProducer
    consumer: KafkaConsumer

    def send(self, messages: list[tuple[str, Json]]) -> None:
        for topic, message in messages:
            self.producer.send(topic, key=message["uuid"].encode(), value=json.dumps(message).encode())
        self.producer.flush(timeout=60)

    def on_topic(self, name: str) -> list[Any]:
        return list(records_of(self.consumer, name))

    def expected(self) -> dict[Group, Json]:
        cards, prices = (
            [Sent(r.value, r.timestamp, r.offset) for r in self.on_topic(name) if r.key != FOREIGN]
            for name in (CARDS, PRICES)
        )
        return recount(cards, prices)

    def told(self) -> dict[Group, Json]:
        """What the topic says: of each group the highest version, of these the last."""
        found: dict[Group, Json] = {}
        for record in self.on_topic(TOPIC):
            assert record.value is not None, "nothing is ever taken back"
            message = json.loads(record.value, parse_float=Decimal)
            group = (message.pop("set_code"), message.pop("rarity"))
            assert json.loads(record.key) == dict(zip(("set_code", "rarity"), group, strict=True))
            if group not in found or found[group]["version"] <= message["version"]:
                found[group] = message
        return found

    def gold(self) -> dict[Group, Json]:
        columns = (
            *("set_code", "rarity", "cards", "average_mana_value", "median_mana_value", "colors"),
            *("price_date", "prices", "movers", "version"),
        )
        rows = self.stack.sql(f"select {', '.join(columns)} from iceberg.gold.mtg_statistics")
        found: dict[Group, Json] = {}
        for set_code, rarity, *values in rows:
            row = dict(zip(columns[2:], values, strict=True))
            for name in ("colors", "prices", "movers"):
                row[name] = json.loads(row[name], parse_float=Decimal)
            row["price_date"] = row["price_date"] and str(row["price_date"])
            assert (set_code, rarity) not in found, "a set and rarity is twice in the table"
            found[set_code, rarity] = row
        return found

    def served(self) -> dict[Group, Json]:
        with open_postgres(self.settings, "tests") as connection, connection.cursor() as cursor:
            cursor.execute(
                "select set_code, rarity, cards, average_mana_value, median_mana_value, colors::text, prices::text,"
                " movers::text, version from mtg.card_statistics"
            )
            return {(row[0], row[1]): dict(zip(SERVED, map(_parsed, row[2:]), strict=True)) for row in cursor}

    def until_counted(self, seconds: float = 240) -> dict[Group, Json]:
        """Wait until topic and table say what plain Python says, and compare all of it, PostgreSQL included."""
        expected, deadline = self.expected(), time.monotonic() + seconds
        while time.monotonic() < deadline and (self.told() != expected or self.gold() != expected):
            time.sleep(1)
        assert self.told() == expected
        assert self.gold() == expected
        load_statistics(self.settings)
        taken = taken_snapshot(self.settings)
        assert taken is not None
        assert connect(self.settings).load_table(MTG_STATISTICS.identifier).snapshot_by_id(taken)
        held = self.held_sets()
        assert self.served() == {
            group: {name: one[name] for name in SERVED} for group, one in expected.items() if group[0] in held
        }
        return expected

    def until_back(self, seconds: float = 120) -> None:
        """What Dagster's look at the streams does, until there is nothing to do."""
        deadline, trouble = time.monotonic() + seconds, "not looked at"
        while trouble and time.monotonic() < deadline:
            time.sleep(1)
            with contextlib.suppress(LakehouseError):  # Flink does not answer yet
                trouble = stream.trouble(self.settings, PIPELINE) or ""
                if trouble:
                    stream.bring_back(self.settings, PIPELINE)
        assert not trouble

    def clear(self) -> None:
        """No tables, no state, and topics without a message: other tests have left theirs."""
        clear(self.stack, Domain.MTG)
        for topic in (MTG_SETS_TOPIC, MTG_CARDS_TOPIC, MTG_PRICES_TOPIC):
            ensure_topic(open_admin(self.settings), topic)
        self.forget()
        ensure_schema(self.settings)
        with open_postgres(self.settings, "tests") as connection, connection, connection.cursor() as cursor:
            cursor.execute("truncate mtg.sets cascade")

    def held_sets(self) -> set[str]:
        with open_postgres(self.settings, "tests") as connection, connection.cursor() as cursor:
            cursor.execute("select set_code from mtg.sets")
            return {code for (code,) in cursor}

    def hold_sets(self) -> None:
        """PostgreSQL knows all sets but one."""
        with open_postgres(self.settings, "tests") as connection, connection, connection.cursor() as cursor:
            codes = {card["setCode"] for card in cards_of(BUILDS[1]).values()} - {NOT_HELD}
            cursor.execute("insert into mtg.sets (set_code, name) select code, code from unnest(%s) code", [[*codes]])

    def forget(self) -> None:
        """The state that the job left is lost."""
        shutil.rmtree(self.settings.home / "flink" / "state" / PIPELINE.name, ignore_errors=True)


@pytest.fixture(scope="module")
def magic(stack: Stack) -> Iterator[Magic]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_CHECKPOINT_SEC", "2")
        settings = load()
        up(settings, servers=["flink"])
        try:
            with (
                closing(KafkaProducer(bootstrap_servers=settings.kafka_brokers, acks="all", linger_ms=5)) as producer,
                closing(KafkaConsumer(bootstrap_servers=settings.kafka_brokers, enable_auto_commit=False)) as consumer,
            ):
                found = Magic(stack, settings, producer, consumer)
                found.clear()
                found.hold_sets()
                yield found
                found.clear()
        finally:
            down(settings, ["flink"])


def test_whatever_order_messages_come_in_every_number_is_that_of_the_newest(magic: Magic) -> None:
    chance = random.Random(5)
    before, after = cards_of(BUILDS[0]), cards_of(BUILDS[1])
    real = json.loads(gzip.decompress((folder() / "prices_computed_2023-09.json.gz").read_bytes()), parse_float=Decimal)
    first = [(CARDS, told_of(card, BUILDS[0])) for card in before.values()]
    second = [(CARDS, told_of(card, BUILDS[1])) for uuid, card in after.items() if card != before.get(uuid)]
    second += [(CARDS, gone(card, BUILDS[1])) for uuid, card in before.items() if uuid not in after]
    prices = []
    for number, uuid in enumerate({*before, *after}):
        amount = Decimal(real.get(uuid) or number % 50)
        days = [FIRST_DAY + timedelta(days=n) for n in range(chance.randint(0, 4))]
        prices += [(PRICES, prices_of(uuid, amount, day, day, chance)) for day in days]
        # What a later build says of a day holds, whenever it comes.
        prices += [(PRICES, prices_of(uuid, amount, day, FIRST_DAY + timedelta(days=9), chance)) for day in days[-2:-1]]
    messages = [*first, *second, *prices]
    chance.shuffle(messages)
    stream.start(magic.settings, PIPELINE)
    magic.send([*messages, *chance.sample(messages, 200)])
    known = next(iter(after.values()))
    early = json.dumps(gone(known, "2199-01-01")).encode()
    for value in (None, b"", b"no JSON", b"[]", b'{"uuid": 5}', b'{"uuid": "u", "build_date": "2022-13-01"}', early):
        for topic in (CARDS, PRICES):
            magic.producer.send(topic, key=FOREIGN, value=value)
    before_its_day = prices_of(known["uuid"], Decimal(9), FIRST_DAY + timedelta(days=99), FIRST_DAY, chance)
    magic.producer.send(PRICES, key=FOREIGN, value=json.dumps(before_its_day).encode())
    offer = '{"channel": "paper", "provider": "p", "price_type": "retail", "finish": "foil", "price": %s}'
    for odd in ("1e400000000", "1e-400000000", "1e-2147483648"):
        told = f'{{"uuid": "u", "build_date": "2022-04-20", "price_date": "2022-04-20", "prices": [{offer % odd}]}}'
        magic.producer.send(PRICES, key=FOREIGN, value=told.encode())
    magic.producer.flush()
    counted = magic.until_counted()
    assert sum(one["cards"] for one in counted.values()) == len(after)
    assert Decimal("0.5") in {one["median_mana_value"] for one in counted.values()} or counted["UNH", "common"]
    assert {"USD", "EUR", ""} == {currency for one in counted.values() for currency in one["prices"]}
    assert any(len(one["movers"].get("USD", {}).get("up", ())) == 5 for one in counted.values())


def test_it_goes_on_from_its_savepoint_and_a_card_that_left_is_no_longer_counted(magic: Magic) -> None:
    known = magic.until_counted()
    stream.stop(magic.settings, PIPELINE)
    cards = cards_of(BUILDS[1])
    of_set = [card for card in cards.values() if card["setCode"] == "ARN"]
    promoted = copy.deepcopy(next(card for card in cards.values() if card["rarity"] == "common"))
    promoted["rarity"] = "mythic"
    messages = [(CARDS, gone(card, "2022-04-27")) for card in of_set]
    messages += [(CARDS, told_of(promoted, "2022-04-27"))]
    messages += [
        (PRICES, prices_of(uuid, Decimal(10), FIRST_DAY + timedelta(days=5), date(2022, 4, 27), random.Random(uuid)))
        for uuid, card in cards.items()
        if card["setCode"] == "UST"
    ]
    magic.send(messages)
    stream.start(magic.settings, PIPELINE)
    counted = magic.until_counted()
    assert {one["cards"] for group, one in counted.items() if group[0] == "ARN"} == {0}
    assert all(one["version"] >= known[group]["version"] for group, one in known.items())


def test_killed_while_messages_come_it_counts_each_once(magic: Magic) -> None:
    """Everything of Flink is killed."""
    chance = random.Random(8)
    cards = [(CARDS, told_of(card, "2022-04-27")) for card in cards_of(BUILDS[0]).values()]
    for number in range(4):
        magic.send(chance.sample(cards, 100))
        if number == 1:
            magic.stack.kill("flink")
        time.sleep(1)
    magic.until_back()
    magic.until_counted()


def test_without_state_it_says_the_same_from_bronze_and_the_topics(magic: Magic) -> None:
    land_all(magic.settings, connect(magic.settings), "tests")
    known = magic.until_counted()
    stream.stop(magic.settings, PIPELINE)
    magic.forget()
    # What has not been landed yet is on the topics alone; what was, may be gone from there.
    late = next(iter(cards_of(BUILDS[0]).values()))
    magic.send([(CARDS, told_of(late | {"name": "again"}, "2022-04-28"))])
    stream.start(magic.settings, PIPELINE)
    counted = magic.until_counted()
    assert counted != known
    assert set(counted) >= set(known)


def test_what_a_pull_publishes_is_counted(magic: Magic, tmp_path: Path) -> None:
    known = magic.until_counted()
    catalog = connect(magic.settings)
    folders = make_builds(tmp_path, date(2026, 3, 2), cards=20)
    with serving(folders[0]) as shelf, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_MTGJSON_URL", shelf.address)
        for folder_ in folders:
            shelf.folder = folder_
            pull(load(), catalog, Wanted(None, prices=True), run_id="tests")
    counted = magic.until_counted()
    made = [one for group, one in counted.items() if group not in known]
    assert len(made) > 4
    assert all(one["movers"] for one in made if one["cards"] > 5)


def test_what_dbt_says_of_the_table_holds(magic: Magic, tmp_path: Path) -> None:
    folders = [word for name in ("project", "profiles") for word in (f"--{name}-dir", str(DBT_PROJECT))]
    command = [str(Path(sys.executable).parent / "dbt"), "test", "--select", "source:gold.mtg_statistics", *folders]
    done = subprocess.run([*command, "--target-path", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4_000:]
    assert "PASS=3" in done.stdout


def test_maintenance_leaves_what_every_engine_reads(magic: Magic) -> None:
    known = magic.until_counted()
    stream.savepoint(magic.settings, PIPELINE)
    (kept,) = maintain(magic.settings, connect(magic.settings), [MTG_STATISTICS])
    assert kept.is_compacted
    assert magic.gold() == known
    table = connect(magic.settings).load_table(MTG_STATISTICS.identifier)
    rows = table.scan(selected_fields=("set_code", "rarity", "cards", "version")).to_arrow().to_pylist()
    assert {(row["set_code"], row["rarity"]): (row["cards"], row["version"]) for row in rows} == {
        group: (one["cards"], one["version"]) for group, one in known.items()
    }
