"""Statistics of Magic's cards from the messages about them, in plain Python. It imports nothing of the product."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

Group = tuple[str, str]
"""Set and rarity."""
EXACT = Decimal("0.000001")
COLORS = "WUBRG"


@dataclass(frozen=True)
class Sent:
    """A message as the brokers have it; None for what is no message of ours."""

    value: bytes
    timestamp: int
    offset: int


def recount(cards: Iterable[Sent], prices: Iterable[Sent]) -> dict[Group, dict[str, Any]]:
    """The statistics of each set and rarity that ever had a card, numbers as decimals."""
    messages: Counter[str] = Counter()
    told: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
    days: dict[str, dict[str, tuple[Any, Any]]] = defaultdict(dict)
    for one in cards:
        message = _read(one.value)
        messages[message["uuid"]] += 1
        told[message["uuid"]].append(((message["build_date"], one.timestamp, one.offset), message))
    for one in prices:
        message = _read(one.value)
        uuid, order = message["uuid"], (message["build_date"], one.timestamp, one.offset)
        messages[uuid] += 1
        day = message["price_date"]
        if day not in days[uuid] or days[uuid][day][0] < order:
            days[uuid][day] = (order, message["prices"])
    versions: Counter[Group] = Counter()
    there: dict[Group, dict[str, Any]] = defaultdict(dict)
    for uuid, every in told.items():
        for group in {(m["set_code"], m["card"]["rarity"]) for _, m in every if not m["is_deleted"]}:
            versions[group] += messages[uuid]
        newest = max(every, key=lambda each: each[0])[1]
        if not newest["is_deleted"]:
            there[newest["set_code"], newest["card"]["rarity"]][uuid] = newest["card"]
    return {group: _count(there[group], days, version) for group, version in versions.items()}


def _count(cards: Mapping[str, Any], days: Mapping[str, Any], version: int) -> dict[str, Any]:
    values = sorted(Decimal(card["manaValue"]) for card in cards.values())
    colors = Counter(_color(card["colors"]) for card in cards.values())
    newest = {uuid: max(days[uuid]) for uuid in cards if days.get(uuid)}
    day = max(newest.values(), default=None)
    asked: dict[str, list[Decimal]] = defaultdict(list)
    moves: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for uuid, last in newest.items():
        now = _offers(days[uuid][last][1])
        before = max((one for one in days[uuid] if one < last), default=None)
        then = _offers(days[uuid][before][1]) if before else {}
        for (provider, finish, currency), price in now.items():
            asked[currency].append(price)
            change = price - then.get((provider, finish, currency), price)
            if last == day and change:
                moves[currency][uuid].append((change, provider, finish, price, before))
    return {
        "cards": len(cards),
        "average_mana_value": _average(values),
        "median_mana_value": _median(values),
        "colors": {color: colors[color] for color in (*COLORS, "colorless", "multicolor")},
        "price_date": day,
        "prices": {
            currency: {
                "prices": len(all_),
                "average": _average(all_),
                "minimum": min(all_),
                "maximum": max(all_),
                "total": sum(all_),
            }
            for currency, all_ in asked.items()
        },
        "movers": {
            currency: {"up": _first(of, cards, 1), "down": _first(of, cards, -1)} for currency, of in moves.items()
        },
        "version": version,
    }


def _first(moves: Mapping[str, list[Any]], cards: Mapping[str, Any], way: int) -> list[dict[str, Any]]:
    most = []
    for uuid, all_ in moves.items():
        those = [(-abs(change), provider, finish, price, before) for change, provider, finish, price, before in all_
                 if (change > 0) == (way > 0)]  # fmt: skip
        if those:
            most.append((min(those)[0], uuid, *min(those)[1:]))
    return [
        {
            "uuid": uuid,
            "name": cards[uuid]["name"],
            "number": cards[uuid]["number"],
            "provider": provider,
            "finish": finish,
            "price": price,
            "previous_date": before,
            "previous_price": price + way * change,
            "change": -way * change,
        }
        for change, uuid, provider, finish, price, before in sorted(most)[:5]
    ]


def _offers(prices: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, str], Decimal]:
    return {
        (one["provider"], one["finish"], one.get("currency", "")): Decimal(one["price"])
        for one in prices
        if one["channel"] == "paper" and one["price_type"] == "retail" and one["price"] >= 0
    }


def _color(colors: list[str]) -> str:
    return "multicolor" if len(colors) > 1 else colors[0] if colors else "colorless"


def _average(numbers: list[Decimal]) -> Decimal | None:
    return (sum(numbers, Decimal(0)) / len(numbers)).quantize(EXACT, ROUND_HALF_UP) if numbers else None


def _median(numbers: list[Decimal]) -> Decimal | None:
    middle = len(numbers) // 2
    if not numbers:
        return None
    return numbers[middle] if len(numbers) % 2 else _average(numbers[middle - 1 : middle + 1])


def _read(value: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(value, parse_float=Decimal)
    return found
