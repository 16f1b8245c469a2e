{{ config(
    alias='player_events',
    unique_key='event_id',
    properties={'format': "'PARQUET'", 'partitioning': "ARRAY['event_date']"},
    meta={
        'has_merge_action': true,
        'merge_update_when': player_event_rank('DBT_INTERNAL_SOURCE') ~ ' <= ' ~ player_event_rank('DBT_INTERNAL_DEST'),
    },
) }}

{#- Trino finds the files of a day by this cast; with the zone said, it would read all. Iceberg's times are in UTC. #}
{%- set read = plan_read(source('bronze', 'player_events'), catch_up=false, day='cast(event_time as date)') %}
{%- set carried = [
    'event_time', 'event_type', 'player_id', 'game_id', 'score', 'data', 'is_late_arrival', 'is_beyond_lateness',
    'kafka_topic', 'kafka_partition', 'kafka_offset', 'kafka_timestamp', 'ingested_at',
] %}

with bronze as (
    {{ changed_rows(read, ['event_id', 'erased_at'] + carried) }}
),

ranked as (
    select
        *,
        {{ utc_date('event_time') }} as event_date,
        row_number() over (partition by event_id order by {{ player_event_rank('bronze') }}) as place
    from bronze
    where erased_at is null
),

winners as (
    select
        event_id,
        event_date,
        {{ carried | join(', ') }}
    from ranked
    where place = 1
)

{{ merge_winners(read, 'event_id', ['event_date'] + carried) }}
