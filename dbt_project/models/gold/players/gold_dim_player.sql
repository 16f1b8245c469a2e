{{ config(
    alias='dim_player',
    unique_key='player_id',
    properties={'format': "'PARQUET'"},
    meta={'has_merge_action': true},
) }}

{%- set read = plan_read(ref('silver_player_events'), through=ref('gold_fact_player_daily')) %}

with
{% if read.is_partial -%}
touched_players as (
    select distinct player_id
    from ({{ changed_rows(read, ['player_id']) }})
),

{% endif -%}
players as (
    select
        facts.player_id,
        min(facts.first_event_at) as first_event_at,
        max(facts.last_event_at) as last_event_at,
        count(distinct facts.date_key) as active_days,
        count(distinct facts.game_id) as games,
        sum(facts.sessions) as sessions,
        sum(facts.events) as events
    from {{ ref('gold_fact_player_daily') }} as facts
    {%- if read.is_partial %}
    inner join touched_players on facts.player_id = touched_players.player_id
    {%- endif %}
    group by facts.player_id
)

select
    players.*,
    {{ audit_columns(read) }}
    {%- if is_incremental() %},
    'upsert' as _merge_action
    {%- endif %}
from players
{%- if is_incremental() and not read.is_partial %}

{{ union_held_in_excess('players', ['player_id']) }}
{%- endif %}
