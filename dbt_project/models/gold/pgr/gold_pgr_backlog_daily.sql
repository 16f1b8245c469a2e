{{ config(
    alias='pgr_backlog_daily',
    unique_key=['backlog_date', 'tenant_id', 'ward_id', 'channel', 'status'],
    properties={'format': "'PARQUET'", 'partitioning': "ARRAY['month(backlog_date)']"},
    meta={'has_merge_action': true},
) }}

{#
    A day's backlog is that of the day before and what happened since. What a tenant's events were up to a day decides
    its backlog of that day, so a late event leaves all days before its own as they are: these are not read, and the
    last of them is where the count goes on.
#}

{%- set read = plan_read(ref('silver_pgr_events'), through=ref('gold_pgr_case_lifecycle')) %}
{%- set goes_on = read.is_partial and is_incremental() %}
{%- set group_key = ['tenant_id', 'ward_id', 'channel', 'status'] %}
{%- set up_to_the_event = 'over (partition by tenant_id, entity_id order by event_seq)' %}

with lifecycle as (
    select
        tenant_id,
        entity_id,
        {{ utc_date('first_event_at') }} as first_date,
        {{ utc_date('last_event_at') }} as last_date
    from {{ ref('gold_pgr_case_lifecycle') }}
),

horizon as (
    select least(max(last_date), {{ today() }}) as last_date
    from lifecycle
),

{% if goes_on -%}
held as (
    select * from {{ this }}
),

{# A tenant's first day that is to be counted: that of its earliest change, at the latest the first one not yet held. #}
beginnings as (
    select
        tenant_id,
        min(event_date) as first_date
    from (
        {{ changed_rows(read, ['tenant_id', 'event_date']) }}

        union all

        select
            tenants.tenant_id,
            first_missing.first_date
        from (
            select tenant_id from lifecycle
            union distinct
            select tenant_id from held
        ) as tenants
        cross join (
            select
                {% if read.mode == 'days' -%}
                least(
                    date '{{ read.first_day }}',
                    coalesce(date_add('day', 1, max(backlog_date)), date '0001-01-01')
                ) as first_date
                {%- else -%}
                coalesce(date_add('day', 1, max(backlog_date)), date '0001-01-01') as first_date
                {%- endif %}
            from held
        ) as first_missing
    )
    group by tenant_id
),

{% endif -%}
sequenced as (
    select
        events.*,
        row_number() over (
            partition by events.tenant_id, events.entity_id
            order by {{ event_order() }}
        ) as event_seq
    from {{ at_end(read) }} as events
    {%- if goes_on %}
    inner join lifecycle
        on
            events.tenant_id = lifecycle.tenant_id
            and events.entity_id = lifecycle.entity_id
            and events.event_date >= lifecycle.first_date
    inner join beginnings
        on
            lifecycle.tenant_id = beginnings.tenant_id
            and lifecycle.last_date >= beginnings.first_date
    {%- endif %}
),

told as (
    select
        tenant_id,
        event_date,
        lead(event_date) over (partition by tenant_id, entity_id order by event_seq) as next_date,
        {{ case_dimension('ward_id', up_to_the_event) }} as ward_id,
        {{ case_dimension('channel', up_to_the_event) }} as channel,
        {{ case_status(up_to_the_event) }} as status
    from sequenced
),

{# A case is in the group that the last event of a day leaves it in, until the day of its next event. #}
stays as (
    select
        tenant_id,
        coalesce(ward_id, 'UNKNOWN') as ward_id,
        coalesce(channel, 'UNKNOWN') as channel,
        coalesce(status, 'UNKNOWN') as status,
        event_date,
        next_date
    from told
    where
        {{ is_open('status') }}
        and coalesce(next_date > event_date, true)
),

moves as (
    select
        {{ group_key | join(', ') }},
        event_date as backlog_date,
        1 as cases
    from stays

    union all

    select
        {{ group_key | join(', ') }},
        next_date as backlog_date,
        -1 as cases
    from stays
    where next_date is not null
),

counted_moves as (
    {% if goes_on -%}
    select
        {% for column in group_key -%}
        moves.{{ column }},
        {% endfor -%}
        moves.backlog_date,
        moves.cases
    from moves
    inner join beginnings
        on
            moves.tenant_id = beginnings.tenant_id
            and moves.backlog_date >= beginnings.first_date

    union all

    select
        {% for column in group_key -%}
        held.{{ column }},
        {% endfor -%}
        beginnings.first_date as backlog_date,
        held.open_cases as cases
    from held
    inner join beginnings
        on
            held.tenant_id = beginnings.tenant_id
            and held.backlog_date = date_add('day', -1, beginnings.first_date)
    {%- else -%}
    select * from moves
    {%- endif %}
),

changes as (
    select
        {{ group_key | join(', ') }},
        backlog_date,
        sum(cases) as change
    from counted_moves
    group by {{ group_key | join(', ') }}, backlog_date
),

levels as (
    select
        {{ group_key | join(', ') }},
        backlog_date as first_date,
        lead(backlog_date) over (partition by {{ group_key | join(', ') }} order by backlog_date) as next_date,
        sum(change) over (partition by {{ group_key | join(', ') }} order by backlog_date) as open_cases
    from changes
),

lasting_levels as (
    select
        levels.*,
        least(coalesce(date_add('day', -1, levels.next_date), horizon.last_date), horizon.last_date) as last_date
    from levels
    cross join horizon
    where levels.open_cases > 0
),

days as (
    select
        dates.backlog_date,
        {% for column in group_key -%}
        lasting_levels.{{ column }},
        {% endfor -%}
        lasting_levels.open_cases
    from lasting_levels
    cross join {{ every_date('lasting_levels.first_date', 'lasting_levels.last_date', 'backlog_date') }}

    {%- if is_incremental() %}

    union all

    {# What the table holds takes part with nothing, so that a group that has nobody left is seen. #}
    select
        held.backlog_date,
        {% for column in group_key -%}
        held.{{ column }},
        {% endfor -%}
        0 as open_cases
    from {{ this }} as held
    {%- if goes_on %}
    inner join beginnings
        on
            held.tenant_id = beginnings.tenant_id
            and held.backlog_date >= beginnings.first_date
    {%- endif %}
    {%- endif %}
),

backlog as (
    select
        backlog_date,
        {{ group_key | join(', ') }},
        sum(open_cases) as open_cases
    from days
    group by backlog_date, {{ group_key | join(', ') }}
)

select
    backlog.*,
    {{ audit_columns(read) }}
    {%- if is_incremental() %},
    if(backlog.open_cases = 0, 'delete', 'upsert') as _merge_action
    {%- endif %}
from backlog
