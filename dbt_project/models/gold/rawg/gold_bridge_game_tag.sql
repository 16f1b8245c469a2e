{{ config(
    alias='bridge_game_tag',
    unique_key=['game_key', 'tag_key'],
    properties={'format': "'PARQUET'"},
    meta={'has_merge_action': true},
) }}

{{ rawg_bridge('tag', 'tags', 'tag_id') }}
