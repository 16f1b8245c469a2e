{{ config(
    alias='leaderboard_history',
    unique_key=['period_start', 'period', 'game_id', 'player_id'],
    properties={'format': "'PARQUET'", 'partitioning': "ARRAY['month(period_start)']"},
    meta={'has_merge_action': true},
) }}

{#
    A week of a game is made anew as a whole, its own board and those of its days: where an event came that belongs
    there, and where a board may have closed since this table was written.
#}

{%- set read = plan_read(ref('silver_player_events'), through=ref('gold_fact_player_daily')) %}
{%- set board = ['period_start', 'period', 'game_id'] %}

with facts as (
    select
        date_key,
        date_trunc('week', date_key) as week_start_date,
        game_id,
        player_id,
        score
    from {{ ref('gold_fact_player_daily') }}
    where score_events > 0
),

{% if read.is_partial -%}
{% if is_incremental() -%}
written as (
    select date_trunc('week', {{ utc_date('max(_audit_loaded_at)') }}) as week_start_date
    from {{ this }}
),

{% endif -%}
affected_weeks as (
    select
        game_id,
        date_trunc('week', event_date) as week_start_date
    from ({{ changed_rows(read, ['game_id', 'event_date']) }})
    {%- if is_incremental() %}

    union distinct

    select
        facts.game_id,
        facts.week_start_date
    from facts
    inner join written on facts.date_key >= written.week_start_date
    {%- endif %}
),

{% endif -%}
scores as (
    select
        periods.period_start,
        periods.period,
        facts.game_id,
        facts.player_id,
        sum(facts.score) as score
    from facts
    {%- if read.is_partial %}
    inner join affected_weeks
        on
            facts.game_id = affected_weeks.game_id
            and facts.date_key >= affected_weeks.week_start_date
            and facts.date_key < date_add('day', 7, affected_weeks.week_start_date)
    {%- endif %}
    cross join unnest(
        array['daily', 'weekly'],
        array[facts.date_key, facts.week_start_date],
        array[date_add('day', 1, facts.date_key), date_add('day', 7, facts.week_start_date)]
    ) as periods (period, period_start, period_end)
    where periods.period_end <= {{ today() }}
    group by periods.period_start, periods.period, facts.game_id, facts.player_id
),

boards as (
    select
        {{ board | join(', ') }},
        player_id,
        row_number() over (partition by {{ board | join(', ') }} order by score desc, player_id asc) as rank,
        score
    from scores
)

select
    boards.*,
    {{ audit_columns(read) }}
    {%- if is_incremental() %},
    'upsert' as _merge_action
    {%- endif %}
from boards
{%- if is_incremental() and not read.is_partial %}

{{ union_held_in_excess('boards', board + ['player_id']) }}
{%- endif %}
