{{ config(
    alias='dim_genre',
    unique_key='genre_key',
    properties={'format': "'PARQUET'"},
    meta={'has_merge_action': true},
) }}

{{ rawg_dimension('genre', []) }}
