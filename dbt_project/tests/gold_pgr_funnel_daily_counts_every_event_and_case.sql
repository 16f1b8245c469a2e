{# The groups of the funnel leave nothing out and count nothing twice. #}
with funnel as (
    select
        coalesce(sum(events), 0) as events,
        coalesce(sum(cohort_cases), 0) as cases
    from {{ ref('gold_pgr_funnel_daily') }}
),

counted as (
    select
        (select count(*) from {{ ref('silver_pgr_events') }}) as events,
        (select count(submitted_at) from {{ ref('gold_pgr_case_lifecycle') }}) as cases
)

select
    funnel.events as funnel_events,
    counted.events as silver_events,
    funnel.cases as funnel_cases,
    counted.cases as lifecycle_cases
from funnel
cross join counted
where funnel.events <> counted.events or funnel.cases <> counted.cases
