{{ config(
    alias='dim_mtg_set',
    unique_key='set_code',
    properties={'format': "'PARQUET'"},
    meta={'has_merge_action': true},
) }}

{#- There are hundreds of sets: all are compared each time, and those that are others now are written. #}
{%- set read = plan_read(source('silver', 'mtg_sets')) %}

with sets as (
    select
        set_code,
        name as set_name,
        type as set_type,
        release_date,
        block,
        parent_code,
        base_set_size,
        total_set_size,
        tokens,
        keyrune_code,
        mtgo_code,
        is_online_only,
        is_foil_only,
        is_partial_preview,
        is_deleted,
        build_date
    from {{ at_end(read) }}
)

select
    sets.*,
    {{ audit_columns(read) }}
    {%- if is_incremental() %},
    'upsert' as _merge_action
    {%- endif %}
from sets
{%- if is_incremental() %}

{{ union_held_in_excess('sets', ['set_code']) }}
{%- endif %}
