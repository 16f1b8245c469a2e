{{ config(
    alias='pgr_funnel_daily',
    unique_key=['event_date', 'tenant_id', 'ward_id', 'channel'],
    properties={'format': "'PARQUET'"},
    meta={'has_merge_action': true},
) }}

{%- set read = plan_read(ref('silver_pgr_events'), through=ref('gold_pgr_case_lifecycle')) %}
{%- set stages = ['submitted', 'assigned', 'resolved', 'closed', 'rejected', 'reopened'] %}
{%- set of_day = [
    'events', 'cases_submitted', 'cases_assigned', 'cases_resolved', 'cases_closed', 'cases_rejected', 'cases_reopened',
] %}
{%- set of_cohort = [
    'cohort_cases', 'cohort_assigned', 'cohort_resolved', 'cohort_closed', 'cohort_rejected', 'cohort_reopened',
    'cohort_met_sla', 'cohort_breached_sla',
] %}
{%- set group_key = ['event_date', 'tenant_id', 'ward_id', 'channel'] %}

with lifecycle as (
    select * from {{ ref('gold_pgr_case_lifecycle') }}
),

{% if read.is_partial -%}
new_events as (
    {{ changed_rows(read, ['event_date', 'tenant_id', 'entity_id']) }}
),

touched_cases as (
    select
        touched.tenant_id,
        touched.entity_id,
        {{ utc_date('lifecycle.first_event_at') }} as first_date,
        {{ utc_date('lifecycle.last_event_at') }} as last_date
    from (
        select distinct
            tenant_id,
            entity_id
        from new_events
    ) as touched
    inner join lifecycle
        on
            touched.tenant_id = lifecycle.tenant_id
            and touched.entity_id = lifecycle.entity_id
),

{# What a new event can change elsewhere: the cohort of any day the case was submitted on, and the group of events
   that take ward or channel from their case. All groups of such a day and tenant are computed again. -#}
affected_days as (
    select
        event_date,
        tenant_id
    from new_events

    union distinct

    select
        events.event_date,
        events.tenant_id
    from {{ at_end(read) }} as events
    inner join touched_cases
        on
            events.tenant_id = touched_cases.tenant_id
            and events.entity_id = touched_cases.entity_id
            and events.event_date between touched_cases.first_date and touched_cases.last_date
    where events.stage = 'submitted' or events.ward_id is null or events.channel is null
),

{% endif -%}
day_events as (
    select
        events.event_date,
        events.tenant_id,
        coalesce(events.ward_id, lifecycle.ward_id, 'UNKNOWN') as ward_id,
        coalesce(events.channel, lifecycle.channel, 'UNKNOWN') as channel,
        events.entity_id,
        events.stage
    from {{ at_end(read) }} as events
    {%- if read.is_partial %}
    inner join affected_days
        on
            events.event_date = affected_days.event_date
            and events.tenant_id = affected_days.tenant_id
    {%- endif %}
    left join lifecycle
        on
            events.tenant_id = lifecycle.tenant_id
            and events.entity_id = lifecycle.entity_id
),

activity as (
    select
        {{ group_key | join(', ') }},
        count(*) as events,
        {% for stage in stages -%}
        count(distinct if(stage = '{{ stage }}', entity_id)) as cases_{{ stage }}{{ ',' if not loop.last }}
        {% endfor %}
    from day_events
    group by {{ group_key | join(', ') }}
),

submitted_cases as (
    select
        {{ utc_date('lifecycle.submitted_at') }} as event_date,
        lifecycle.tenant_id,
        coalesce(lifecycle.ward_id, 'UNKNOWN') as ward_id,
        coalesce(lifecycle.channel, 'UNKNOWN') as channel,
        lifecycle.first_assigned_at,
        lifecycle.last_resolved_at,
        lifecycle.closed_at,
        lifecycle.rejected_at,
        lifecycle.reopen_count,
        lifecycle.is_sla_breached
    from lifecycle
    {%- if read.is_partial %}
    inner join affected_days
        on
            {{ utc_date('lifecycle.submitted_at') }} = affected_days.event_date
            and lifecycle.tenant_id = affected_days.tenant_id
    {%- endif %}
    where lifecycle.submitted_at is not null
),

cohorts as (
    select
        {{ group_key | join(', ') }},
        count(*) as cohort_cases,
        count_if(first_assigned_at is not null) as cohort_assigned,
        count_if(last_resolved_at is not null) as cohort_resolved,
        count_if(closed_at is not null) as cohort_closed,
        count_if(rejected_at is not null) as cohort_rejected,
        count_if(reopen_count > 0) as cohort_reopened,
        count_if(not is_sla_breached) as cohort_met_sla,
        count_if(is_sla_breached) as cohort_breached_sla
    from submitted_cases
    group by {{ group_key | join(', ') }}
),

counted as (
    select
        {{ group_key | join(', ') }},
        {{ of_day | join(', ') }},
        {% for column in of_cohort -%}
        0 as {{ column }}{{ ',' if not loop.last }}
        {% endfor %}
    from activity

    union all

    select
        {{ group_key | join(', ') }},
        {% for column in of_day -%}
        0 as {{ column }},
        {% endfor %}
        {{ of_cohort | join(', ') }}
    from cohorts

    {%- if is_incremental() %}

    union all

    {# What the table holds takes part with nothing, so that a group that has nothing left is seen. #}
    select
        {% for column in group_key -%}
        held.{{ column }},
        {% endfor %}
        {% for column in of_day + of_cohort -%}
        0 as {{ column }}{{ ',' if not loop.last }}
        {% endfor %}
    from {{ this }} as held
    {%- if read.is_partial %}
    inner join affected_days
        on
            held.event_date = affected_days.event_date
            and held.tenant_id = affected_days.tenant_id
    {%- endif %}
    {%- endif %}
),

funnel as (
    select
        {{ group_key | join(', ') }},
        {% for column in of_day + of_cohort -%}
        sum({{ column }}) as {{ column }}{{ ',' if not loop.last }}
        {% endfor %}
    from counted
    group by {{ group_key | join(', ') }}
)

select
    funnel.*,
    {{ audit_columns(read) }}
    {%- if is_incremental() %},
    if(funnel.events = 0 and funnel.cohort_cases = 0, 'delete', 'upsert') as _merge_action
    {%- endif %}
from funnel
