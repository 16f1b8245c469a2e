{{ config(
    alias='fact_games',
    unique_key='game_key',
    properties={'format': "'PARQUET'"},
    meta={'has_merge_action': true},
) }}

{%- set read = plan_rawg_games(through=ref('silver_rawg_games')) %}

with
{% if read.is_partial -%}
touched_games as (
    {{ touched_rawg_games(read) }}
),

{% endif -%}
facts as (
    select
        {{ surrogate_key(['games.game_id']) }} as game_key,
        games.game_id,
        games.slug,
        games.name,
        games.release_date as date_key,
        {{ surrogate_key(['coalesce(games.esrb_rating_id, ' ~ rawg_unknown() ~ ')']) }} as esrb_rating_key,
        games.is_tba,
        nullif(games.rating, 0) as rating,
        nullif(games.rating_top, 0) as rating_top,
        coalesce(games.ratings_count, 0) as ratings_count,
        coalesce(games.reviews_count, 0) as reviews_count,
        coalesce(games.reviews_text_count, 0) as reviews_text_count,
        games.metacritic,
        coalesce(games.added, 0) as added,
        {% for status in ['yet', 'owned', 'beaten', 'toplay', 'dropped', 'playing'] -%}
        coalesce(element_at(games.added_by_status, '{{ status }}'), 0) as added_{{ status }},
        {% endfor -%}
        games.playtime_hours,
        coalesce(games.suggestions_count, 0) as suggestions_count,
        games.updated_at
    from {{ ref('silver_rawg_games') }} as games
    {%- if read.is_partial %}
    inner join touched_games on games.game_id = touched_games.game_id
    {%- endif %}
    where games.is_listed
)

select
    facts.*,
    {{ audit_columns(read) }}
    {%- if is_incremental() %},
    'upsert' as _merge_action
    {%- endif %}
from facts
{%- if is_incremental() %}

{{ union_held_in_excess('facts', ['game_key'], among='touched_games' if read.is_partial else none) }}
{%- endif %}
