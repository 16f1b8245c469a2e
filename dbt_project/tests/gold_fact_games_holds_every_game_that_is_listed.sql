{# Silver and gold know of the same games. #}
with counted as (
    select
        (select count(*) from {{ ref('silver_rawg_games') }} where is_listed) as silver_games,
        (select count(*) from {{ ref('gold_fact_games') }}) as fact_games
)

select *
from counted
where silver_games <> fact_games
