"""What is served, corrected by the lake.

The job that counts knows an event again for a day. One that comes again later is counted again, until it is corrected
here: PostgreSQL then knows what to take off all that the job tells of that player or board. Scores of boards that the
job has forgotten are in the lake alone, until they are brought in here, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from lakehouse.domains.players.cache import IS_ON_BOARD, Score, Totals
from lakehouse.domains.players.lake import settled_lake
from lakehouse.domains.players.rebuild import KNOWS_BETTER, KNOWS_SCORE_BETTER, TAKE_SCORES, TAKE_STATISTICS, offered

if TYPE_CHECKING:
    from lakehouse.settings import Settings

TELL_STATISTICS = f"""
insert into players.corrections (what, was, becomes)
select 'total of ' || player_id, old.total_events, lake.total_events
from new_statistics as lake join players.player_statistics as old using (player_id)
where {KNOWS_BETTER}
"""
TELL_SCORES = f"""
insert into players.corrections (what, was, becomes)
select 'score of ' || concat_ws(', ', player_id, game_id, period, period_start), old.score, lake.score
from new_scores as lake join players.scores as old using (game_id, period, period_start, player_id)
where {KNOWS_SCORE_BETTER}
"""


@dataclass(frozen=True)
class Corrected:
    """How much was not as the lake says."""

    totals: int
    scores: int


def correct(settings: Settings) -> Corrected:
    """Bring totals and scores to what the lake says, where it knows better; the sink waits meanwhile.

    Raises:
        LakehouseError: the catalog, PostgreSQL or Redis does not answer.
    """
    with offered(settings, settled_lake(settings)) as (connection, cursor, cache, batch):
        for statement in (TELL_STATISTICS, TELL_SCORES):
            cursor.execute(statement)
        cursor.execute(f"{TAKE_STATISTICS} returning {', '.join(Totals.__struct_fields__)}")
        totals = [Totals(*row) for row in cursor.fetchall()]
        cursor.execute(f"{TAKE_SCORES} returning {', '.join(Score.__struct_fields__)}, {IS_ON_BOARD}")
        scores = [
            score if is_on_board else msgspec.structs.replace(score, score=None)
            for *row, is_on_board in cursor.fetchall()
            for score in [Score(*row)]
        ]
        now = datetime.now(UTC)
        if cache.batch() == batch - 1:
            cache.write(totals, scores, batch, now, anew=True)
        else:
            cache.rebuild(connection, batch, now)
    return Corrected(len(totals), len(scores))
