{{ config(
    alias='dim_tag',
    unique_key='tag_key',
    properties={'format': "'PARQUET'"},
    meta={'has_merge_action': true},
) }}

{{ rawg_dimension('tag', ['language']) }}
