{{ config(
    alias='rawg_games',
    unique_key='game_id',
    properties={'format': "'PARQUET'"},
    meta={
        'has_merge_action': true,
        'merge_update_when': rawg_version_rank('DBT_INTERNAL_SOURCE') ~ ' >= ' ~ rawg_version_rank('DBT_INTERNAL_DEST'),
    },
) }}

{#
    The newest version of each game is found without its payload, which is read again for these alone: a first load would
    not fit into memory otherwise. A game that is gone stays as a row without content, so that an older version that
    comes late does not bring it back.
#}

{%- set read = plan_rawg_games() %}
{%- set carried = [
    'updated_at', 'change', 'merged_into', 'release_date', 'content_hash', 'pull_window', 'pull_id', 'source_url',
    'fetched_at', 'ingested_at',
] %}
{%- set scalars = {
    'slug': 'varchar', 'name': 'varchar', 'rating': 'decimal(4, 2)', 'rating_top': 'integer', 'ratings_count': 'bigint',
    'reviews_count': 'bigint', 'reviews_text_count': 'bigint', 'added': 'bigint', 'metacritic': 'integer',
    'suggestions_count': 'bigint', 'background_image': 'varchar',
} %}
{%- set documents = {
    'ratings': 'array(row(id bigint, title varchar, count bigint, percent decimal(5, 2)))',
    'added_by_status': 'map(varchar, bigint)',
    'platforms': 'array(row(platform row(id bigint, name varchar, slug varchar), released_at varchar,'
        ~ ' requirements_en json, requirements_ru json, requirements json))',
    'parent_platforms': 'array(row(platform row(id bigint, name varchar, slug varchar)))',
    'stores': 'array(row(store row(id bigint, name varchar, slug varchar, domain varchar)))',
    'genres': 'array(row(id bigint, name varchar, slug varchar))',
    'tags': 'array(row(id bigint, name varchar, slug varchar, language varchar))',
} %}

with versions as (
    {{ changed_rows(read, ['game_id', 'raw_payload'] + carried) }}
),

newest as (
    select
        game_id,
        max({{ rawg_version_rank('versions') }}) as version_rank
    from versions
    group by game_id
),

current_versions as (
    select
        versions.*,
        {{ rawg_fields('versions.raw_payload') }} as fields
    from versions
    inner join newest
        on
            versions.game_id = newest.game_id
            and {{ rawg_version_rank('versions') }} = newest.version_rank
),

typed as (
    select
        *,
        {% for field, type in scalars.items() -%}
        {{ rawg_scalar(field, type) }} as {{ field }},
        {% endfor -%}
        {{ rawg_scalar('playtime', 'integer') }} as playtime_hours,
        {{ rawg_scalar('tba', 'boolean') }} as is_tba,
        nullif(greatest({{ rawg_scalar('esrb_rating', 'bigint', '$.id') }}, 0), 0) as esrb_rating_id,
        {% for field, type in documents.items() -%}
        {{ rawg_document(field, type) }} as {{ field }}_given{{ ',' if not loop.last }}
        {% endfor %}
    from current_versions
),

winners as (
    select
        game_id,
        {{ carried | join(', ') }},
        change = 'seen' as is_listed,
        {{ scalars | join(', ') }},
        playtime_hours,
        coalesce(is_tba, false) as is_tba,
        transform(
            filter(ratings_given, one -> one.id > 0),
            one -> cast(
                row(one.id, one.title, one.count, one.percent)
                as row(rating_id bigint, title varchar, count bigint, percent decimal(5, 2))
            )
        ) as ratings,
        added_by_status_given as added_by_status,
        transform(
            filter(platforms_given, one -> one.platform.id > 0),
            one -> cast(
                row(
                    one.platform.id,
                    one.platform.name,
                    one.platform.slug,
                    try_cast(one.released_at as date),
                    coalesce(
                        {{ rawg_requirements('one.requirements_en') }},
                        {{ rawg_requirements('one.requirements') }}
                    ),
                    {{ rawg_requirements('one.requirements_ru') }}
                ) as row(
                    platform_id bigint,
                    name varchar,
                    slug varchar,
                    release_date date,
                    requirements_en row(minimum varchar, recommended varchar),
                    requirements_ru row(minimum varchar, recommended varchar)
                )
            )
        ) as platforms,
        transform(
            filter(parent_platforms_given, one -> one.platform.id > 0),
            one -> cast(
                row(one.platform.id, one.platform.name, one.platform.slug)
                as row(platform_id bigint, name varchar, slug varchar)
            )
        ) as parent_platforms,
        transform(
            filter(stores_given, one -> one.store.id > 0),
            one -> cast(
                row(one.store.id, one.store.name, one.store.slug, one.store.domain)
                as row(store_id bigint, name varchar, slug varchar, domain varchar)
            )
        ) as stores,
        transform(
            filter(genres_given, one -> one.id > 0),
            one -> cast(row(one.id, one.name, one.slug) as row(genre_id bigint, name varchar, slug varchar))
        ) as genres,
        transform(
            filter(tags_given, one -> one.id > 0),
            one -> cast(
                row(one.id, one.name, one.slug, one.language)
                as row(tag_id bigint, name varchar, slug varchar, language varchar)
            )
        ) as tags,
        esrb_rating_id,
        filter(
            array[
                {% for field in scalars -%}
                {{ rawg_if_unreadable(field, field) }},
                {% endfor -%}
                {{ rawg_if_unreadable('playtime', 'playtime_hours') }},
                {{ rawg_if_unreadable('tba', 'is_tba') }},
                {% for field in documents -%}
                {{ rawg_if_unreadable(field, field ~ '_given') }},
                {% endfor -%}
                {{ rawg_if_unreadable('esrb_rating', 'esrb_rating_id') }},
                if(
                    any_match(
                        platforms_given,
                        one -> not coalesce(one.platform.id > 0, false)
                        or (one.released_at <> '' and try_cast(one.released_at as date) is null)
                    ),
                    'platforms'
                ),
                if(
                    any_match(parent_platforms_given, one -> not coalesce(one.platform.id > 0, false)),
                    'parent_platforms'
                ),
                if(any_match(stores_given, one -> not coalesce(one.store.id > 0, false)), 'stores'),
                if(any_match(genres_given, one -> not coalesce(one.id > 0, false)), 'genres'),
                if(fields is null and raw_payload is not null, 'raw_payload'),
                if(any_match(tags_given, one -> not coalesce(one.id > 0, false)), 'tags')
            ],
            one -> one is not null
        ) as unreadable_fields
    from typed
)

{{ merge_winners(read, 'game_id', carried + [
    'is_listed'] + scalars | list + ['playtime_hours', 'is_tba', 'ratings', 'added_by_status',
    'platforms', 'parent_platforms', 'stores', 'genres', 'tags', 'esrb_rating_id', 'unreadable_fields',
]) }}
