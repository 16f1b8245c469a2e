"""Games that never were, in the API's shape, as many as asked for: the same seed makes the same ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from lakehouse.domains.rawg.site import Game

TIE = "2019-01-09T12:41:06"
"""Last update of a good quarter of all games: RAWG once touched them in one go."""

_PLATFORMS = ("PC", "PlayStation 5", "Xbox One", "PlayStation 4", "Nintendo Switch", "iOS", "Android", "macOS", "Linux")
_GENRES = ("Action", "Indie", "Adventure", "RPG", "Strategy", "Shooter", "Casual", "Puzzle", "Racing", "Sports")
_STORES = ("Steam", "Xbox Store", "PlayStation Store", "App Store", "GOG", "Nintendo Store", "itch.io", "Epic Games")
_TAGS = (
    *("Singleplayer", "Multiplayer", "Atmospheric", "Full controller support", "Co-op", "2D", "3D", "Horror", "VR"),
    *("Great Soundtrack", "Open World", "Sandbox", "Retro", "Funny", "Difficult", "Exploration", "Fantasy", "Space"),
)
_ESRB = ("Everyone", "Everyone 10+", "Teen", "Mature", "Adults Only", "Rating Pending")
_RATINGS = {5: "exceptional", 4: "recommended", 3: "meh", 1: "skip"}
_STATUS = ("yet", "owned", "beaten", "toplay", "dropped", "playing")
_FIRST, _SECOND = ("Dark", "Lost", "Iron", "Tiny", "Last", "Neon"), ("Quest", "Harbor", "Engine", "Garden", "Empire")


def made_games(count: int, *, seed: int = 0, end: datetime | None = None, first_year: int = 1985) -> Iterator[Game]:
    """Games with ids from 1: one in twenty without a date of release, some in the future, many updated at once.

    Args:
        count: How many.
        seed: Decides everything.
        end: Newest update; now, if not given.
        first_year: Of the oldest release.
    """
    end = (end or datetime.now(UTC)).replace(microsecond=0, tzinfo=None)
    chance = random.Random(f"games of {seed}")  # noqa: S311
    first = date(first_year, 1, 1).toordinal()
    newest = end.date().toordinal() + 500
    for number in range(1, count + 1):
        # Ever more games come out a year.
        day = newest - int((newest - first) * chance.random() ** 3)
        released = None if chance.random() < 0.05 else date.fromordinal(day).isoformat()
        ago = timedelta(seconds=int(chance.expovariate(1 / (400 * 86_400))) + 86_400)
        updated = TIE if chance.random() < 0.27 else (end - ago).isoformat()
        yield Game(number, f"{seed}-game-{number}", released, updated, number, render, details=render_alone)


def changed(game: Game, at: datetime) -> Game:
    """The game after an edit: its numbers and links are others."""
    return msgspec.structs.replace(
        game, version=game.version + 1, updated=at.replace(microsecond=0, tzinfo=None).isoformat()
    )


def render(game: Game) -> bytes:
    """The item of a made game, as a list gives it: 2 to 5 KB."""
    chance = random.Random(game.game_id * 1_000 + game.version)  # noqa: S311
    named = _Names(chance)
    counts = {number: chance.randrange(500) for number in _RATINGS}
    total = sum(counts.values())
    is_known = chance.random() < 0.9
    item: dict[str, Any] = {
        "id": game.game_id,
        "slug": game.slug,
        "name": f"{chance.choice(_FIRST)} {chance.choice(_SECOND)} {game.game_id}",
        "released": game.released,
        "tba": game.released is None and chance.random() < 0.5,
        "background_image": f"https://media.rawg.example/games/{game.game_id}.jpg",
        "rating": round(chance.random() * 5, 2) if is_known else 0.0,
        "rating_top": chance.choice(tuple(_RATINGS)) if is_known else 0,
        "ratings": [
            {"id": number, "title": title, "count": counts[number], "percent": round(100 * counts[number] / total, 2)}
            for number, title in _RATINGS.items()
        ]
        if is_known and total
        else [],
        "ratings_count": total if is_known else 0,
        "reviews_text_count": chance.randrange(20),
        "added": chance.randrange(20_000),
        "added_by_status": {s: chance.randrange(900) for s in _STATUS if chance.random() < 0.8} if is_known else None,
        "metacritic": chance.randrange(30, 99) if chance.random() < 0.2 else None,
        "playtime": chance.randrange(80),
        "suggestions_count": chance.randrange(600),
        "updated": game.updated,
        "user_game": None,
        "reviews_count": chance.randrange(7_000),
        "platforms": None
        if chance.random() < 0.01
        else [
            {
                "platform": platform,
                "released_at": game.released,
                "requirements_en": {"minimum": "Minimum: a computer with 8 GB of memory"}
                if platform["id"] == 1
                else None,
                "requirements_ru": None,
            }
            for platform in named.some(_PLATFORMS, 4)
        ],
        "genres": named.some(_GENRES, 3),
        "stores": [{"id": 10 * game.game_id + s["id"], "store": s} for s in named.some(_STORES, 3)],
        "clip": None,
        "tags": named.some(_TAGS, 12),
        "esrb_rating": named.some(_ESRB, 1)[0] if chance.random() < 0.31 else None,
        "short_screenshots": [],
    }
    return msgspec.json.encode(item)


def render_alone(game: Game) -> bytes:
    """What is said of a made game that is asked for alone: more, and requirements in another place."""
    item = msgspec.json.decode(render(game))
    for one in item["platforms"] or ():
        one["requirements"] = one.pop("requirements_en") or {}
        del one["requirements_ru"]
    return msgspec.json.encode(item | {"description_raw": f"{item['name']}, a game of our own making."})


class _Names:
    """Things with ids, names and the decorations that the API gives them."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def some(self, names: tuple[str, ...], most: int) -> list[dict[str, Any]]:
        """Up to so many of the names; one at least where one is asked for."""
        chosen = self._chance.sample(range(len(names)), self._chance.randint(0 if most > 1 else 1, most))
        return [
            {
                "id": index + 1,
                "name": names[index],
                "slug": names[index].lower().replace(" ", "-"),
                "games_count": self._chance.randrange(500_000),
                "image_background": f"https://media.rawg.example/{self._chance.randrange(100)}.jpg",
            }
            for index in chosen
        ]
