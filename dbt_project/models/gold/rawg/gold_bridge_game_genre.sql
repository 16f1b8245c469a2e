{{ config(
    alias='bridge_game_genre',
    unique_key=['game_key', 'genre_key'],
    properties={'format': "'PARQUET'"},
    meta={'has_merge_action': true},
) }}

{{ rawg_bridge('genre', 'genres', 'genre_id') }}
