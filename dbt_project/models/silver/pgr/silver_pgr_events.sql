{{ config(
    alias='pgr_events',
    unique_key='event_id',
    properties={'format': "'PARQUET'", 'partitioning': "ARRAY['event_date']"},
    meta={
        'has_merge_action': true,
        'merge_update_when': event_rank('DBT_INTERNAL_SOURCE') ~ ' <= ' ~ event_rank('DBT_INTERNAL_DEST'),
    },
) }}

{%- set read = plan_read(source('bronze', 'service_events_raw'), catch_up=false) %}
{%- set carried = [
    'event_time', 'tenant_id', 'service', 'entity_type', 'entity_id', 'event_type', 'status', 'actor_type', 'actor_id',
    'channel', 'ward_id', 'locality_id', 'attributes_json', 'kafka_topic', 'kafka_partition', 'kafka_offset',
    'kafka_timestamp', 'ingested_at',
] %}
{%- set brought = [
    'event_date', 'event_time', 'tenant_id', 'service', 'entity_type', 'entity_id', 'event_type', 'stage', 'status',
    'status_after', 'actor_type', 'actor_id', 'channel', 'ward_id', 'locality_id', 'complaint_type', 'priority',
    'sla_hours', 'from_status', 'to_status', 'attributes_json', 'content_hash', 'kafka_topic', 'kafka_partition',
    'kafka_offset', 'kafka_timestamp', 'ingested_at',
] %}

with bronze as (
    {{ changed_rows(read, ['event_id'] + carried) }}
),

hashed as (
    select
        *,
        {{ event_id() }} as content_id,
        {{ json_object('attributes_json') }} as attributes
    from bronze
),

typed as (
    select
        {{ carried | join(', ') }},
        coalesce(event_id, content_id) as event_id,
        {{ utc_date('event_time') }} as event_date,
        {{ text_attribute('complaint_type') }} as complaint_type,
        upper({{ text_attribute('priority') }}) as priority,
        try_cast(trim(try_cast(element_at(attributes, 'sla_hours') as varchar)) as decimal(8, 2)) as sla_hours_given,
        upper({{ text_attribute('from_status') }}) as from_status,
        upper({{ text_attribute('to_status') }}) as to_status,
        from_big_endian_64(from_hex(substr(content_id, 1, 16))) as content_hash
    from hashed
),

interpreted as (
    select
        *,
        case
            when event_type = 'CaseSubmitted' then 'OPEN'
            when event_type in ('CaseAssigned', 'CaseReassigned') then 'ASSIGNED'
            when event_type = 'CaseResolved' then 'RESOLVED'
            when event_type = 'CaseRejected' then 'REJECTED'
            when event_type = 'CaseClosed' then 'CLOSED'
            when event_type = 'CaseReopened' then 'REOPENED'
            when event_type = 'StatusChanged' then coalesce(to_status, nullif(upper(trim(status)), ''))
        end as status_after
    from typed
),

ranked as (
    select
        *,
        case
            when event_type = 'CaseSubmitted' then 'submitted'
            when status_after in ('ASSIGNED', 'RESOLVED', 'REJECTED', 'CLOSED', 'CANCELLED', 'REOPENED')
                then lower(status_after)
        end as stage,
        if(sla_hours_given >= 0, sla_hours_given) as sla_hours,
        row_number() over (partition by event_id order by {{ event_rank('interpreted') }}) as place
    from interpreted
),

winners as (
    select
        event_id,
        {{ brought | join(', ') }}
    from ranked
    where place = 1
)

{{ merge_winners(read, 'event_id', brought) }}
