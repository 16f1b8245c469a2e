"""Game events from files that nobody on this project wrote: battle royale, football matches and a mobile game.

The first has no ids and about 2 % exact repeats, the second nested data and events of teams, which are no player's; the
third is one number a player, many of them equal.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

Record = dict[str, Any]

POINTS = {"Kill": 100, "BotKill": 25, "Loot": 5, "Killed": -50}
KICK_OFF = datetime(2024, 6, 1, 18, tzinfo=UTC)
INSTALLED = datetime(2024, 1, 23, tzinfo=UTC)


def lila_black(path: Path) -> Iterator[Record]:
    """Epoch seconds; equal rows are one event, so the id is that of the content."""
    for row in pq.read_table(path).to_pylist():
        told = json.dumps(row, default=str, sort_keys=True)
        score = POINTS.get(row["event"])
        yield {
            "event_id": hashlib.sha256(told.encode()).hexdigest()[:32],
            "event_type": "player_score" if score else row["event"],
            "player_id": row["user_id"],
            "game_id": "lila-black",
            "timestamp": row["ts"] * 1000,
            "data": {name: row[name] for name in ("map_id", "match_id", "x", "y", "z")}
            | ({"score": score, "what": row["event"]} if score else {}),
        }


def statsbomb(path: Path) -> Iterator[Record]:
    """Times since the kick-off of a half; what a team did, and no player, has no player."""
    for row in pq.read_table(path).to_pylist():
        told = {name: value for name, value in row.items() if value is not None}
        hours, minutes, seconds = row["timestamp"].split(":")
        since = timedelta(hours=int(hours) + row["period"] - 1, minutes=int(minutes), seconds=float(seconds))
        is_goal = (row.get("shot") or {}).get("outcome", {}).get("name") == "Goal"
        player = (row["player"] or {}).get("id")
        yield {
            "event_id": row["id"],
            "event_type": "player_score" if is_goal else row["type"]["name"],
            "player_id": player,
            "game_id": f"statsbomb-{row['match_id']}",
            "timestamp": (KICK_OFF + since).isoformat(),
            "data": told | ({"score": 1} if is_goal else {"score": "none"}),
        }


def cookie_cats(path: Path) -> Iterator[Record]:
    """Rounds that a player has played in the first two weeks, as one score."""
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            yield {
                "event_id": f"cookie-cats-{row['userid']}",
                "event_type": "player_score",
                "player_id": int(row["userid"]),
                "game_id": "cookie-cats",
                "timestamp": (INSTALLED + timedelta(seconds=number)).replace(tzinfo=None).isoformat(sep=" "),
                "data": {"score": int(row["sum_gamerounds"]), "version": row["version"]},
            }


def moment(timestamp: int | str) -> datetime:
    """A record's time, read by other means than the product's."""
    if isinstance(timestamp, int):
        return datetime.fromtimestamp(timestamp / 1000, UTC)
    found = datetime.fromisoformat(timestamp)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
