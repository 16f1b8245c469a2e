"""What applications read of the players."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
create table players.events (
    event_id text not null,
    event_date date not null,
    event_time timestamptz not null,
    event_type text not null,
    player_id text not null,
    game_id text not null,
    data jsonb,
    score bigint,
    kafka_partition integer not null,
    kafka_offset bigint not null,
    primary key (event_id, event_date)
) partition by range (event_date);
comment on table players.events is 'What players did, once an event id and day; days are dropped when they are old.';
create index events_of_player on players.events (player_id, event_time desc);
create index events_of_game on players.events (game_id, event_time desc);

create table players.player_statistics (
    player_id text primary key,
    total_events bigint not null,
    event_breakdown jsonb not null,
    first_event_at timestamptz not null,
    last_event_at timestamptz not null,
    version bigint not null,
    updated_at timestamptz not null default now()
);
comment on table players.player_statistics is 'Totals of each player; the version says of how many events they are.';
create index players_by_last_event on players.player_statistics (last_event_at desc);

create table players.scores (
    game_id text not null,
    period text not null check (period in ('daily', 'weekly', 'alltime')),
    period_start date not null,
    player_id text not null,
    score bigint not null,
    version bigint not null,
    updated_at timestamptz not null default now(),
    primary key (game_id, period, period_start, player_id)
);
comment on table players.scores is 'Whole boards; weeks begin on Monday, all time on 1970-01-01.';
create index scores_in_order on players.scores (game_id, period, period_start, score desc, player_id);
create index scores_of_player on players.scores (player_id);

create view players.leaderboards as
select game_id, player_id, period, period_start, rank::integer as rank, score, updated_at
from (
    select *, row_number() over (partition by game_id, period, period_start order by score desc, player_id) as rank
    from players.scores
) as ranked
where rank <= 100;
comment on view players.leaderboards is 'The first 100 of each board: higher scores, then lower player ids.';

create table players.dlq_events (
    origin text primary key,
    consumer_service text not null,
    error_type text not null,
    error_message text not null,
    original_event jsonb,
    original_payload bytea,
    failed_at timestamptz not null
);
comment on table players.dlq_events is 'Refused records by where they came from; as JSON where they are any.';
create index dlq_events_in_time on players.dlq_events (failed_at desc);

create table players.positions (
    topic text not null,
    partition integer not null,
    topic_id text not null,
    position bigint not null,
    primary key (topic, partition)
);
comment on table players.positions is 'Up to where the sink has read its topics, moved with what it read.';

create table players.sink (
    is_only boolean primary key default true check (is_only),
    batch bigint not null default 0,
    seen_at timestamptz not null default now()
);
comment on table players.sink is 'How many batches the sink has committed, and when it was last there.';
insert into players.sink default values;

create table players.api_keys (
    key_id text primary key,
    name text not null,
    scopes text[] not null,
    digest bytea not null,
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);
comment on table players.api_keys is 'Keys of the HTTP API: the SHA-256 of each, never the key.';
"""


def upgrade() -> None:
    """Make everything."""
    op.execute(TABLES)


def downgrade() -> None:
    """Remove everything."""
    op.execute(
        "drop view players.leaderboards; drop table players.events, players.player_statistics, players.scores, "
        "players.dlq_events, players.positions, players.sink, players.api_keys"
    )
