"""Cards of our own making from silver into PostgreSQL, and decks of them: held against a recount in plain Python."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.expressions import And

from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.adapters.iceberg.filters import among, at_least
from lakehouse.adapters.spark.session import open_session
from lakehouse.adapters.spark.workspace import Workspace
from lakehouse.domains.mtg import agreement, decks, serving, silver
from lakehouse.domains.mtg.contract import PRICE_MESSAGE, SET_MESSAGE
from lakehouse.domains.mtg.deck_list import read_deck
from lakehouse.domains.mtg.lake import unread
from lakehouse.naming import MTG_CARD_VERSIONS, MTG_PRICE_ROWS, MTG_SET_STATE
from lakehouse_tests.cards import OF_CARDS, Object, Price, Story, Version
from lakehouse_tests.failpoints import run_killed
from lakehouse_tests.home import Home, open_home
from lakehouse_tests.magic import FIRST as FIRST_BUILD
from lakehouse_tests.magic import Lake
from lakehouse_tests.served_cards import KEPT_DAYS, Served, check
from lakehouse_tests.silver_of_cards import add_to_silver, write_silver

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

FIRST, SECOND, THIRD = date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3)
HOSTILE = (
    "Robert'); drop table mtg.cards; --",
    'Quo"te, \\N \\. {a,b} $$ %s %(x)s',
    "Two\nlines,\r\nand a\ttab",
    "“Lim-Dûl’s Vault”",
    "∞ 龍",
)
"""Names and texts that would do harm if they were ever taken for something else."""


def card(uuid: str, **members: Any) -> Object:
    """A card as MTGJSON has it: what does not apply is absent."""
    given: Object = {
        "uuid": uuid,
        "name": f"Card {uuid}",
        "setCode": "AAA",
        "number": uuid,
        "rarity": "common",
        "layout": "normal",
        "type": "Creature — Elf Scout",
        "types": ["Creature"],
        "subtypes": ["Elf", "Scout"],
        "supertypes": [],
        "manaValue": 2.0,
        "colors": ["G"],
        "colorIdentity": ["G", "W"],
        "finishes": ["nonfoil"],
        "availability": ["paper"],
        "legalities": {"modern": "Legal", "vintage": "Restricted"},
    }
    return given | members


def set_of(code: str, built: date, *cards: Object, **members: Any) -> Object:
    given: Object = {"code": code, "name": f"Set {code}", "type": "expansion", "releaseDate": "2026-01-31"}
    given |= {"baseSetSize": len(cards), "totalSetSize": len(cards), "isOnlineOnly": False, "built": built}
    return given | {"cards": [one | {"setCode": code} for one in cards]} | members


def face(uuid: str, side: str, name: str, **members: Any) -> Object:
    return card(uuid, name="Fire // Ice", faceName=name, side=side, number="7", layout="split", **members)


def first_build() -> list[Object]:
    odd = [
        card("odd-1", number="2†", power="∞", toughness="1+*", manaValue=0.5, legalities={}, keywords=["Flying"]),
        card("odd-2", manaValue=1_000_000.0, loyalty="1d4+1", colors=[], colorIdentity=[], edhrecRank=7),
        card("odd-3", supertypes=["Basic", "Snow"], types=["Land", "Creature"], isReprint=True, rarity="mythic"),
    ]
    names = [card(f"name-{n}", name=name, text=name, artist=name) for n, name in enumerate(HOSTILE)]
    return [
        set_of("AAA", FIRST, *odd, face("face-a", "a", "Fire"), face("face-b", "b", "Ice"), *names),
        set_of("BBB", FIRST, card("b-1", name="Jötun Grunt"), card("b-2", name="Forest", number="5"), block="Old"),
        set_of("TOK", FIRST, parentCode="AAA"),
    ]


def second_build() -> list[Object]:
    """One card is another, one has another rank, one vanished, one is new; the other set tells nothing."""
    cards = first_build()[0]["cards"]
    changed = {
        "odd-1": {"subtypes": ["Scout"], "legalities": {"modern": "Banned"}, "keywords": ["Haste", "Flying"]},
        "odd-2": {"edhrecRank": 8},
    }
    told = [one | changed.get(one["uuid"], {}) for one in cards if one["uuid"] != "odd-3"]
    return [set_of("AAA", SECOND, *told, card("new-1"), name="Set AAA, renamed")]


def price(uuid: str, amount: str, day: date = FIRST, **members: Any) -> Price:
    given: Any = {"channel": "paper", "provider": "tcgplayer", "price_type": "retail", "finish": "normal"}
    return Price(**given | {"uuid": uuid, "currency": "USD", "price_date": day, "price": Decimal(amount)} | members)


PRICES = [
    price("odd-1", "0.10"),
    price("odd-1", "0.30", provider="cardmarket", currency="EUR"),
    price("odd-1", "0.25", finish="etched"),
    price("odd-1", "0.40", finish="foil"),
    price("odd-1", "0.05", price_type="buylist"),
    price("odd-1", "0.02", channel="mtgo", provider="cardhoarder", currency=""),
    price("odd-2", "123456789.123456"),
    price("new-1", "1.00", FIRST - timedelta(days=3)),
    price("never-held", "1.00"),
    price("b-1", "9.00", FIRST - timedelta(days=KEPT_DAYS)),
]


@dataclass
class Cards(Served):
    """A home with PostgreSQL alone, whose silver is written by the tests."""

    home: Home

    def start(self, story: Story, prices: list[Price]) -> None:
        """An empty schema, and silver that says this."""
        self.sql("drop schema if exists mtg cascade")
        write_silver(self.settings, story, prices)

    def rows(self) -> dict[str, set[tuple[Any, ...]]]:
        """Everything that is served, with the version of each row."""
        return {
            table: set(self.sql(f"select {table}.*::text, xmin::text from mtg.{table}")) for table in serving.TABLES
        }


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cards]:
    with open_home(tmp_path_factory.mktemp("mtg") / "home") as home:
        home.environment["LAKEHOUSE_MTG_PRICES_KEPT_DAYS"] = str(KEPT_DAYS)
        home.up("postgres")
        with home.as_environment():
            yield Cards(home.settings, home)


def test_every_table_is_what_a_recount_says(cards: Cards) -> None:
    story = Story().tell(first_build())
    cards.start(story, PRICES)
    done = serving.load(cards.settings)
    check(cards, story, PRICES)
    assert set(done.new_cards) == set(story.versions)
    assert done.foreign_prices == 2


def test_a_second_load_touches_no_row(cards: Cards) -> None:
    story = Story().tell(first_build())
    cards.start(story, PRICES)
    serving.load(cards.settings)
    before = cards.rows()
    assert not any(serving.load(cards.settings).changed.values())
    cards.sql("delete from mtg.positions")
    assert not any(serving.load(cards.settings).changed.values())
    assert cards.rows() == before


def test_what_changed_is_changed_and_the_rest_keeps_its_times(cards: Cards) -> None:
    story = Story().tell(first_build())
    cards.start(story, PRICES)
    serving.load(cards.settings)
    cards.sql("update mtg.cards set updated_at = '2026-03-01', created_at = '2026-03-01'")
    later = [*PRICES, price("odd-1", "0.11", SECOND)]
    write_silver(cards.settings, story.tell(second_build()), later)
    done = serving.load(cards.settings)
    check(cards, story, later)
    touched = {
        uuid
        for (uuid,) in cards.sql(
            "select uuid from mtg.cards where updated_at > '2026-03-01' and created_at = '2026-03-01'"
        )
    }
    assert touched == {"odd-1", "odd-2", "odd-3"}
    assert done.new_cards == ["new-1"]
    assert cards.sql("select vanished_on from mtg.cards where uuid = 'odd-3'") == [(SECOND,)]
    assert cards.sql("select 1 from mtg.card_details where uuid = 'odd-3'") == []


def test_a_card_that_comes_back_is_there_again(cards: Cards) -> None:
    story = Story().tell(first_build()).tell(second_build())
    cards.start(story, [])
    serving.load(cards.settings)
    again = set_of("AAA", SECOND + timedelta(days=1), *first_build()[0]["cards"])
    write_silver(cards.settings, story.tell([again]), [])
    serving.load(cards.settings)
    check(cards, story, [])
    assert cards.sql("select vanished_on from mtg.cards where uuid = 'odd-3'") == [(None,)]


def test_only_what_is_new_in_silver_is_read(cards: Cards) -> None:
    story = Story().tell(first_build())
    cards.start(story, PRICES)
    serving.load(cards.settings)
    more = Story().tell([set_of("CCC", SECOND, card("c-1"), card("c-2"))])
    added = [price("c-1", "3.00", SECOND), price("odd-1", "0.12", SECOND)]
    add_to_silver(cards.settings, more, added)
    positions = dict(cards.sql("select source, snapshot_id from mtg.positions"))
    for name, columns, rows in ((MTG_CARD_VERSIONS, ("uuid",), 2), (MTG_PRICE_ROWS, ("uuid",), 2)):
        new = unread(connect(cards.settings).load_table(name.identifier), positions[str(name)])
        assert new is not None
        assert (new.is_whole, new.rows(columns).num_rows) == (False, rows)
    done = serving.load(cards.settings)
    assert (done.changed["cards"], done.changed["card_prices"]) == (2, 2)
    story.tell([set_of("CCC", SECOND, card("c-1"), card("c-2"))])
    check(cards, story, [*PRICES, *added])


def test_history_that_comes_late_leaves_what_is_served(cards: Cards) -> None:
    story = Story().tell(first_build())
    cards.start(story, PRICES)
    serving.load(cards.settings)
    past = Version(card("odd-2", text="as it was"), {}, FIRST - timedelta(days=5), FIRST)
    add_to_silver(cards.settings, Story(versions={"odd-2": [past]}), [])
    assert not any(serving.load(cards.settings).changed.values())
    check(cards, story, PRICES)


def test_a_version_that_is_deleted_gives_way_to_the_one_before_it_and_without_one_the_card_has_vanished(
    cards: Cards,
) -> None:
    """A build that is published again may no longer say what it alone had said: nothing is written in its place."""
    story = Story().tell(first_build())
    story.versions["odd-3"][0].end = SECOND
    cards.start(story, [])
    serving.load(cards.settings)
    back, once = Version(card("odd-3", text="back"), {}, THIRD), Version(card("once"), {}, THIRD)
    add_to_silver(cards.settings, Story(versions={"odd-3": [back], "once": [once]}), [])
    serving.load(cards.settings)
    assert cards.sql("select 1 from mtg.cards where uuid = 'odd-3' and text = 'back' and vanished_on is null")
    silver_cards = connect(cards.settings).load_table(MTG_CARD_VERSIONS.identifier)
    silver_cards.delete(And(among("uuid", ["odd-3", "once"]), at_least("valid_from", f"{THIRD}T00:00:00+00:00")))
    serving.load(cards.settings)
    story.versions["once"] = [Version(card("once"), {}, THIRD, THIRD)]
    check(cards, story, [])


def test_prices_that_silver_no_longer_has_go(cards: Cards) -> None:
    story = Story().tell(first_build())
    cards.start(story, PRICES)
    serving.load(cards.settings)
    fewer = [one for one in PRICES if one.finish != "foil"]
    write_silver(cards.settings, story, fewer)
    assert serving.load(cards.settings).changed["card_prices"] == 1
    check(cards, story, fewer)


def test_a_price_of_a_day_that_has_not_come_makes_no_other_old(cards: Cards) -> None:
    story, ahead = Story().tell(first_build()), date(2199, 1, 1)
    cards.start(story, PRICES)
    serving.load(cards.settings)
    cards.sql("update mtg.card_prices set price_date = %s where uuid = 'odd-2'", ahead)
    add_to_silver(cards.settings, Story(), [price("odd-1", "5.00", ahead), price("odd-2", "5.00")])
    serving.load(cards.settings)
    cards.sql("delete from mtg.card_prices where price_date = %s", ahead)
    told = [one for one in PRICES if one.uuid != "odd-2"]
    check(cards, story, [*told, price("odd-2", "5.00")])


def test_prices_that_came_before_their_card_are_there_with_it(cards: Cards) -> None:
    story = Story().tell(first_build())
    cards.start(story, PRICES)
    serving.load(cards.settings)
    assert cards.sql("select 1 from mtg.card_prices where uuid = 'new-1'") == []
    more = Story().tell([set_of("NEW", SECOND, card("new-1"))])
    add_to_silver(cards.settings, more, [])
    serving.load(cards.settings)
    assert cards.sql("select price from mtg.card_prices where uuid = 'new-1'") == [(Decimal("1.00"),)]


def test_a_card_of_a_set_that_nobody_told_of_is_held(cards: Cards) -> None:
    story = Story().tell(first_build())
    story.sets.pop("BBB")
    cards.start(story, [])
    serving.load(cards.settings)
    assert cards.sql("select name, release_date from mtg.sets where set_code = 'BBB'") == [("BBB", None)]
    write_silver(cards.settings, whole := Story().tell(first_build()), [])
    serving.load(cards.settings)
    check(cards, whole, [])


def test_cards_that_silver_no_longer_knows_have_vanished(cards: Cards) -> None:
    cards.start(Story().tell(first_build()), [])
    serving.load(cards.settings)
    cards.sql("delete from mtg.positions")
    write_silver(cards.settings, Story().tell(first_build()[:1]), [])
    serving.load(cards.settings)
    gone = cards.sql("select uuid from mtg.cards where vanished_on is not null order by uuid")
    assert gone == [("b-1",), ("b-2",)]


def test_a_reader_never_sees_a_half(cards: Cards) -> None:
    """A card, its type and its price belong to one build or to the other."""

    def build(day: date) -> Story:
        kind = "Elf" if day == FIRST else "Orc"
        many = [card(f"m-{n}", subtypes=[kind], text=str(day)) for n in range(400)]
        return Story().tell([set_of("AAA", day, *many)])

    def prices(day: date) -> list[Price]:
        return [price(f"m-{n}", "1" if day == FIRST else "2") for n in range(400)]

    cards.start(build(FIRST), prices(FIRST))
    serving.load(cards.settings)
    write_silver(cards.settings, build(SECOND), prices(SECOND))
    seen: set[tuple[Any, ...]] = set()
    ends = threading.Event()

    def look() -> None:
        while not ends.is_set():
            seen.update(
                cards.sql(
                    "select text, subtype, price::text, count(*) from mtg.cards join mtg.card_subtypes using (uuid) "
                    "join mtg.card_prices using (uuid) group by text, subtype, price::text"
                )
            )

    reader = threading.Thread(target=look)
    reader.start()
    try:
        serving.load(cards.settings)
    finally:
        ends.set()
        reader.join()
    look_once = cards.sql("select distinct text from mtg.cards")
    assert look_once == [(str(SECOND),)]
    assert seen <= {(str(FIRST), "Elf", "1", 400), (str(SECOND), "Orc", "2", 400)}
    assert seen


@pytest.fixture
def lake(cards: Cards, tmp_path: Path) -> Iterator[tuple[Lake, Workspace]]:
    """Bronze without rows, and Spark, which makes silver of it."""
    catalog = connect(cards.settings)
    for layer, what in product(("bronze", "silver"), ("sets", "cards", "prices")):
        if catalog.table_exists((layer, f"mtg_{what}")):
            catalog.drop_table((layer, f"mtg_{what}"))
    cards.sql("drop schema if exists mtg cascade")
    cards.home.up("spark")
    try:
        with open_session(cards.home.settings) as session:
            yield Lake(catalog, tmp_path), Workspace(session, catalog, "tests")
    finally:
        cards.home.run("down", "spark")


def test_what_spark_makes_of_builds_is_served(cards: Cards, lake: tuple[Lake, Workspace]) -> None:
    """Versions that end, builds that come late, cards that come back, prices that are said anew or no more."""
    bronze, work = lake
    one, two, three = card("1"), card("2"), card("3")
    changed = one | {"text": "changed", "legalities": {"modern": "Banned"}}
    priced = partial(price, day=FIRST_BUILD)
    told: dict[int, list[Object]] = {}
    said: dict[int, list[Price]] = {}
    for day, build, prices in (
        (1, [one, two, three], [priced("1", "1.00"), priced("2", "2.00"), priced("1", "1.50", finish="foil")]),
        (3, [changed, three | {"edhrecRank": 5}], [priced("1", "1.10"), priced("2", "2.00")]),
        (2, [one | {"text": "between"}, two, three], []),
        (4, [changed, two, three, card("4")], [priced("4", "4.00", day=FIRST_BUILD + timedelta(days=1))]),
    ):
        told[day], said[day] = build, prices
        bronze.take(day, {"AAA": build}, as_mtgjson(prices) if prices else None)
        for make in (silver.build_sets, silver.build_cards, silver.build_prices):
            make(work)
        serving.load(cards.settings)
        story = Story()
        for number in sorted(told):
            built = FIRST_BUILD.replace(day=number)
            story.tell([set_of("AAA", built, *told[number]) | {"type": None, "releaseDate": None}])
        newest = {(one.uuid, one.price_date): number for number in sorted(said) for one in said[number]}
        held = [one for number in said for one in said[number] if newest[one.uuid, one.price_date] == number]
        cards_only = (*OF_CARDS, "mana_value", "set_code", "valid_from", "vanished_on")
        wanted = story.served_cards()
        for uuid, row in cards.by_key("cards", cards_only).items():
            assert row == {name: wanted[uuid][name] for name in cards_only}, (day, uuid)
        assert set(cards.sql("select uuid, format, status from mtg.card_legalities")) == story.served_legalities()
        rows = cards.sql(f"select {', '.join(Price._fields)} from mtg.card_prices")
        assert set(rows) == {tuple(one) for one in held if one.uuid in story.versions}
        assert agreement.compare(cards.settings) == []


def test_a_set_is_what_its_newest_build_said_and_one_that_is_gone_what_was_said_last(
    cards: Cards, lake: tuple[Lake, Workspace]
) -> None:
    """In order, late, and again."""
    bronze, work = lake
    told: list[tuple[str, int, str | None]] = []
    for news in (
        [("A", 2, "two"), ("B", 2, "b"), ("C", 2, None)],
        [("A", 3, "three"), ("B", 3, None)],
        [("A", 1, "one"), ("B", 1, "older"), ("C", 1, "was")],
        [("B", 2, "again")],
        [("B", 3, None), ("A", 3, "three, again")],
        [("B", 4, "back"), ("D", 4, "new")],
    ):
        told += news
        messages = []
        for code, day, name in news:
            message = {"set_code": code, "build_date": f"2026-01-0{day}", "is_deleted": name is None}
            messages.append(json.dumps(message | ({"set": {"name": name}} if name else {})).encode())
        bronze.land(SET_MESSAGE, messages)
        silver.build_sets(work)
        wanted = {}
        for code in {code for code, _, _ in told}:
            of_set = sorted(((day, name) for one, day, name in told if one == code), key=lambda said: said[0])
            names = [name for _, name in of_set if name]
            wanted[code] = (names[-1] if names else None, of_set[-1][1] is None, of_set[-1][0])
        rows = connect(cards.settings).load_table(MTG_SET_STATE.identifier).scan().to_arrow().to_pylist()
        found = {row["set_code"]: (row["name"], row["is_deleted"], row["build_date"].day) for row in rows}
        assert found == wanted


def test_prices_that_no_column_holds_become_a_dead_letter_and_cost_the_others_nothing(
    cards: Cards, lake: tuple[Lake, Workspace]
) -> None:
    bronze, work = lake
    offer: Object = {"channel": "paper", "provider": "shop", "price_type": "retail"}
    amounts = (1.5, "2.5e1", "1e400000000", "1e-400000000", "1e-2147483648", 0.0000001, -1)
    message = {"uuid": "u", "price_date": "2026-01-01", "build_date": "2026-01-01"}
    told = [offer | {"finish": str(amount), "price": amount} for amount in amounts]
    bronze.land(PRICE_MESSAGE, [json.dumps(message | {"prices": told}).encode()])
    built = silver.build_prices(work)
    assert (built.rows, built.refused) == (2, 1)
    rows = connect(cards.settings).load_table(MTG_PRICE_ROWS.identifier).scan().to_arrow()
    assert sorted(rows["price"].to_pylist()) == [Decimal("1.5"), Decimal("25")]


def as_mtgjson(prices: list[Price]) -> Object:
    """Prices as MTGJSON's files have them."""
    told: Object = {}
    for one in prices:
        provider = told.setdefault(one.uuid, {}).setdefault(one.channel, {}).setdefault(one.provider, {})
        provider["currency"] = one.currency
        days = provider.setdefault(one.price_type, {}).setdefault(one.finish, {})
        days[str(one.price_date)] = float(one.price)
    return told


LOAD = """
from lakehouse import settings
from lakehouse.domains.mtg import serving
serving.load(settings.load())
"""


@pytest.mark.parametrize("step", ["begin", "copy_rows", "take_cards", "take_prices", "drop_old_prices"])
def test_a_load_that_is_killed_leaves_what_was_there(cards: Cards, step: str) -> None:
    story = Story().tell(first_build())
    cards.start(story, PRICES)
    serving.load(cards.settings)
    write_silver(cards.settings, later := Story().tell(first_build()).tell(second_build()), PRICES)
    run_killed(LOAD, f"lakehouse.domains.mtg.serving.{step}", is_done=True, environment=cards.home.environment)
    check(cards, story, PRICES)
    serving.load(cards.settings)
    check(cards, later, PRICES)


def test_two_loads_at_once_come_out_as_one(cards: Cards) -> None:
    story = Story().tell(first_build()).tell(second_build())
    cards.start(story, PRICES)
    serving.load(cards.settings)
    cards.sql("delete from mtg.cards where false; delete from mtg.card_prices; delete from mtg.positions")
    found: list[serving.Loaded] = []
    loads = [threading.Thread(target=lambda: found.append(serving.load(cards.settings))) for _ in range(2)]
    for one in loads:
        one.start()
    for one in loads:
        one.join()
    check(cards, story, PRICES)
    assert sorted(one.changed["card_prices"] for one in found)[0] == 0


def test_what_differs_from_silver_is_named(cards: Cards) -> None:
    story = Story().tell(first_build()).tell(second_build())
    cards.start(story, PRICES)
    serving.load(cards.settings)
    assert agreement.compare(cards.settings) == []
    cards.sql("update mtg.card_prices set price = price + 1 where uuid = 'odd-1' and finish = 'foil'")
    cards.sql("update mtg.cards set vanished_on = null where uuid = 'odd-3'")
    of_price, of_card = "prices of paper tcgplayer retail foil USD 2026-03-01", "cards of AAA"
    assert [(one.what, one.served, one.silver) for one in agreement.compare(cards.settings)] == [
        (of_card, "11 and 0", "10 and 1"),
        (of_price, "1 and 1.4", "1 and 0.400000"),
    ]


def test_rows_that_name_what_is_not_there_are_counted(cards: Cards) -> None:
    cards.start(Story().tell(first_build()), PRICES)
    serving.load(cards.settings)
    assert agreement.orphans(cards.settings) == {}
    cards.sql("alter table mtg.card_legalities drop constraint card_legalities_uuid_fkey")
    cards.sql("insert into mtg.card_legalities (uuid, format, status) values ('nobody', 'modern', 'Legal')")
    assert agreement.orphans(cards.settings) == {"card_legalities.uuid": 1}


# Decks ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(cards: Cards) -> Cards:
    """Cards with prices of several kinds."""
    bolt = {"name": "Lightning Bolt"}
    dear = set_of("AAA", FIRST, *first_build()[0]["cards"], card("bolt-a", **bolt, number="12"))
    cheap = set_of(
        "BBB", FIRST, card("bolt-b", **bolt, number="3"), card("grunt", name="Jötun Grunt"), releaseDate="2026-02-01"
    )
    twins = [face("t-a", "a", "Twin") | {"name": "Twin // One"}, face("u-a", "a", "Twin") | {"name": "Twin // Two"}]
    foils = set_of("CCC", FIRST, card("shiny", name="Shiny"), *twins)
    prices = [
        price("bolt-a", "3.10"),
        price("bolt-a", "2.95", provider="cardkingdom"),
        price("bolt-a", "9.99", finish="foil"),
        price("bolt-b", "1.15", FIRST - timedelta(days=1)),
        price("bolt-b", "1.05"),
        price("bolt-b", "0.80", provider="cardmarket", currency="EUR"),
        price("bolt-b", "0.01", price_type="buylist"),
        price("bolt-b", "0.01", channel="mtgo"),
        price("bolt-b", "0.50", finish="foil"),
        price("face-a", "0.07"),
        price("shiny", "20.00", finish="foil"),
        price("shiny", "20.01", finish="etched"),
    ]
    cards.start(Story().tell([dear, cheap, foils]), prices)
    serving.load(cards.settings)
    return cards


def value(shop: Cards, text: str, currency: str = "USD") -> decks.Valued:
    return decks.value_deck(shop.settings, "burn", read_deck(text.encode()), currency)


@pytest.fixture
def deck(shop: Cards, tmp_path: Path) -> Callable[..., Any]:
    """Runs a command for decks on a list; returns what it says, or its error."""

    def run(command: str, text: str, *options: str, fails: bool = False) -> Any:
        (path := tmp_path / "burn.txt").write_text(text)
        done = shop.home.run("mtg", "deck", command, str(path), "--json", *options)
        assert done.returncode == int(fails), done.stderr
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    return run


@pytest.mark.parametrize(
    ("line", "currency", "value_"),
    [
        ("4 Lightning Bolt", "USD", "4.20"),
        ("4 lightning bolt", "EUR", "3.20"),
        ("1 Lightning Bolt (AAA)", "USD", "2.95"),
        ("1 Lightning Bolt (AAA) 12", "USD", "2.95"),
        ("1 Lightning Bolt (AAA) 12 *F*", "USD", "9.99"),
        ("1 Lightning Bolt *F*", "USD", "0.50"),
        ("3 Shiny", "USD", "60.00"),
        ("3 Shiny *E*", "USD", "60.03"),
        ("1 Fire // Ice", "USD", "0.07"),
        ("1 Fire/Ice", "USD", "0.07"),
        ("1 Ice", "USD", "0.07"),
        ("1 Lightning Bolt (AAA)", "EUR", "0"),
        ("1 Jotun Grunt", "USD", "0"),
        ('1 "Lim-Dul\'s Vault"', "USD", "0"),
        ("2 Lightning Bolt\nMaybeboard\n9 Lightning Bolt", "USD", "2.10"),
    ],
)
def test_a_deck_is_worth_the_lowest_price_that_its_lines_allow(
    shop: Cards, line: str, currency: str, value_: str
) -> None:
    found = value(shop, line, currency)
    assert found.value == Decimal(value_)
    assert found.problems == []
    assert (found.priced_cards == found.cards) is (value_ != "0")


def test_lines_that_mean_no_card_are_told_and_nothing_is_imported(deck: Callable[..., Any], shop: Cards) -> None:
    text = "1 Lightning Blot\n\n1 Lightning Bolt (CCC)\n1 Lightning Bolt (AAA) 99\n1 Twin\n0 Shiny\n2 Lightning Bolt\n"
    found = deck("value", text, fails=True)
    assert found["value"] == "2.10"
    assert [(one["line"], one["suggestions"]) for one in found["problems"]] == [
        (1, ["Lightning Bolt"]),
        (3, []),
        (4, []),
        (5, ["Twin // One", "Twin // Two"]),
        (6, []),
    ]
    assert "AAA, BBB" in found["problems"][1]["what"]
    assert "is 12" in found["problems"][2]["what"]
    error = deck("import", text, fails=True)
    assert "line 1: Lightning Blot: no card has this name; did you mean Lightning Bolt?" in error
    assert shop.sql("select 1 from mtg.decks where name = 'burn'") == []


def test_a_deck_becomes_what_its_list_says(deck: Callable[..., Any], shop: Cards) -> None:
    name = "Burn'); drop table mtg.decks; --"
    assert deck("import", "4 Lightning Bolt\nSideboard\n1 Shiny\n1 Ice", "--name", name)["cards"] == 6
    before = shop.sql("select * from mtg.decks"), shop.sql("select *, xmin::text from mtg.deck_cards order by line")
    decks.import_deck(shop.settings, name, read_deck(b"4 Lightning Bolt\nSideboard\n1 Shiny\n1 Ice"))
    after = shop.sql("select * from mtg.decks"), shop.sql("select *, xmin::text from mtg.deck_cards order by line")
    assert after == before
    deck("import", "3 Lightning Bolt (AAA) 12 *F*\nSideboard\n1 Shiny", "--name", name)
    rows = shop.sql(
        "select line, board, quantity, deck_composition.name, set_code, number, finish from mtg.deck_composition "
        "where deck = %s order by line",
        name,
    )
    assert rows == [
        (1, "main", 3, "Lightning Bolt", "AAA", "12", "foil"),
        (3, "sideboard", 1, "Shiny", None, None, None),
    ]
    assert shop.sql("select currency, value, priced_cards, cards from mtg.deck_values where deck = %s", name) == [
        ("USD", Decimal("49.97"), 4, 4)
    ]
    shown = json.loads(shop.home.run("mtg", "deck", "show", name, "--json").stdout)
    assert (shown["value"], [line["board"] for line in shown["lines"]]) == ("49.97", ["main", "sideboard"])
    listed = json.loads(shop.home.run("mtg", "deck", "list", "--json").stdout)
    assert [(one["name"], one["cards"]) for one in listed] == [(name, 4)]


def test_a_valued_deck_says_which_print_has_the_price_and_is_not_kept(deck: Callable[..., Any], shop: Cards) -> None:
    before = shop.sql("select count(*) from mtg.deck_cards")
    (line,) = deck("value", "4 Lightning Bolt")["lines"]
    names = ("set_code", "number", "finish", "provider", "price", "value", "price_date")
    assert [line[name] for name in names] == ["BBB", "3", "normal", "tcgplayer", "1.05", "4.20", "2026-03-01"]
    assert shop.sql("select count(*) from mtg.deck_cards") == before


@pytest.mark.parametrize("arguments", [("value", "/nowhere/deck.txt"), ("show", "no such deck"), ("value", "/")])
def test_a_mistake_is_one_clear_message(shop: Cards, arguments: tuple[str, ...]) -> None:
    done = shop.home.run("mtg", "deck", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("Error:")
    assert "Traceback" not in done.stderr
