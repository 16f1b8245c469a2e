{{ config(
    alias='bridge_game_store',
    unique_key=['game_key', 'store_key'],
    properties={'format': "'PARQUET'"},
    meta={'has_merge_action': true},
) }}

{{ rawg_bridge('store', 'stores', 'store_id') }}
