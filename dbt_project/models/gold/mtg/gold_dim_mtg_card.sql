{{ config(
    alias='dim_mtg_card',
    unique_key='card_key',
    properties={'format': "'PARQUET'"},
    meta={'has_merge_action': true},
) }}

{%- set read = plan_read(source('silver', 'mtg_cards')) %}
{%- set carried = [
    'uuid', 'set_code', 'name', 'face_name', 'side', 'number', 'rarity', 'layout', 'mana_cost', 'mana_value', 'type_line',
    'text', 'power', 'toughness', 'loyalty', 'artist', 'colors', 'color_identity', 'supertypes', 'types', 'subtypes',
    'keywords', 'finishes', 'availability', 'legalities', 'is_reprint', 'edhrec_rank', 'valid_from', 'valid_to',
    'is_current', 'version',
] %}

with versions as (
    {{ changed_rows(read, carried) }}
),

cards as (
    select
        {{ surrogate_key(['uuid', "cast(valid_from at time zone 'UTC' as date)"]) }} as card_key,
        {{ carried | join(', ') }}
    from versions
)

select
    cards.*,
    {{ audit_columns(read) }}
    {%- if is_incremental() %},
    'upsert' as _merge_action
    {%- endif %}
from cards
{%- if is_incremental() and not read.is_partial %}

{{ union_held_in_excess('cards', ['card_key']) }}
{%- endif %}
