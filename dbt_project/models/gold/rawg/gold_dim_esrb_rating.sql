{{ config(
    alias='dim_esrb_rating',
    unique_key='esrb_rating_key',
    properties={'format': "'PARQUET'"},
    meta={'has_merge_action': true},
) }}

{{ rawg_dimension('esrb_rating', []) }}
