{{ config(
    alias='pgr_case_lifecycle',
    unique_key=['tenant_id', 'entity_id'],
    properties={'format': "'PARQUET'"},
    meta={'has_merge_action': true},
) }}

{%- set read = plan_read(ref('silver_pgr_events')) %}
{%- set dimensions = ['complaint_type', 'priority', 'sla_hours', 'ward_id', 'locality_id', 'channel'] %}
{%- set conflicts = [
    ('no_submission', 'submitted_at is null'),
    ('assigned_before_submitted', 'first_assigned_at < submitted_at'),
    ('resolved_before_submitted', 'first_resolved_at < submitted_at'),
    ('rejected_before_submitted', 'first_rejected_at < submitted_at'),
    ('closed_before_submitted', 'first_closed_at < submitted_at'),
    ('changed_after_closed', 'is_changed_after_closed'),
] %}

with touched_cases as (
    select
        tenant_id,
        entity_id,
        min(event_date) as first_date,
        max(event_date) as last_date
    from ({{ changed_rows(read, ['tenant_id', 'entity_id', 'event_date']) }})
    group by tenant_id, entity_id
),

{% if read.is_partial -%}
{#- A case's events lie between the first and the last known: so only these days of silver are read. #}
reach as (
    select
        touched_cases.tenant_id,
        touched_cases.entity_id,
        {% if is_incremental() -%}
        least(
            touched_cases.first_date,
            coalesce({{ utc_date('held.first_event_at') }}, touched_cases.first_date)
        ) as first_date,
        greatest(
            touched_cases.last_date,
            coalesce({{ utc_date('held.last_event_at') }}, touched_cases.last_date)
        ) as last_date
        {%- else -%}
        date '0001-01-01' as first_date,
        date '9999-12-31' as last_date
        {%- endif %}
    from touched_cases
    {%- if is_incremental() %}
    left join {{ this }} as held
        on
            touched_cases.tenant_id = held.tenant_id
            and touched_cases.entity_id = held.entity_id
    {%- endif %}
),

{% endif -%}
case_events as (
    select events.*
    from {{ at_end(read) }} as events
    {%- if read.is_partial %}
    inner join reach
        on
            events.tenant_id = reach.tenant_id
            and events.entity_id = reach.entity_id
            and events.event_date between reach.first_date and reach.last_date
    {%- endif %}
),

sequenced as (
    select
        *,
        row_number() over (
            partition by tenant_id, entity_id
            order by {{ event_order() }}
        ) as event_seq
    from case_events
),

in_context as (
    select
        *,
        coalesce(
            max(if(status_after not in {{ finished_statuses() }}, event_seq))
                over (partition by tenant_id, entity_id),
            0
        ) as last_open_seq,
        lag(stage) ignore nulls over (partition by tenant_id, entity_id order by event_seq) as previous_stage
    from sequenced
),

cases as (
    select
        tenant_id,
        entity_id,
        min_by(service, event_seq) as service,

        min(event_time) filter (where stage = 'submitted') as submitted_at,
        min(event_time) filter (where stage = 'assigned') as first_assigned_at,
        max(event_time) filter (where stage = 'resolved') as last_resolved_at,
        max(event_time) filter (where stage = 'closed') as closed_at,
        max(event_time) filter (where stage = 'rejected') as rejected_at,
        min(event_time) filter (
            where status_after in {{ finished_statuses() }} and event_seq > last_open_seq
        ) as finished_at,
        min(event_time) as first_event_at,
        max(event_time) as last_event_at,

        min(event_time) filter (where stage = 'resolved') as first_resolved_at,
        min(event_time) filter (where stage = 'rejected') as first_rejected_at,
        min(event_time) filter (where stage = 'closed') as first_closed_at,

        {{ case_status() }} as current_status,
        coalesce(bool_or(stage = 'resolved' and event_seq > last_open_seq), false) as has_standing_resolution,
        coalesce(bool_or(stage = 'closed' and event_seq > last_open_seq), false) as has_standing_closing,
        coalesce(
            bool_or(previous_stage = 'closed' and stage in ('assigned', 'resolved', 'rejected')), false
        ) as is_changed_after_closed,

        count(*) as event_count,
        greatest(
            count_if(event_type = 'CaseReopened'),
            count_if(event_type = 'StatusChanged' and stage = 'reopened')
        ) as reopen_count,
        count_if(event_type = 'CaseReassigned') as reassign_count,

        {% for dimension in dimensions -%}
        {{ case_dimension(dimension) }} as {{ dimension }}{{ ',' if not loop.last }}
        {% endfor %}
    from in_context
    group by tenant_id, entity_id
),

judged as (
    select
        *,
        {{ is_open('current_status') }} as is_open,
        date_add('second', cast(sla_hours * 3600 as bigint), submitted_at) as sla_due_at,
        concat_ws(
            ', ',
            {% for name, condition in conflicts -%}
            if({{ condition }}, '{{ name }}'){{ ',' if not loop.last }}
            {% endfor %}
        ) as conflict_reasons
    from cases
),

timed as (
    select
        *,
        coalesce(finished_at, last_event_at) as sla_measured_at
    from judged
),

lifecycle as (
    select
        {{ surrogate_key(['tenant_id', 'entity_id']) }} as case_id,
        tenant_id,
        entity_id,
        service,

        complaint_type,
        priority,
        ward_id,
        locality_id,
        channel,

        current_status,
        is_open,

        submitted_at,
        first_assigned_at,
        last_resolved_at,
        closed_at,
        rejected_at,
        finished_at,
        first_event_at,
        last_event_at,

        event_count,
        reopen_count,
        reassign_count,

        if(first_assigned_at >= submitted_at, date_diff('second', submitted_at, first_assigned_at))
            as time_to_assign_seconds,
        if(
            has_standing_resolution and last_resolved_at >= submitted_at,
            date_diff('second', submitted_at, last_resolved_at)
        ) as time_to_resolve_seconds,
        if(
            has_standing_closing and closed_at >= submitted_at,
            date_diff('second', submitted_at, closed_at)
        ) as time_to_close_seconds,

        sla_hours,
        sla_due_at,
        case
            when sla_measured_at > sla_due_at then true
            when finished_at <= sla_due_at then false
        end as is_sla_breached,
        case
            when sla_measured_at > sla_due_at then date_diff('second', sla_due_at, sla_measured_at)
            when finished_at <= sla_due_at then 0
        end as sla_breach_seconds,

        conflict_reasons <> '' as has_conflicting_events,
        nullif(conflict_reasons, '') as conflict_reason
    from timed
)

select
    lifecycle.*,
    {{ audit_columns(read) }}
    {%- if is_incremental() %},
    'upsert' as _merge_action
    {%- endif %}
from lifecycle

{%- if is_incremental() and read.mode == 'all' %}

{{ union_held_in_excess('(select distinct tenant_id, entity_id from case_events)', ['tenant_id', 'entity_id']) }}
{%- endif %}
