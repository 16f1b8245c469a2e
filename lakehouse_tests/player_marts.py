"""What gold of the players must hold, counted in plain Python."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from lakehouse_tests.stores import Event, begin, ranked

HALF_AN_HOUR = timedelta(minutes=30)

Rows = dict[tuple[Any, ...], dict[str, Any]]


def facts(events: Iterable[Event]) -> Rows:
    """Of each day, game and player."""
    played: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        played[event.game, event.player].append(event)
    found: Rows = {}
    for (game, player), theirs in played.items():
        theirs.sort(key=lambda event: event.at)
        days: dict[date, list[tuple[Event, bool]]] = defaultdict(list)
        before: datetime | None = None
        for event in theirs:
            days[event.at.date()].append((event, not before or event.at - before >= HALF_AN_HOUR))
            before = event.at
        for day, held in days.items():
            points = [event.score for event, _ in held if event.score is not None]
            found[day, game, player] = {
                "date_key": day,
                "game_id": game,
                "player_id": player,
                "events": len(held),
                "events_by_type": dict(Counter(event.kind for event, _ in held)),
                "sessions": sum(is_begin for _, is_begin in held),
                "score_events": len(points),
                "score": sum(points),
                "first_event_at": held[0][0].at,
                "last_event_at": held[-1][0].at,
            }
    return found


def players(events: Sequence[Event]) -> Rows:
    """Of each player."""
    theirs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for (_, _, player), fact in facts(events).items():
        theirs[player].append(fact)
    return {
        (player,): {
            "player_id": player,
            "first_event_at": min(fact["first_event_at"] for fact in days),
            "last_event_at": max(fact["last_event_at"] for fact in days),
            "active_days": len({fact["date_key"] for fact in days}),
            "games": len({fact["game_id"] for fact in days}),
            "sessions": sum(fact["sessions"] for fact in days),
            "events": sum(fact["events"] for fact in days),
        }
        for player, days in theirs.items()
    }


def boards(events: Iterable[Event], today: date) -> Rows:
    """Daily and weekly boards that have closed, with ranks."""
    scores: dict[tuple[str, date, str], Counter[str]] = defaultdict(Counter)
    for event in events:
        for period, days in (("daily", 1), ("weekly", 7)):
            start = begin(period, event.at.date())
            if event.score is not None and start + timedelta(days=days) <= today:
                scores[period, start, event.game][event.player] += event.score
    return {
        (period, start, game, player): {
            "period": period,
            "period_start": start,
            "game_id": game,
            "player_id": player,
            "rank": rank,
            "score": score,
        }
        for (period, start, game), board in scores.items()
        for rank, player, score in ranked(board)
    }
