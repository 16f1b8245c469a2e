"""Magic's cards and prices, recomputed in plain Python from MTGJSON's files. Imports nothing of the product."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

Json = dict[str, Any]
VOLATILE = ("boosterTypes", "edhrecRank", "edhrecSaltiness", "purchaseUrls")
"""As the documentation says: what makes no version."""
Builds = dict[date, dict[str, Json]]
"""Sets by day and code."""


def read(path: Path) -> Json:
    """A file, compressed or not."""
    raw = path.read_bytes()
    found: Json = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    return found


def read_sets(paths: Iterable[Path]) -> Builds:
    """Set files, by the build that they say they are of."""
    builds: Builds = {}
    for path in paths:
        told = read(path)
        builds.setdefault(date.fromisoformat(told["meta"]["date"]), {})[told["data"]["code"]] = told["data"]
    return builds


def lasting(card: Json) -> Json:
    """A card without what makes no version."""
    return {name: value for name, value in card.items() if name not in VOLATILE}


Version = tuple[str, date, date | None, int, Json, Json, date]
"""Uuid, first day, day after the last, number, the card, what was volatile last, and when something was last told."""


def versions(builds: Builds) -> list[Version]:
    """Versions of cards, sorted: each build in its order, a set's cards that it no longer has are gone."""
    found: dict[str, list[list[Any]]] = {}
    for day in sorted(builds):
        there = {card["uuid"]: card for told in builds[day].values() for card in told["cards"]}
        for uuid, card in there.items():
            known = found.setdefault(uuid, [])
            changing = {name: card[name] for name in VOLATILE if name in card}
            if known and known[-1][1] is None and known[-1][3] == lasting(card):
                if known[-1][4] != changing:
                    known[-1][4:] = [changing, day]
                continue
            if known and known[-1][1] is None:
                known[-1][1] = day
            known.append([day, None, card["setCode"], lasting(card), changing, day])
        for uuid, known in found.items():
            if uuid not in there and known[-1][1] is None and known[-1][2] in builds[day]:
                known[-1][1] = day
    return sorted(
        (uuid, first, after, number, card, changing, told)
        for uuid, known in found.items()
        for number, (first, after, _, card, changing, told) in enumerate(known, 1)
    )


Price = tuple[str, date, str, str, str, str, str | None, Decimal]
"""Uuid, day, channel, provider, kind, finish, currency, amount."""


def prices(told: Mapping[str, Any]) -> list[Price]:
    """Every price in a file of prices, sorted."""
    found = []
    for uuid, channels in told.items():
        for channel, providers in channels.items():
            for provider, offers in providers.items():
                for kind in ("retail", "buylist"):
                    for finish, days in offers.get(kind, {}).items():
                        for day, amount in days.items():
                            place = (uuid, date.fromisoformat(day), channel, provider, kind, finish)
                            found.append((*place, offers.get("currency"), Decimal(str(amount))))
    return sorted(found)
