"""Who only repeated what somebody else had scored is on no board; indexes that no question needs are gone."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

VIEW = """
create or replace view players.leaderboards as
select game_id, player_id, period, period_start, rank::integer as rank, score, updated_at
from (
    select *, row_number() over (partition by game_id, period, period_start order by score desc, player_id) as rank
    from players.scores {where}
) as ranked
where rank <= 100
"""


def upgrade() -> None:
    """Rank those alone who have scored."""
    op.execute(VIEW.format(where="where version > repeated_events"))
    op.execute("drop index players.scores_of_player, players.players_by_last_event, players.events_of_game")
    # An update that changes nothing an index knows stays on its page, where there is room.
    op.execute("alter table players.player_statistics set (fillfactor = 70)")


def downgrade() -> None:
    """Rank everybody."""
    op.execute(VIEW.format(where=""))
    op.execute(
        "create index scores_of_player on players.scores (player_id); "
        "create index players_by_last_event on players.player_statistics (last_event_at desc); "
        "create index events_of_game on players.events (game_id, event_time desc); "
        "alter table players.player_statistics reset (fillfactor)"
    )
