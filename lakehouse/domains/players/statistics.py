"""The job that counts: totals of each player and scores of each board, absolute, so that a reader needs the last only.

Each value carries a version, how many rows of bronze it is made of: after a failure older ones may come again, and a
reader keeps the highest. A job without state takes what bronze holds first, and its topic from there on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lakehouse.contracts.contract import Contract
from lakehouse.domains.players.boards import ALL_TIME, KEPT_DAYS, Period
from lakehouse.domains.players.contract import MOST_TYPES, PLAYER_EVENT, SCORE_EVENT
from lakehouse.naming import (
    GAME_LEADERBOARDS,
    PLAYER_EVENTS_TOPIC,
    PLAYER_STATISTICS,
    STATISTICS_GROUP_ID,
    TableName,
    Topic,
)
from lakehouse.streaming.statements import (
    Pipeline,
    Source,
    acknowledged,
    field_of,
    options_of,
    quoted,
    table_of,
    together,
)

COUNTER = "lakehouse.CountByKind"
"""Class of the function that counts events by type."""
FOREVER = "0 s"
_DAY = "CAST(event_time AS DATE)"


def _kept(constant: str, type_: str) -> str:
    """A constant of each score, in a form in which the planner keeps it in the keys that it groups by.

    It leaves out what it sees to be constant, finds the rest to be another key than the topic's, and has each change
    written as two messages, the first without a value.
    """
    return f"CAST(CASE WHEN game_id IS NOT NULL THEN {constant} END AS {type_})"


_BEGIN = {
    Period.DAILY: _DAY,
    # Flink counts days of a week from Sunday, as 1.
    Period.WEEKLY: f"TIMESTAMPADD(DAY, -MOD(DAYOFWEEK({_DAY}) + 5, 7), {_DAY})",
    Period.ALLTIME: _kept(f"DATE '{ALL_TIME}'", "DATE"),
}


@dataclass(frozen=True)
class Counting(Pipeline):
    """The players' topic, counted."""

    reads_tables: ClassVar[bool] = True

    @property
    def written_topics(self) -> Sequence[Topic]:
        """Totals and scores."""
        return (PLAYER_STATISTICS, GAME_LEADERBOARDS)

    @property
    def written_tables(self) -> Sequence[Contract]:
        """None."""
        return ()

    @property
    def settings(self) -> dict[str, str]:
        """Changes of a second go on together; each key is updated by one task, in order."""
        return {
            "execution.checkpointing.interval": "10 s",
            "table.exec.mini-batch.enabled": "true",
            "table.exec.mini-batch.allow-latency": "1 s",
            "table.exec.mini-batch.size": "20000",
            "table.exec.sink.upsert-materialize": "NONE",
        }

    def work(self, client: Mapping[str, str], snapshots: Mapping[TableName, int]) -> list[str]:
        """Count each event id once, of those that come within a day, in whatever order."""
        return [
            f"CREATE TEMPORARY FUNCTION count_by_kind AS {quoted(COUNTER)} LANGUAGE JAVA",
            statistics_table(client),
            leaderboards_table(client),
            events_view(self.source.contract, snapshots.get(self.source.contract.table)),
            scores_view(),
            together([statistics_insert(), *map(scores_insert, Period)]),
        ]


PIPELINE = Counting("player-stats", (Source(PLAYER_EVENT, PLAYER_EVENTS_TOPIC),), STATISTICS_GROUP_ID)


def events_view(contract: Contract, snapshot: int | None) -> str:
    """What the table held at a snapshot, and what comes: as often as in the table, else once.

    An event that came again after more than a day is in the table twice, and was counted twice; a job that begins with
    the table has to say the same, for what was counted again is taken off in what is served. Whether a repeat comes
    before or after the rows of the table makes no difference.
    """
    names = ("event_id", "event_time", "event_type", "player_id", "game_id", "score")
    held = ", ".join(names)
    coming = ", ".join(f"{field_of(contract, name)} AS {name}" for name in names)
    at = f" /*+ OPTIONS('snapshot-id' = '{snapshot}') */" if snapshot else ""
    same_id = "(PARTITION BY event_id ORDER BY came_at ROWS UNBOUNDED PRECEDING)"
    return f"""CREATE TEMPORARY VIEW events AS
SELECT * FROM (
  SELECT *, COUNT(*) OVER {same_id} AS place, SUM(is_held) OVER {same_id} AS held
  FROM (
    SELECT *, PROCTIME() AS came_at FROM (
      SELECT {held}, 1 AS is_held FROM {table_of(contract.table)}{at} WHERE erased_at IS NULL
      UNION ALL
      SELECT {coming}, 0 AS is_held FROM records WHERE parsed.error_type IS NULL
    )
  )
) WHERE place = 1 OR (is_held = 1 AND held > 1)"""


def scores_view() -> str:
    """What counts on the boards, with the name of each board and the begin of the period that it counts in."""
    boards = ", ".join(
        f"{_kept(quoted(period), 'STRING')} AS {period}_board, {begin} AS {period}" for period, begin in _BEGIN.items()
    )
    return f"""CREATE TEMPORARY VIEW scores AS
SELECT game_id, player_id, score, {boards}
FROM events WHERE event_type = {quoted(SCORE_EVENT)} AND score IS NOT NULL"""


def statistics_table(client: Mapping[str, str]) -> str:
    """Totals of each player."""
    return f"""CREATE TEMPORARY TABLE statistics (
  player_id STRING,
  total_events BIGINT,
  event_breakdown MAP<STRING, BIGINT>,
  first_event_at TIMESTAMP_LTZ(6),
  last_event_at TIMESTAMP_LTZ(6),
  version BIGINT,
  PRIMARY KEY (player_id) NOT ENFORCED
) WITH ({_upserts(PLAYER_STATISTICS, client, key_format="raw")})"""


def leaderboards_table(client: Mapping[str, str]) -> str:
    """Score of each player on each board."""
    return f"""CREATE TEMPORARY TABLE leaderboards (
  game_id STRING,
  `period` STRING,
  period_start DATE,
  player_id STRING,
  score BIGINT,
  version BIGINT,
  PRIMARY KEY (game_id, `period`, period_start, player_id) NOT ENFORCED
) WITH ({_upserts(GAME_LEADERBOARDS, client, key_format="json")})"""


def statistics_insert() -> str:
    """Totals, which never expire."""
    return f"""INSERT INTO statistics
SELECT /*+ STATE_TTL('events' = '{FOREVER}') */
  player_id, COUNT(*), count_by_kind(event_type, {MOST_TYPES}), MIN(event_time), MAX(event_time), COUNT(*)
FROM events GROUP BY player_id"""


def scores_insert(period: Period) -> str:
    """Sums of scores by game, player and period."""
    kept = f"{KEPT_DAYS[period]} d" if period in KEPT_DAYS else FOREVER
    return f"""INSERT INTO leaderboards
SELECT /*+ STATE_TTL('scores' = '{kept}') */
  game_id, {period}_board, {period}, player_id, SUM(score), COUNT(*)
FROM scores GROUP BY game_id, {period}_board, {period}, player_id"""


def _upserts(topic: Topic, client: Mapping[str, str], *, key_format: str) -> str:
    return options_of(
        {
            "connector": "upsert-kafka",
            "topic": topic.name,
            "key.format": key_format,
            "value.format": "json",
            "value.json.timestamp-format.standard": "ISO-8601",
            **acknowledged(client),
        }
    )
