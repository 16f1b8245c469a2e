{# What RAWG's items mean. #}

{#
    The order in which versions of a game compete, as text; the greatest wins, whatever run saw it first. What RAWG says
    of its own clock comes before ours: a page that was read late does not bring an older version back. A game that was
    found to be gone keeps the `updated` of its last version, and so comes after it.
#}
{% macro rawg_version_rank(relation) -%}
    concat(
        coalesce(cast({{ relation }}.updated_at at time zone 'UTC' as varchar), ''), chr(31),
        coalesce(cast({{ relation }}.fetched_at at time zone 'UTC' as varchar), ''), chr(31),
        {{ relation }}.pull_id, chr(31),
        {{ relation }}.change, chr(31),
        coalesce({{ relation }}.content_hash, '')
    )
{%- endmacro %}

{#
    The order in which mentions of a member (a platform, a tag) compete, as text; the greatest wins. One with a name comes
    before one without, then the one that was read last.
#}
{% macro rawg_mention_rank(relation) -%}
    concat(
        if({{ relation }}.name is null, '0', '1'),
        coalesce(cast({{ relation }}.named_at at time zone 'UTC' as varchar), ''), chr(31),
        lpad(cast({{ relation }}.named_by_game_id as varchar), 19, '0')
        {%- for column in ['name', 'slug', 'language', 'domain', 'year_start', 'year_end'] %},
        chr(31), coalesce(cast({{ relation }}.{{ column }} as varchar), '')
        {%- endfor %}
    )
{%- endmacro %}

{#
    An item's fields by name; null where it is no object. It is parsed here, and once: a path into the whole item would
    read all of it again for each field.
#}
{% macro rawg_fields(payload) -%} try_cast(try(json_parse({{ payload }})) as map(varchar, json)) {%- endmacro %}

{#
    A field of an item's `fields`, typed; null where it is absent, null, or of another shape. Fields of rows go by their
    names.
#}
{% macro rawg_document(field, type) -%} try_cast(element_at(fields, '{{ field }}') as {{ type }}) {%- endmacro %}
{% macro rawg_scalar(field, type, path='$') -%}
    try_cast(json_extract_scalar(element_at(fields, '{{ field }}'), '{{ path }}') as {{ type }})
{%- endmacro %}

{# What a PC must have, of a JSON object; `{}` says nothing and is null. #}
{% macro rawg_requirements(document) -%}
    if(
        json_extract_scalar({{ document }}, '$.minimum') <> ''
        or json_extract_scalar({{ document }}, '$.recommended') <> '',
        cast(
            row(
                nullif(json_extract_scalar({{ document }}, '$.minimum'), ''),
                nullif(json_extract_scalar({{ document }}, '$.recommended'), '')
            ) as row(minimum varchar, recommended varchar)
        )
    )
{%- endmacro %}

{# Name of a field where the item has something there that could not be typed, else null. #}
{% macro rawg_if_unreadable(field, typed) -%}
    if(
        {{ typed }} is null
        and json_format(element_at(fields, '{{ field }}')) not in ('null', '""'),
        '{{ field }}'
    )
{%- endmacro %}

{# Id of the member that a game without any has. RAWG's own are above 0. #}
{% macro rawg_unknown() -%} bigint '-1' {%- endmacro %}

{# Weights have nine decimals, and those of a game sum to exactly 1. #}
{% macro rawg_weight(place, members) -%}
    cast(
        (
            1000000000 / {{ members }}
            + if({{ place }} <= 1000000000 % {{ members }}, 1, 0)
        ) * decimal '0.000000001' as decimal(10, 9)
    )
{%- endmacro %}

{# What is new in bronze. A game is of no day: a backfill of days builds what is new of it. #}
{% macro plan_rawg_games(through=none) -%}
    {{ return(plan_read(source('bronze', 'rawg_games'), through=through, day=none)) }}
{%- endmacro %}

{#
    The games that bronze has news of, with their key in gold. Gold asks bronze, and not silver, which games these are:
    silver is merged into, so its history does not tell.
#}
{% macro touched_rawg_games(plan) -%}
    select
        game_id,
        {{ surrogate_key(['game_id']) }} as game_key
    from ({{ changed_rows(plan, ['game_id']) }})
    group by game_id
{%- endmacro %}

{# A dimension: its members as RAWG last named them, and the unknown one. #}
{% macro rawg_dimension(kind, columns) -%}
with members as (
    select
        member_id as {{ kind }}_id,
        coalesce(name, slug, concat('{{ kind }} ', cast(member_id as varchar))) as name,
        slug
        {%- for column in columns %},
        {{ column }}
        {%- endfor %}
    from {{ ref('silver_rawg_members') }}
    where kind = '{{ kind }}'

    union all

    select
        {{ rawg_unknown() }} as {{ kind }}_id,
        'Unknown' as name,
        'unknown' as slug
        {%- for column in columns %},
        null as {{ column }}
        {%- endfor %}
),

keyed as (
    select
        {{ surrogate_key([kind ~ '_id']) }} as {{ kind }}_key,
        members.*
    from members
)

select
    keyed.*
    {%- if is_incremental() %},
    'upsert' as _merge_action
    {%- endif %}
from keyed
{%- if is_incremental() %}

{{ union_held_in_excess('keyed', [kind ~ '_key']) }}
{%- endif %}
{%- endmacro %}

{#
    A bridge: the games that RAWG lists, and the members of the list `members` (a lambda `id` says which field of an
    element `one` is the id). A member counts once, however often a game names it, and a game without any has the unknown
    one. Made anew are the games of which bronze has news.
#}
{% macro rawg_bridge(kind, members, id, extra={}) -%}
{%- set read = plan_rawg_games(through=ref('silver_rawg_games')) %}

with
{% if read.is_partial -%}
touched_games as (
    {{ touched_rawg_games(read) }}
),

{% endif -%}
games as (
    select
        games.game_id,
        games.{{ members }} as members,
        array_sort(array_distinct(transform(coalesce(games.{{ members }}, array[]), one -> one.{{ id }}))) as ids
    from {{ ref('silver_rawg_games') }} as games
    {%- if read.is_partial %}
    inner join touched_games on games.game_id = touched_games.game_id
    {%- endif %}
    where games.is_listed
),

known as (
    select
        game_id,
        members,
        if(cardinality(ids) = 0, array[{{ rawg_unknown() }}], ids) as ids
    from games
),

links as (
    select
        {{ surrogate_key(['known.game_id']) }} as game_key,
        {{ surrogate_key(['link.member_id']) }} as {{ kind }}_key,
        {{ rawg_weight('link.place', 'cardinality(known.ids)') }} as weight
        {%- for column, expression in extra.items() %},
        {{ expression }} as {{ column }}
        {%- endfor %}
    from known
    cross join unnest(known.ids) with ordinality as link (member_id, place)
)

select
    links.*,
    {{ audit_columns(read) }}
    {%- if is_incremental() %},
    'upsert' as _merge_action
    {%- endif %}
from links
{%- if is_incremental() %}

{{ union_held_in_excess('links', ['game_key', kind ~ '_key'], among='touched_games' if read.is_partial else none) }}
{%- endif %}
{%- endmacro %}
