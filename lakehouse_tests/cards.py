"""What PostgreSQL should hold of files of MTGJSON, in plain Python; imports nothing of `lakehouse`."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

Object = dict[str, Any]

VOLATILE = ("boosterTypes", "edhrecRank", "edhrecSaltiness", "purchaseUrls")
RENAMED = {"set_type": "type", "type_line": "type", "set_code": "code"}
"""Columns that have another name than their member, which is written in camel case otherwise."""
OF_SETS = (
    *("set_code", "name", "set_type", "block", "parent_code", "keyrune_code", "mtgo_code", "base_set_size"),
    *("total_set_size", "is_online_only", "is_foil_only", "is_partial_preview"),
)
OF_CARDS = (
    *(
        "uuid",
        "number",
        "name",
        "face_name",
        "side",
        "layout",
        "rarity",
        "type_line",
        "mana_cost",
        "power",
        "toughness",
    ),
    *("loyalty", "text", "artist", "edhrec_rank", "colors", "color_identity", "finishes", "availability"),
)
MANY_DAYS = 20
"""Days on which a fifth of the cards have prices; the others have some on two."""
PARTS = {"types": "type", "subtypes": "subtype", "supertypes": "supertype", "keywords": "keyword"}


class Price(NamedTuple):
    """A price, as it is served; the currency is empty where there is none."""

    uuid: str
    channel: str
    provider: str
    price_type: str
    finish: str
    currency: str
    price_date: date
    price: Decimal


@dataclass
class Version:
    """A card as it was for some time; the end is the day on which it was another, or gone."""

    card: Object
    volatile: Object
    begin: date
    end: date | None = None


@dataclass
class Story:
    """What builds told, one after the other."""

    sets: dict[str, tuple[Object, date]] = field(default_factory=dict)
    """By code: the set, without its cards, and the newest build that told of it."""
    versions: dict[str, list[Version]] = field(default_factory=dict)
    """By uuid, the oldest first."""

    def tell(self, sets: Iterable[Object]) -> Story:
        """Take a build, newer than those before; sets that it does not have stay as they are."""
        for one in sets:
            built = one["built"]
            code = one["code"]
            told = {card["uuid"]: card for card in one["cards"]}
            self.sets[code] = ({name: value for name, value in one.items() if name not in ("cards", "built")}, built)
            for uuid, versions in self.versions.items():
                if versions[-1].card["setCode"] == code and versions[-1].end is None and uuid not in told:
                    versions[-1].end = built
            for uuid, card in told.items():
                content = {name: value for name, value in card.items() if name not in VOLATILE}
                volatile = {name: card[name] for name in VOLATILE if name in card}
                known = self.versions.setdefault(uuid, [])
                if known and known[-1].end is None and known[-1].card == content:
                    known[-1].volatile = volatile
                    continue
                if known and known[-1].end is None:
                    known[-1].end = built
                known.append(Version(content, volatile, built))
        return self

    def newest(self) -> list[Version]:
        """Of each card the last version."""
        return [versions[-1] for versions in self.versions.values()]

    def served_sets(self) -> dict[str, Object]:
        """Rows of `mtg.sets`, by key."""
        return {
            code: {name: one.get(member(name)) for name in OF_SETS}
            | {"release_date": date.fromisoformat(one["releaseDate"]), "vanished_on": None}
            for code, (one, _) in self.sets.items()
        }

    def served_cards(self) -> dict[str, Object]:
        """Rows of `mtg.cards`, by key."""
        return {version.card["uuid"]: _served(version) for version in self.newest()}

    def served_part(self, part: str) -> set[tuple[Any, ...]]:
        """Rows of the table of a list: card, element, and where in the list it comes first, from 1."""
        return {
            (version.card["uuid"], element, version.card[part].index(element) + 1)
            for version in self.newest()
            for element in version.card.get(part, ())
        }

    def served_legalities(self) -> set[tuple[str, str, str]]:
        """Rows of `mtg.card_legalities`: card, format, verdict."""
        return {
            (version.card["uuid"], format_, status)
            for version in self.newest()
            for format_, status in version.card["legalities"].items()
        }

    def served_prices(self, prices: Sequence[Price], kept_days: int) -> set[Price]:
        """Rows of `mtg.card_prices`."""
        held = [price for price in prices if price.uuid in self.versions]
        newest = max((price.price_date for price in held), default=date.min)
        return {price for price in held if (newest - price.price_date).days < kept_days}


def member(column: str) -> str:
    """MTGJSON's name of what a column holds."""
    return RENAMED.get(column) or re.sub(r"_(.)", lambda found: found[1].upper(), column)


def read_sets(folder: Path) -> list[Object]:
    """The sets of a folder, each with the day of its build as `built`."""
    return [read_set(path) for path in sorted(folder.glob("*.json.gz"))]


def read_set(path: Path) -> Object:
    """One set, with the day of its build as `built`."""
    document = json.loads(gzip.decompress(path.read_bytes()))
    found: Object = document["data"] | {"built": date.fromisoformat(document["meta"]["date"])}
    return found


def prices_of(folder: Path, uuids: Set[str], last: date) -> list[Price]:
    """Amounts that were real ones of these cards, on the last days, on some of which they differ, in two currencies."""
    amounts = json.loads(
        gzip.decompress((folder / "prices_computed_2023-09.json.gz").read_bytes()), parse_float=Decimal
    )
    found = []
    for uuid in amounts.keys() & uuids:
        position = int(uuid[:6], 16)
        for back in range(MANY_DAYS if position % 5 == 0 else 2):
            day = last - timedelta(days=back)
            amount = Decimal(amounts[uuid]) + Decimal("0.01") * ((position + back) % 3)
            found.append(Price(uuid, "paper", "tcgplayer", "retail", "normal", "USD", day, amount))
            if position % 2:
                found.append(Price(uuid, "paper", "cardmarket", "retail", "normal", "EUR", day, amount / 2))
            if position % 7 == 0:
                found.append(Price(uuid, "paper", "cardkingdom", "retail", "foil", "USD", day, amount * 3))
                found.append(Price(uuid, "paper", "cardkingdom", "buylist", "normal", "USD", day, amount / 4))
    return found


def _served(version: Version) -> Object:
    card = version.card | version.volatile
    row = {name: card.get(member(name)) for name in OF_CARDS}
    row |= {"mana_value": Decimal(str(card["manaValue"])), "is_reprint": card.get("isReprint", False)}
    return row | {"set_code": card["setCode"], "valid_from": version.begin, "vanished_on": version.end}
