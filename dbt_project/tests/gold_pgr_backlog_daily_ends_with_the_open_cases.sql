{# On its last day the backlog is what the lifecycle calls open, unless events are dated after today. #}
with cases as (
    select
        tenant_id,
        coalesce(ward_id, 'UNKNOWN') as ward_id,
        coalesce(channel, 'UNKNOWN') as channel,
        coalesce(current_status, 'UNKNOWN') as status,
        is_open,
        last_event_at
    from {{ ref('gold_pgr_case_lifecycle') }}
),

last_day as (
    select {{ utc_date('max(last_event_at)') }} as backlog_date from cases
),

counted as (
    select
        tenant_id,
        ward_id,
        channel,
        status,
        sum(open_cases) as open_cases
    from (
        select
            tenant_id,
            ward_id,
            channel,
            status,
            1 as open_cases
        from cases
        where is_open

        union all

        select
            tenant_id,
            ward_id,
            channel,
            status,
            -open_cases
        from {{ ref('gold_pgr_backlog_daily') }}
        where backlog_date = (select last_day.backlog_date from last_day)
    )
    group by tenant_id, ward_id, channel, status
)

select *
from counted
where
    open_cases <> 0
    and (select last_day.backlog_date from last_day) <= {{ today() }}
