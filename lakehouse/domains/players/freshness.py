"""How far what is served is behind what was accepted: by offsets alone, no record is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lakehouse.adapters.kafka.client import describe_topic, group_positions, offsets_at, open_admin
from lakehouse.adapters.postgres.client import open_postgres
from lakehouse.naming import GAME_LEADERBOARDS, PLAYER_EVENTS_TOPIC, PLAYER_STATISTICS, STATISTICS_GROUP_ID

if TYPE_CHECKING:
    from lakehouse.settings import Settings


def overdue(settings: Settings, seconds: float) -> dict[str, int]:
    """Records by topic that have been there for longer, and that nobody has taken.

    Of the events themselves the job that counts says where it is with each checkpoint, and the sink of what that job
    tells.

    Args:
        settings: Where everything is.
        seconds: How long they may wait.

    Raises:
        LakehouseError: the brokers or PostgreSQL do not answer.
    """
    admin, at = open_admin(settings), datetime.now(UTC) - timedelta(seconds=seconds)
    with open_postgres(settings, "freshness") as connection, connection, connection.cursor() as cursor:
        cursor.execute("select topic, partition, position from players.positions")
        served = {(topic, partition): position for topic, partition, position in cursor.fetchall()}
    waiting = {}
    for topic in (PLAYER_EVENTS_TOPIC.name, PLAYER_STATISTICS.name, GAME_LEADERBOARDS.name):
        state = describe_topic(admin, topic)
        if state is None:
            continue
        taken = {partition: position for (name, partition), position in served.items() if name == topic}
        if topic == PLAYER_EVENTS_TOPIC.name:
            taken = group_positions(admin, STATISTICS_GROUP_ID, topic, state.partitions)
        due = offsets_at(admin, topic, state.partitions, at)
        waiting[topic] = sum(
            max(0, due.get(partition, bounds.end) - taken.get(partition, bounds.low))
            for partition, bounds in state.partitions.items()
        )
    return {topic: count for topic, count in waiting.items() if count}
