"""What comes of the players' events beside bronze: topics that Flink writes, and the stores that are read."""

from __future__ import annotations

import dagster as dg

from lakehouse import settings as settings_module
from lakehouse.domains.players.bronze import player_events_topic, refused_player_events
from lakehouse.naming import (
    GAME_LEADERBOARDS,
    PLAYER_EVENTS,
    PLAYER_EVENTS_PROCESSED,
    PLAYER_STATISTICS,
    Domain,
)
from lakehouse.orchestration.describe import describe_served, topic_spec
from lakehouse.orchestration.landing import RETRY

processed = topic_spec(
    PLAYER_EVENTS_PROCESSED, "Accepted events, typed, the first of each id; after a failure some come twice."
).replace_attributes(deps=[player_events_topic], kinds={"flink", "kafka"})
statistics = topic_spec(
    PLAYER_STATISTICS, "Totals of each player, absolute; of several the one with the highest version holds."
).replace_attributes(deps=[player_events_topic], kinds={"flink", "kafka"})
leaderboards = topic_spec(
    GAME_LEADERBOARDS, "Score of each player by game and period, absolute, with a version like that of totals."
).replace_attributes(deps=[player_events_topic], kinds={"flink", "kafka"})


def _served(store: str, name: str, description: str, *sources: dg.AssetSpec) -> dg.AssetSpec:
    return dg.AssetSpec(**describe_served(store, name, Domain.PLAYERS), deps=sources, description=description)


postgres_events = _served("postgres", "players_events", "Events of the last days, by player and by game.", processed)
postgres_statistics = _served("postgres", "players_player_statistics", "Totals of each player.", statistics)
postgres_leaderboards = _served("postgres", "players_leaderboards", "The first 100 of each board.", leaderboards)
postgres_refused = _served("postgres", "players_dlq_events", "Refused events, with reason.", refused_player_events)
redis_statistics = _served("redis", "player_stats", "Totals of each player, as a hash.", statistics)
redis_leaderboards = _served(
    "redis", "leaderboards", "Boards of the periods that are now, and closed ones.", leaderboards
)


@dg.asset(  # type: ignore[untyped-decorator]
    **describe_served("postgres", "players_corrections", Domain.PLAYERS),
    deps=[dg.AssetKey(PLAYER_EVENTS.key), postgres_statistics, postgres_leaderboards],
    description="Totals and scores that had counted an event again that came more than a day later: made right.",
    retry_policy=RETRY,
)
def corrections() -> dg.MaterializeResult[None]:
    """Bring what is served to what the lake says."""
    from lakehouse.domains.players.corrections import correct

    found = correct(settings_module.load())
    return dg.MaterializeResult(metadata={"totals": found.totals, "scores": found.scores})


ASSETS = (
    *(processed, statistics, leaderboards, postgres_events, postgres_statistics, postgres_leaderboards),
    *(postgres_refused, redis_statistics, redis_leaderboards, corrections),
)
