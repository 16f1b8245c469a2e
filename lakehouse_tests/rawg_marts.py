"""What silver and gold of RAWG must hold, counted in plain Python from versions of games; no part of the product."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

Row = dict[str, Any]
Rows = dict[tuple[Any, ...], Row]

UNKNOWN = -1
OLDEST = datetime(1, 1, 1, tzinfo=UTC)
STEP = Decimal("0.000000001")
STATUSES = ("yet", "owned", "beaten", "toplay", "dropped", "playing")
NUMBERS = {
    "rating": Decimal,
    "rating_top": int,
    "ratings_count": int,
    "reviews_count": int,
    "reviews_text_count": int,
    "added": int,
    "metacritic": int,
    "suggestions_count": int,
    "playtime": int,
}
LISTS = {"platform": "platforms", "store": "stores", "genre": "genres", "tag": "tags"}
OWN = {"platform": ("year_start", "year_end"), "store": ("domain",), "genre": (), "tag": ("language",)}
OWN_OF_ALL = ("language", "domain", "year_start", "year_end")


@dataclass(frozen=True)
class Version:
    """A version of a game as it was read; without an item where the game was found to be gone."""

    game_id: int
    updated_at: datetime | None
    fetched_at: datetime
    item: Mapping[str, Any] | None
    change: str = "seen"
    merged_into: int | None = None
    release_date: date | None = None
    pull_id: str = ""

    @property
    def place(self) -> tuple[Any, ...]:
        """The greatest is the current one."""
        return (self.updated_at or OLDEST, self.fetched_at, self.pull_id, self.change)


def current(versions: Iterable[Version]) -> dict[int, Version]:
    """The current version of each game."""
    newest: dict[int, Version] = {}
    for version in versions:
        if version.game_id not in newest or newest[version.game_id].place < version.place:
            newest[version.game_id] = version
    return newest


def key(natural: int) -> str:
    """Surrogate key of an id."""
    return hashlib.sha256(str(natural).encode()).hexdigest()


# Silver --------------------------------------------------------------------------------------------------------------


def typed(version: Version) -> Row:
    """A game's row in silver, without columns that only carry lineage."""
    item = version.item or {}
    unreadable = [name for name in NUMBERS if _number(item, name) is None and item.get(name) not in (None, "")]
    unreadable += [name for name in ("added_by_status",) if not isinstance(item.get(name), dict | None)]
    for name in ("ratings", "platforms", "parent_platforms", "stores", "genres", "tags"):
        if not isinstance(item.get(name), list | None):
            unreadable.append(name)
    unreadable += [LISTS[kind] for kind in LISTS if any(not _is_id(one.get("id")) for one in _given(item, kind))]
    if any(_day(entry.get("released_at")) is None and entry.get("released_at") for entry in _list(item, "platforms")):
        unreadable.append("platforms")
    esrb = (item.get("esrb_rating") or {}).get("id")
    if item.get("esrb_rating") and not _is_id(esrb):
        unreadable.append("esrb_rating")
    return {
        "game_id": version.game_id,
        "is_listed": version.item is not None,
        "change": version.change,
        "merged_into": version.merged_into,
        "slug": item.get("slug"),
        "name": item.get("name"),
        "release_date": version.release_date,
        "is_tba": bool(item.get("tba")),
        **{name: _number(item, name) for name in NUMBERS if name != "playtime"},
        "playtime_hours": _number(item, "playtime"),
        "background_image": item.get("background_image"),
        "ratings": _rows(item, "ratings", _rating),
        "added_by_status": item["added_by_status"] if isinstance(item.get("added_by_status"), dict) else None,
        "platforms": _rows(item, "platforms", _platform),
        "parent_platforms": _rows(item, "parent_platforms", lambda one: _named(one["platform"])),
        "stores": _rows(item, "stores", lambda one: (*_named(one["store"]), one["store"].get("domain"))),
        "genres": _rows(item, "genres", _named),
        "tags": _rows(item, "tags", lambda one: (*_named(one), one.get("language"))),
        "esrb_rating_id": esrb if _is_id(esrb) else None,
        "unreadable_fields": sorted(set(unreadable)),
        "updated_at": version.updated_at,
        "fetched_at": version.fetched_at,
        "pull_id": version.pull_id,
    }


def members(versions: Iterable[Version]) -> Rows:
    """What each member is called: as the mention said that was read last, one with a name before one without."""
    best: dict[tuple[str, int], tuple[Any, Row]] = {}
    for version in versions:
        for kind in (*LISTS, "esrb_rating"):
            for one in _given(version.item or {}, kind):
                if not _is_id(one.get("id")):
                    continue
                row = {"name": one.get("name"), "slug": one.get("slug")}
                row |= {name: one.get(name) if name in OWN.get(kind, ()) else None for name in OWN_OF_ALL}
                place = (row["name"] is not None, version.fetched_at, version.game_id, *map(_text, row.values()))
                row |= {"named_at": version.fetched_at, "named_by_game_id": version.game_id}
                if (kind, one["id"]) not in best or best[kind, one["id"]][0] < place:
                    best[kind, one["id"]] = place, {"kind": kind, "member_id": one["id"]} | row
    return {found: row for found, (_, row) in best.items()}


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and value > 0


def _list(item: Mapping[str, Any], name: str) -> list[Any]:
    found = item.get(name)
    return [one or {} for one in found] if isinstance(found, list) else []


def _given(item: Mapping[str, Any], kind: str) -> list[Row]:
    """The members of a kind as the item names them."""
    if kind == "esrb_rating":
        return [item["esrb_rating"]] if item.get("esrb_rating") else []
    entries = _list(item, LISTS[kind])
    return [entry.get(kind) or {} for entry in entries] if kind in ("platform", "store") else entries


def _rows(item: Mapping[str, Any], name: str, row: Callable[[Any], tuple[Any, ...]]) -> list[tuple[Any, ...]] | None:
    if not isinstance(item.get(name), list):
        return None
    inner = {"platforms": "platform", "parent_platforms": "platform", "stores": "store"}.get(name)
    entries = [entry for entry in item[name] if entry]
    return [row(one) for one in entries if _is_id(((one.get(inner) or {}) if inner else one).get("id"))]


def _named(one: Row) -> tuple[Any, ...]:
    return one["id"], one.get("name"), one.get("slug")


def _rating(one: Row) -> tuple[Any, ...]:
    return one["id"], one["title"], one["count"], Decimal(str(one["percent"])).quantize(Decimal("0.01"))


def _platform(one: Row) -> tuple[Any, ...]:
    english, russian, only = (
        _requirements(one.get(name)) for name in ("requirements_en", "requirements_ru", "requirements")
    )
    # In English where the game was asked for alone.
    return (*_named(one["platform"]), _day(one.get("released_at")), english or only, russian)


def _requirements(given: Any) -> tuple[str | None, str | None] | None:
    said = ((given or {}).get("minimum") or None, (given or {}).get("recommended") or None)
    return said if any(said) else None


def _number(item: Mapping[str, Any], name: str) -> Any:
    try:
        value = NUMBERS[name](str(item[name]))
    except (KeyError, ValueError, ArithmeticError):
        return None
    return value.quantize(Decimal("0.01")) if isinstance(value, Decimal) else value


def _day(text: Any) -> date | None:
    try:
        return date.fromisoformat(text)
    except (TypeError, ValueError):
        return None


# Gold ----------------------------------------------------------------------------------------------------------------


def gold(versions: Iterable[Version]) -> dict[str, Rows]:
    """The star: rows of each table by their key, without the audit columns."""
    versions = list(versions)
    games = [typed(version) for version in current(versions).values() if version.item is not None]
    found: dict[str, Rows] = {"gold.fact_games": {(row["game_key"],): row for row in map(_fact, games)}}
    named = members(versions)
    for kind in (*LISTS, "esrb_rating"):
        found[f"gold.dim_{kind}"] = {(row[f"{kind}_key"],): row for row in _dimension(kind, named)}
    for kind in LISTS:
        links = (row for game in games for row in _links(game, kind))
        found[f"gold.bridge_game_{kind}"] = {(row["game_key"], row[f"{kind}_key"]): row for row in links}
    return found


def _fact(game: Row) -> Row:
    counts = ("ratings_count", "reviews_count", "reviews_text_count", "added", "suggestions_count")
    statuses = game["added_by_status"] or {}
    return {
        "game_key": key(game["game_id"]),
        **{name: game[name] for name in ("game_id", "slug", "name", "is_tba", "metacritic", "playtime_hours")},
        "date_key": game["release_date"],
        "esrb_rating_key": key(game["esrb_rating_id"] or UNKNOWN),
        "rating": game["rating"] or None,
        "rating_top": game["rating_top"] or None,
        **{name: game[name] or 0 for name in counts},
        **{f"added_{status}": statuses.get(status) or 0 for status in STATUSES},
        "updated_at": game["updated_at"],
    }


def _dimension(kind: str, named: Rows) -> Iterator[Row]:
    own = OWN.get(kind, ())
    yield {f"{kind}_key": key(UNKNOWN), f"{kind}_id": UNKNOWN, "name": "Unknown", "slug": "unknown"} | dict.fromkeys(
        own
    )
    for (found, number), row in named.items():
        if found == kind:
            name = row["name"] or row["slug"] or f"{kind} {number}"
            yield {f"{kind}_key": key(number), f"{kind}_id": number, "name": name, "slug": row["slug"]} | {
                column: row[column] for column in own
            }


def _links(game: Row, kind: str) -> Iterator[Row]:
    """Members in the order of their ids; the first have what is left over of 1."""
    entries = game[LISTS[kind]] or []
    ids = sorted({entry[0] for entry in entries}) or [UNKNOWN]
    each, left = divmod(10**9, len(ids))
    for place, number in enumerate(ids):
        row = {
            "game_key": key(game["game_id"]),
            f"{kind}_key": key(number),
            "weight": (each + (place < left)) * STEP,
        }
        if kind == "platform":
            row["release_date"] = next((day for i, _, _, day, *_ in entries if i == number and day), None)
        yield row
