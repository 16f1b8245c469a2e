{{ config(
    alias='fact_player_daily',
    unique_key=['date_key', 'game_id', 'player_id'],
    properties={'format': "'PARQUET'", 'partitioning': "ARRAY['month(date_key)']"},
    meta={'has_merge_action': true},
) }}

{#
    A session counts on the day that it begins, and goes on past midnight. So an event decides on its own day, and on
    the one that the session would end on if nothing came after it; and the first event of a day needs the last one of
    the day before.
#}

{%- set read = plan_read(ref('silver_player_events')) %}

with
{% if read.is_partial -%}
new_events as (
    {{ changed_rows(read, ['game_id', 'player_id', 'event_date', 'event_time']) }}
),

affected_days as (
    select
        game_id,
        player_id,
        event_date as date_key
    from new_events

    union distinct

    select
        game_id,
        player_id,
        {{ utc_date(session_end('event_time')) }} as date_key
    from new_events
),

days_to_read as (
    select
        game_id,
        player_id,
        date_key as event_date
    from affected_days

    union distinct

    select
        game_id,
        player_id,
        date_add('day', -1, date_key) as event_date
    from affected_days
),

{% endif -%}
sequenced as (
    select
        events.game_id,
        events.player_id,
        events.event_date as date_key,
        events.event_type,
        events.event_time,
        events.score,
        lag(events.event_time) over (
            partition by events.game_id, events.player_id
            order by events.event_time
        ) as previous_event_at
    from {{ at_end(read) }} as events
    {%- if read.is_partial %}
    inner join days_to_read
        on
            events.game_id = days_to_read.game_id
            and events.player_id = days_to_read.player_id
            and events.event_date = days_to_read.event_date
    {%- endif %}
),

by_type as (
    select
        date_key,
        game_id,
        player_id,
        event_type,
        count(*) as events,
        count_if(coalesce(event_time >= {{ session_end('previous_event_at') }}, true)) as sessions,
        count_if({{ is_score() }}) as score_events,
        sum(if({{ is_score() }}, score)) as score,
        min(event_time) as first_event_at,
        max(event_time) as last_event_at
    from sequenced
    group by date_key, game_id, player_id, event_type
),

facts as (
    select
        date_key,
        game_id,
        player_id,
        sum(events) as events,
        map_agg(event_type, events) as events_by_type,
        sum(sessions) as sessions,
        sum(score_events) as score_events,
        coalesce(sum(score), 0) as score,
        min(first_event_at) as first_event_at,
        max(last_event_at) as last_event_at
    from by_type
    group by date_key, game_id, player_id
)

select
    facts.*,
    {{ audit_columns(read) }}
    {%- if is_incremental() %},
    'upsert' as _merge_action
    {%- endif %}
from facts
{%- if read.is_partial %}
inner join affected_days
    on
        facts.date_key = affected_days.date_key
        and facts.game_id = affected_days.game_id
        and facts.player_id = affected_days.player_id
{%- elif is_incremental() %}

{{ union_held_in_excess('facts', ['date_key', 'game_id', 'player_id']) }}
{%- endif %}
