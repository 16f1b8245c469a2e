{# Facts, players and silver know of the same events. #}
with counted as (
    select
        (select count(*) from {{ ref('silver_player_events') }}) as silver_events,
        (select coalesce(sum(events), 0) from {{ ref('gold_fact_player_daily') }}) as fact_events,
        (select coalesce(sum(events), 0) from {{ ref('gold_dim_player') }}) as player_events
)

select *
from counted
where silver_events <> fact_events or silver_events <> player_events
