{#
    Every date from `first_date` to `last_date` as `dates.name`, to be cross joined; no row where the first is after the
    last. In two steps, for Trino's `sequence` ends at 10,000 entries, and a clock that stands at 1970 makes more days.
#}
{% macro every_date(first_date, last_date, name) -%}
    unnest(
        if({{ first_date }} <= {{ last_date }}, sequence({{ first_date }}, {{ last_date }}, interval '1000' day))
    ) as thousands (first_of_thousand)
    cross join unnest(
        sequence(
            thousands.first_of_thousand,
            least(date_add('day', 999, thousands.first_of_thousand), {{ last_date }}),
            interval '1' day
        )
    ) as dates ({{ name }})
{%- endmacro %}

{# The day of the build (UTC). #}
{% macro today() -%} {{ utc_date('current_timestamp') }} {%- endmacro %}

{# The UTC day of a point in time. #}
{% macro utc_date(column) -%} cast({{ column }} at time zone 'UTC' as date) {%- endmacro %}

{#
    The days of gold.dim_date, both inclusive: the first games are of the 1950s, and some are announced for days far off. To
    have more, change them here: the next build adds what is missing.
#}
{% macro first_calendar_date() -%} date '1950-01-01' {%- endmacro %}
{% macro last_calendar_date() -%} date '2099-12-31' {%- endmacro %}
