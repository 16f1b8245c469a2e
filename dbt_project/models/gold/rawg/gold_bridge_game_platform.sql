{{ config(
    alias='bridge_game_platform',
    unique_key=['game_key', 'platform_key'],
    properties={'format': "'PARQUET'"},
    meta={'has_merge_action': true},
) }}

{# Of a platform that a game names twice the first date counts. #}
{%- set dated = 'filter(known.members, one -> one.platform_id = link.member_id and one.release_date is not null)' %}

{{ rawg_bridge('platform', 'platforms', 'platform_id', {'release_date': 'element_at(' ~ dated ~ ', 1).release_date'}) }}
