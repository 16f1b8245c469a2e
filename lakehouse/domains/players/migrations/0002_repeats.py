"""What was counted again, and is told no more."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REPEATS = """
alter table players.player_statistics add column repeats jsonb not null default '{}';
comment on column players.player_statistics.repeats is
    'Events by type that came again and were counted again: they are in the version, and in no total.';
create index players_with_repeats on players.player_statistics (player_id) where repeats <> '{}';
alter table players.scores
    add column repeated_events bigint not null default 0,
    add column repeated_score bigint not null default 0;
comment on column players.scores.repeated_events is
    'Scores that came again and were counted again: they are in the version.';
comment on column players.scores.repeated_score is 'Points of these, which are not in the score.';
create index scores_with_repeats on players.scores (game_id, period, period_start, player_id)
    where repeated_events > 0;

create table players.corrections (
    corrected_at timestamptz not null default now(),
    what text not null,
    was bigint,
    becomes bigint not null
);
comment on table players.corrections is
    'Totals and scores that were not what the lake says, because an event came again after more than a day.';
create index corrections_in_time on players.corrections (corrected_at desc);
"""


def upgrade() -> None:
    """Make room for it."""
    op.execute(REPEATS)


def downgrade() -> None:
    """Remove it."""
    op.execute(
        "drop table players.corrections; alter table players.player_statistics drop column repeats; "
        "alter table players.scores drop column repeated_events, drop column repeated_score"
    )
