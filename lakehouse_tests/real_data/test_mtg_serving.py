"""Real sets of two build dates in PostgreSQL: every table and view recomputed, usual questions asked, decks valued."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lakehouse.domains.mtg import agreement, serving
from lakehouse.domains.mtg.deck_list import read_deck
from lakehouse.domains.mtg.decks import import_deck, value_deck
from lakehouse_tests.cards import Object, Price, Story, prices_of, read_sets
from lakehouse_tests.conftest import REAL_DATA
from lakehouse_tests.home import Home, open_home
from lakehouse_tests.served_cards import KEPT_DAYS, Served, check
from lakehouse_tests.silver_of_cards import write_silver

pytestmark = [pytest.mark.real_data, pytest.mark.integration, pytest.mark.timeout(900)]

LAST = date(2022, 4, 25)


@dataclass
class Real(Served):
    """What was loaded."""

    home: Home
    folder: Path
    story: Story
    prices: list[Price]

    def present(self) -> list[Object]:
        """Cards that the newest build of their set has."""
        return [version.card for version in self.story.newest() if version.end is None]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """Both builds, each checked when it was loaded."""
    folder = Path(os.environ[REAL_DATA]) / "mtg"
    with open_home(tmp_path_factory.mktemp("mtg") / "home") as home:
        home.environment["LAKEHOUSE_MTG_PRICES_KEPT_DAYS"] = str(KEPT_DAYS)
        home.up("postgres")
        with home.as_environment():
            found = Real(home.settings, home, folder, Story(), [])
            for build in ("sets_2022-03-15", "sets_2022-04-25"):
                found.story.tell(read_sets(folder / build))
                found.prices = prices_of(folder, found.story.versions.keys(), LAST)
                write_silver(found.settings, found.story, found.prices)
                serving.load(found.settings)
                check(found, found.story, found.prices)
            found.sql("analyze")
            yield found


def test_both_builds_are_served_and_agree_with_silver(real: Real) -> None:
    assert real.sql("select count(*) filter (where vanished_on is null), count(vanished_on) from mtg.cards") == [
        (12353, 1)
    ]
    assert agreement.compare(real.settings) == []
    assert agreement.orphans(real.settings) == {}


def test_all_of_it_again_touches_no_row(real: Real) -> None:
    real.sql("delete from mtg.positions")
    assert not any(serving.load(real.settings).changed.values())


def test_counts_by_rarity_are_those_of_the_files(real: Real) -> None:
    fronts, faces = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for card in real.present():
        faces[card["setCode"], card["rarity"]] += 1
        fronts[card["setCode"], card["rarity"]] += card.get("side", "a") == "a"
    rows = real.sql("select set_code, rarity, cards, faces from mtg.rarity_counts")
    found = {(code, rarity): (cards, count) for code, rarity, cards, count in rows}
    assert found == {key: (fronts[key], faces[key]) for key in faces}


def test_the_latest_price_and_its_change_are_those_of_the_prices(real: Real) -> None:
    by_key: dict[tuple[Any, ...], dict[date, Decimal]] = {}
    for price in real.prices:
        by_key.setdefault(price[:6], {})[price.price_date] = price.price
    latest = real.sql(
        "select uuid, channel, provider, price_type, finish, currency, price_date, price from mtg.latest_prices"
    )
    assert {row[:6]: row[6:] for row in latest} == {
        key: (max(of_days), of_days[max(of_days)]) for key, of_days in by_key.items()
    }
    changed = {
        (*key, day): (of_days[day], of_days[before])
        for key, of_days in by_key.items()
        for day in of_days
        if day > LAST - timedelta(days=7) and (before := day - timedelta(days=1)) in of_days
        if of_days[day] != of_days[before]
    }
    rows = real.sql(
        "select uuid, channel, provider, price_type, finish, currency, price_date, price, previous_price, change "
        "from mtg.recent_price_updates"
    )
    assert {row[:7]: row[7:9] for row in rows} == changed
    assert all(change == price - before for *_, price, before, change in rows)


def test_details_are_those_of_the_card(real: Real) -> None:
    for card in real.present()[::997]:
        ((name, types, subtypes, legalities, set_name, prices),) = real.sql(
            "select name, types, subtypes, legalities, set_name, prices from mtg.card_details where uuid = %s",
            card["uuid"],
        )
        assert (name, types, subtypes) == (card["name"], card["types"], card["subtypes"])
        assert (legalities, set_name) == (card["legalities"], real.story.sets[card["setCode"]][0]["name"])
        kinds = {price[1:6] for price in real.prices if price.uuid == card["uuid"]}
        assert len(prices) == len(kinds)


QUESTIONS = {
    "name": ("select * from mtg.cards where name = 'Lightning Bolt'", "cards_by_name"),
    "name in any case": ("select * from mtg.cards where folded_name = mtg.fold('JÖTUN grunt')", "cards_by_folded_name"),
    "beginning": (
        "select * from mtg.cards where folded_name like mtg.fold('Lightning B') || '%'",
        "cards_by_folded_name",
    ),
    "word": (
        "select * from mtg.cards where to_tsvector('simple', folded_name) @@ to_tsquery('simple', 'light:* & bolt')",
        "cards_by_words_of_name",
    ),
    "face": ("select * from mtg.cards where folded_face_name = 'dusk'", "cards_by_folded_face_name"),
    "set and number": (
        "select * from mtg.card_details where set_code = 'NEO' and number = '1'",
        "cards_by_set_and_number",
    ),
    "set and rarity": (
        "select * from mtg.card_details where set_code = 'LEA' and rarity = 'rare'",
        "cards_by_set_and_rarity",
    ),
    "rarity": ("select * from mtg.cards where rarity = 'special'", "cards_by_rarity"),
    "counts of a set": ("select * from mtg.rarity_counts where set_code = 'NEO'", "cards_by_set_and_"),
    "mana value": ("select name from mtg.cards where mana_value >= 12", "cards_by_mana_value"),
    "colours": ("select name from mtg.cards where colors @> '{W,U,B,R,G}'", "cards_by_colors"),
    "colour identity": ("select name from mtg.cards where color_identity @> '{W,U,B,R,G}'", "cards_by_color_identity"),
    "subtype": (
        "select name from mtg.card_subtypes join mtg.cards using (uuid) where subtype = 'Sphinx'",
        "card_subtypes_by_subtype",
    ),
    "type": (
        "select name from mtg.card_types join mtg.cards using (uuid) where type = 'Vanguard'",
        "card_types_by_type",
    ),
    "keyword": (
        "select name from mtg.card_keywords join mtg.cards using (uuid) where keyword = 'Cascade'",
        "card_keywords_by_keyword",
    ),
    "verdict": (
        "select uuid from mtg.card_legalities where format = 'vintage' and status = 'Restricted'",
        "card_legalities_by_format",
    ),
    "latest prices": (
        "select * from mtg.latest_prices where uuid = (select uuid from mtg.card_prices limit 1)",
        "card_prices_pkey",
    ),
    "price updates": (
        f"select * from mtg.recent_price_updates where price_date = '{LAST}'",
        "card_prices_in_time|card_prices_pkey",
    ),
    "sets": ("select * from mtg.sets where release_date >= '2022-01-01'", ""),
}


@pytest.mark.parametrize("what", QUESTIONS)
def test_a_usual_question_uses_an_index(real: Real, what: str) -> None:
    question, index = QUESTIONS[what]
    assert real.sql(question.replace("%", "%%"))
    ((plan,),) = real.sql("explain (format json) " + question.replace("%", "%%"))
    used = re.findall(r'"Index Name": "(\w+)"', json.dumps(plan))
    assert any(re.match(index, name) for name in used) or not index, plan


# Decks, by a program of their own ------------------------------------------------------------------------------------


def folded(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.replace("’", "'").replace("Æ", "Ae").replace("æ", "ae"))
    return "".join(one for one in plain if not unicodedata.combining(one)).lower()


def valued(real: Real, text: str, currency: str) -> tuple[Decimal, int, set[int]]:
    """Sum of the lowest newest prices, cards that have one, and lines whose card is not in the files."""
    names: dict[str, set[str]] = {}
    for rank in ("faceName", "name"):
        for card in real.present():
            if rank in card:
                names.setdefault(folded(card[rank]), set()).add(card["name"])
    names |= {folded(card["name"]): {card["name"]} for card in real.present()}
    prints: dict[str, list[str]] = {}
    for card in real.present():
        if card.get("side", "a") == "a":
            prints.setdefault(card["name"], []).append(card["uuid"])
    newest: dict[tuple[Any, ...], Price] = {}
    for price in real.prices:
        if price.channel == "paper" and price.price_type == "retail" and price.currency == currency:
            newest[price[:6]] = max(newest.get(price[:6], price), price, key=lambda one: one.price_date)
    by_card: dict[str, list[tuple[bool, Decimal]]] = {}
    for price in newest.values():
        by_card.setdefault(price.uuid, []).append((price.finish != "normal", price.price))
    total, priced, unknown = Decimal(0), 0, set()
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            count, _, name = line.strip().partition(" ")
            found = names.get(folded(name)) or names.get(folded(name.split(" -")[0]))
            if not found:
                unknown.add(number)
            elif offers := [offer for one in found for uuid in prints[one] for offer in by_card.get(uuid, [])]:
                total += int(count) * min(offers)[1]
                priced += int(count)
    return total, priced, unknown


@pytest.mark.parametrize("currency", ["USD", "EUR"])
@pytest.mark.parametrize(
    "name", ["kaalia-proper", "the-ur-dragon", "vampiric-bloodlust-precon", "kambal-profiteering-mayor"]
)
def test_a_real_deck_is_worth_what_a_recount_says(real: Real, name: str, currency: str) -> None:
    content = (real.folder / "decks" / f"{name}.deck").read_bytes()
    found = value_deck(real.settings, name, read_deck(content), currency)
    total, priced, unknown = valued(real, content.decode(), currency)
    assert (found.value, found.priced_cards) == (total, priced)
    assert {problem.line for problem in found.problems} == unknown
    assert priced > 10


def test_a_deck_of_what_is_held_is_imported_and_its_views_agree(real: Real) -> None:
    content = (real.folder / "decks" / "the-ur-dragon.deck").read_text()
    _, _, unknown = valued(real, content, "USD")
    held = "\n".join(line for number, line in enumerate(content.splitlines(), start=1) if number not in unknown)
    import_deck(real.settings, "the-ur-dragon", read_deck(held.encode()))
    total, priced, _ = valued(real, held, "USD")
    assert real.sql(
        "select value, priced_cards from mtg.deck_values where deck = 'the-ur-dragon' and currency = 'USD'"
    ) == [(total, priced)]
    ((lines, cards),) = real.sql(
        "select count(*), sum(quantity) from mtg.deck_composition where deck = 'the-ur-dragon'"
    )
    written = [line for line in held.splitlines() if line.strip()]
    assert (lines, cards) == (len(written), sum(int(line.split()[0]) for line in written))
