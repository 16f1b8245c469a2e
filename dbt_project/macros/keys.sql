{# Hash over columns, for a one-column key. Injective: values are joined by a separator, and null is told from ''. #}
{% macro surrogate_key(columns) -%}
    lower(to_hex(sha256(to_utf8(concat(
        {%- for column in columns %}
        coalesce(cast({{ column }} as varchar), chr(30)){{ ', chr(31), ' if not loop.last }}
        {%- endfor %}
    )))))
{%- endmacro %}

{# Microseconds since 1970 of a timestamp(6) with time zone, exact over its whole range. #}
{% macro epoch_microseconds(column) -%}
    (
        date_diff('second', timestamp '1970-01-01 00:00:00 UTC', date_trunc('second', {{ column }})) * 1000000
        + cast(substr(cast({{ column }} at time zone 'UTC' as varchar), -10, 6) as bigint)
    )
{%- endmacro %}
