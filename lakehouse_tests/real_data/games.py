"""Real games as the API lists them, made of what others recorded of it; and what the tables must say of them.

Nothing of `lakehouse` is imported. The bulk files were flattened by those who published them: their fields are put back
where the API has them, and nothing is added but what is said here.
"""

from __future__ import annotations

import csv
import gzip
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

Item = dict[str, Any]
Version = tuple[int, datetime | None, date | None, str]
"""Game, `updated`, release date, and the item as JSON with sorted keys."""

BULK_UPDATED = "2022-06-30T00:00:00"
"""When the games of the bulk file were updated, of those of which nobody recorded it: after nothing that is known."""


def recorded(folder: Path) -> list[bytes]:
    """Items of the recorded page of 2024, byte for byte."""
    text = (folder / "api_2024-08" / "get-games.json").read_bytes().decode()
    start = text.index('"results"')
    start = text.index("[", start) + 1
    items: list[bytes] = []
    decoder = json.JSONDecoder()
    while True:
        while text[start] in " \r\n\t,":
            start += 1
        if text[start] == "]":
            return items
        _, end = decoder.raw_decode(text, start)
        items.append(text[start:end].encode())
        start = end


def recorded_details(folder: Path) -> bytes:
    """A game as it is answered when asked for alone."""
    return (folder / "api_2024-08" / "get-game-details.json").read_bytes()


def states(folder: Path) -> dict[int, str]:
    """`updated` by game, as a pipeline of someone else kept it in November 2025."""
    with gzip.open(folder / "cdc_state_2025-11_a.json.gz") as file:
        return {int(game): updated for game, updated in json.load(file)["games"].items()}


def bulk(folder: Path, updated: dict[int, str]) -> list[Item]:
    """Games of the flattened file of 2022."""
    with gzip.open(folder / "rawg_games_2022.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    items = {}
    for row in rows:
        game_id = int(row["Rawg_id"])
        items[game_id] = {
            "id": game_id,
            "slug": row["Slug"],
            "name": row["Name"],
            "released": row["Released"] or None,
            "tba": False,
            "rating": float(row["Rating"] or 0),
            "ratings_count": int(row["Rating count"] or 0),
            "reviews_text_count": int(row["Reviews text count"] or 0),
            "reviews_count": int(row["Reviews count"] or 0),
            "metacritic": int(float(row["Metacritic"])) if row["Metacritic"] else None,
            "playtime": int(row["Playtime"] or 0),
            "suggestions_count": int(row["Suggestions count"] or 0),
            "updated": updated.get(game_id, BULK_UPDATED),
            "platforms": [{"platform": named} for named in _named(row["Platforms"])] or None,
            "genres": _named(row["Genres"]),
            "esrb_rating": next(iter(_named(row["ESRD Rating"])), None),
        }
    return list(items.values())


def bare(updated: dict[int, str], known: set[int]) -> list[Item]:
    """Games of which only id and `updated` are known; the days of their release are made, for there must be some."""
    first = date(2000, 1, 1)
    return [
        {"id": game, "released": (first + timedelta(days=game % 9_000)).isoformat(), "updated": at}
        for game, at in updated.items()
        if game not in known
    ]


def later(folder: Path) -> list[Item]:
    """Games of 2026, whose fields another one had renamed."""
    with gzip.open(folder / "rawg_150_details_2026.json.gz") as file:
        games = json.load(file)
    return [
        {
            "id": game["rawgId"],
            "slug": game["slug"],
            "name": game["title"],
            "released": game["released"],
            "rating": game["rating"],
            "metacritic": game["metacritic"],
            "playtime": game["playtime"],
            "updated": "2026-01-31T12:00:00",
        }
        for game in games
    ]


def encode(item: Item) -> bytes:
    """An item as a server writes it."""
    return json.dumps(item, ensure_ascii=False).encode()


def version(item: bytes) -> Version:
    """What a row of bronze must say of an item."""
    said = json.loads(item)
    updated, released = said["updated"], said["released"]
    return (
        said["id"],
        datetime.fromisoformat(updated).replace(tzinfo=UTC) if updated else None,
        date.fromisoformat(released) if released else None,
        json.dumps(said, sort_keys=True),
    )


def _named(texts: str) -> list[Item]:
    """Names as things with an id; the file has no ids."""
    names = [name.strip() for name in texts.split(",") if name.strip()]
    return [{"id": sum(map(ord, name)), "name": name, "slug": name.lower().replace(" ", "-")} for name in names]
