{{ config(
    alias='dim_platform',
    unique_key='platform_key',
    properties={'format': "'PARQUET'"},
    meta={'has_merge_action': true},
) }}

{{ rawg_dimension('platform', ['year_start', 'year_end']) }}
