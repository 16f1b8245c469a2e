{{ config(
    alias='dim_store',
    unique_key='store_key',
    properties={'format': "'PARQUET'"},
    meta={'has_merge_action': true},
) }}

{{ rawg_dimension('store', ['domain']) }}
