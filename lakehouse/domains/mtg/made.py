"""Sets of cards and prices of our own making, in MTGJSON's shape: for the demo, and for benchmarks in any size.

Two builds, of yesterday and today, so that history shows: cards come, go and change, ranks move, prices rise and fall.
The same seed and day make the same builds.
"""

from __future__ import annotations

import random
import uuid
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from lakehouse.domains.mtg.server import write_build

Json = dict[str, Any]

SETS = (
    ("HRB", "Harbours of Glass", "expansion"),
    ("EMB", "Embers and Ice", "expansion"),
    ("CLK", "Clockwork Orchard", "core"),
    ("TDE", "Tides of the Deep", "commander"),
    ("TKH", "Harbour Tokens", "token"),
)
_ADJECTIVES = ("Amber", "Quiet", "Salt", "Hollow", "Bright", "Iron", "Wandering", "Ninth", "Paper", "Frozen", "Gilded")
_NOUNS = ("Lantern", "Heron", "Orchard", "Ferryman", "Clockmaker", "Tide", "Furnace", "Archivist", "Thicket", "Bell")
_TYPES = (("Creature", "Heron"), ("Creature", "Smith"), ("Instant", None), ("Sorcery", None), ("Artifact", "Lantern"))
_RARITIES = (("common", 8), ("uncommon", 5), ("rare", 3), ("mythic", 1))
_PROVIDERS = (("paper", "northshop", "USD"), ("paper", "eastmarket", "EUR"), ("mtgo", "ticketer", "USD"))
VERSION = "made"
"""What the builds' versions begin with: none of MTGJSON's does."""
_NAMESPACE = uuid.UUID("6f0c7f4e-0d5d-5e7d-9a35-2f9b7d0f4c11")


def make_builds(folder: Path, today: date, *, cards: int = 60, sets: int = len(SETS), seed: int = 0) -> list[Path]:
    """Write the builds of yesterday and today into folders.

    Args:
        folder: Where; it gets a folder a build.
        today: Day of the second build.
        cards: In each set.
        sets: How many; beyond those of the demo they are numbered.
        seed: Makes other cards.

    Returns:
        The two folders.
    """
    codes = [*SETS, *((f"S{number:03}", f"Set {number}", "expansion") for number in range(sets - len(SETS)))][:sets]
    yesterday = today - timedelta(days=1)
    first = {code: _set(code, name, kind, cards, yesterday, seed) for code, name, kind in codes}
    second = {code: _on_the_next_day(told, seed) for code, told in first.items()}
    folders = []
    for day, told in ((yesterday, first), (today, second)):
        prices = _prices(told, [day], seed)
        history = _prices(told, [day - timedelta(days=back) for back in range(3)], seed)
        folders.append(write_build(folder / str(day), str(day), f"{VERSION}+{day:%Y%m%d}", told, prices, history))
    return folders


def _set(code: str, name: str, kind: str, cards: int, day: date, seed: int) -> Json:
    chance = random.Random(f"{seed}-{code}")  # noqa: S311
    listed = [] if kind == "token" else [card for n in range(1, cards + 1) for card in _cards(chance, code, n)]
    tokens = [{"uuid": _uuid(code, f"T{n}"), "name": f"{_NOUNS[n]} Token", "setCode": code} for n in range(3)]
    return {
        "code": code,
        "name": name,
        "type": kind,
        "releaseDate": str(day - timedelta(days=chance.randrange(30, 2000))),
        "baseSetSize": cards,
        "totalSetSize": len(listed),
        "keyruneCode": code,
        "isOnlineOnly": False,
        "isFoilOnly": False,
        "translations": {},
        "cards": listed,
        "tokens": tokens,
    }


def _cards(chance: random.Random, code: str, number: int) -> list[Json]:
    """A card, or its two faces."""
    kind, subtype = chance.choice(_TYPES)
    colors = sorted(chance.sample("BGRUW", k=chance.choice((0, 1, 1, 1, 2))))
    value = float(chance.randrange(0, 8))
    name = f"{chance.choice(_ADJECTIVES)} {chance.choice(_NOUNS)}"
    card: Json = {
        "uuid": _uuid(code, number),
        "name": name,
        "number": f"{number}★" if chance.random() < 0.03 else str(number),
        "setCode": code,
        "rarity": chance.choices([r for r, _ in _RARITIES], [w for _, w in _RARITIES])[0],
        "layout": "normal",
        "type": f"{kind} — {subtype}" if subtype else kind,
        "types": [kind],
        "subtypes": [subtype] if subtype else [],
        "supertypes": ["Legendary"] if chance.random() < 0.1 else [],
        "colors": colors,
        "colorIdentity": colors,
        "manaCost": "".join([f"{{{int(value)}}}", *(f"{{{color}}}" for color in colors)]),
        "manaValue": value,
        "finishes": chance.choice((["nonfoil"], ["nonfoil", "foil"], ["etched"])),
        "availability": ["paper", "mtgo"],
        "legalities": {f: "Legal" for f in ("commander", "modern", "vintage") if chance.random() < 0.7},
        "printings": [code],
        "text": f"When {name} enters, draw {chance.randrange(1, 4)} cards.",
        "edhrecRank": chance.randrange(1, 20_000),
        "purchaseUrls": {"northshop": f"https://shop.invalid/{code}/{number}"},
    }
    if kind == "Creature":
        card |= {"power": chance.choice(("1", "2", "3", "*", "1+*")), "toughness": str(chance.randrange(1, 6))}
    if chance.random() < 0.2:
        card["keywords"] = ["Flying"]
    if chance.random() > 0.08:
        return [card]
    ids = [_uuid(code, f"{number}{side}") for side in "ab"]
    return [
        card
        | {
            "uuid": id_,
            "name": f"{name} // {name} Unbound",
            "faceName": face,
            "side": side,
            "layout": "transform",
            "otherFaceIds": [other for other in ids if other != id_],
        }
        for id_, side, face in zip(ids, "ab", (name, f"{name} Unbound"), strict=True)
    ]


def _on_the_next_day(told: Json, seed: int) -> Json:
    """Two in a hundred cards change, one goes and one comes; some ranks move."""
    chance = random.Random(f"{seed}-{told['code']}-next")  # noqa: S311
    cards = [dict(card) for card in told["cards"]]
    for card in chance.sample(cards, k=len(cards) // 50):
        card["text"] += " You may put one of them back."
    for card in chance.sample(cards, k=len(cards) // 50):
        card["edhrecRank"] += chance.randrange(-50, 50)
    if cards:
        cards.remove(next(card for card in reversed(cards) if "side" not in card))
        cards += _cards(chance, told["code"], len(cards) + 1_000)
    return told | {"cards": cards, "totalSetSize": len(cards)}


def _prices(sets: dict[str, Json], days: list[date], seed: int) -> Json:
    found: Json = {}
    for told in sets.values():
        for card in told["cards"]:
            chance = random.Random(f"{seed}-{card['uuid']}")  # noqa: S311
            base = chance.lognormvariate(0, 1.2)
            finishes = [{"nonfoil": "normal"}.get(finish, finish) for finish in card["finishes"]]
            offers: Json = {}
            for channel, provider, currency in _PROVIDERS:
                if chance.random() < 0.8:
                    retail = {f: {str(d): _price(base, card["uuid"], f, d, seed) for d in days} for f in finishes}
                    buylist = {f: {d: round(p * 0.6, 2) for d, p in of_day.items()} for f, of_day in retail.items()}
                    offer = {"currency": currency, "retail": retail, "buylist": buylist if channel == "paper" else {}}
                    offers.setdefault(channel, {})[provider] = offer
            found[card["uuid"]] = offers
    return found


def _price(base: float, card: str, finish: str, day: date, seed: int) -> float:
    chance = random.Random(f"{seed}-{card}-{finish}-{day}")  # noqa: S311
    return round(max(0.02, base * (2.2 if finish == "foil" else 1) * chance.uniform(0.9, 1.12)), 2)


def _uuid(code: str, number: int | str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{code}-{number}"))
