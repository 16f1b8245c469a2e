{{ config(
    alias='rawg_members',
    unique_key=['kind', 'member_id'],
    properties={'format': "'PARQUET'"},
    meta={
        'has_merge_action': true,
        'merge_update_when': rawg_mention_rank('DBT_INTERNAL_SOURCE') ~ ' >= ' ~ rawg_mention_rank('DBT_INTERNAL_DEST'),
    },
) }}

{#
    All versions of all games count, also those that have been replaced: the last mention is the newest name. A list is
    typed here where silver.rawg_games types it, too, so every member that a game has is known.
#}

{%- set read = plan_rawg_games() %}
{%- set named = ['name', 'slug', 'language', 'domain', 'year_start', 'year_end', 'named_at', 'named_by_game_id'] %}
{%- set kinds = {
    'platform': ('platforms', 'platform', 'array(row(platform row(id bigint, name varchar, slug varchar,'
        ~ ' year_start json, year_end json)))'),
    'store': ('stores', 'store', 'array(row(store row(id bigint, name varchar, slug varchar, domain varchar)))'),
    'genre': ('genres', none, 'array(row(id bigint, name varchar, slug varchar))'),
    'tag': ('tags', none, 'array(row(id bigint, name varchar, slug varchar, language varchar))'),
    'esrb_rating': ('esrb_rating', none, 'row(id bigint, name varchar, slug varchar)'),
} %}
{%- set only_of = {'language': 'tag', 'domain': 'store', 'year_start': 'platform', 'year_end': 'platform'} %}

with bronze as (
    {{ changed_rows(read, ['game_id', 'fetched_at', 'raw_payload']) }}
),

items as (
    select
        game_id,
        fetched_at,
        {{ rawg_fields('raw_payload') }} as fields
    from bronze
    where raw_payload is not null
),

typed as (
    select
        game_id,
        fetched_at,
        {% for kind, (field, within, type) in kinds.items() -%}
        {% if type.startswith('array') -%}
        {{ rawg_document(field, type) }} as {{ field }}
        {%- else -%}
        array[{{ rawg_document(field, type) }}] as {{ field }}
        {%- endif %}{{ ',' if not loop.last }}
        {% endfor %}
    from items
),

listed as (
    select
        game_id,
        fetched_at,
        {% for kind, (field, within, type) in kinds.items() -%}
        {%- set one = 'one.' ~ within if within else 'one' -%}
        transform(
            coalesce({{ field }}, array[]),
            one -> cast(
                row(
                    '{{ kind }}', {{ one }}.id, {{ one }}.name, {{ one }}.slug
                    {%- for column, holder in only_of.items() %},
                    {% if holder != kind -%} null
                    {%- elif kind == 'platform' -%} try_cast(json_format({{ one }}.{{ column }}) as integer)
                    {%- else -%} {{ one }}.{{ column }}
                    {%- endif %}
                    {%- endfor %}
                ) as row(
                    kind varchar, member_id bigint, name varchar, slug varchar, language varchar, domain varchar,
                    year_start integer, year_end integer
                )
            )
        )
        {%- if not loop.last %}
        ||
        {%- endif %}
        {% endfor %} as members
    from typed
),

mentions as (
    select
        mention.kind,
        mention.member_id,
        mention.name,
        mention.slug,
        mention.language,
        mention.domain,
        mention.year_start,
        mention.year_end,
        listed.fetched_at as named_at,
        listed.game_id as named_by_game_id
    from listed
    cross join unnest(listed.members)
        as mention (kind, member_id, name, slug, language, domain, year_start, year_end)
    where mention.member_id > 0
),

winners as (
    select
        kind,
        member_id,
        {% for column in named -%}
        max_by({{ column }}, {{ rawg_mention_rank('mentions') }}) as {{ column }}{{ ',' if not loop.last }}
        {% endfor %}
    from mentions
    group by kind, member_id
)

select
    winners.*,
    {{ audit_columns(read) }}
    {%- if is_incremental() %},
    '{{ 'replace' if read.mode == 'all' else 'upsert' }}' as _merge_action
    {%- endif %}
from winners
{%- if is_incremental() and not read.is_partial %}

{{ union_held_in_excess('winners', ['kind', 'member_id']) }}
{%- endif %}
