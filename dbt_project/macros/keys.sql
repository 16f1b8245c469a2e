{# Hash over columns, for a one-column key. Injective: values are joined by a separator, and null is told from ''. #}
{% macro surrogate_key(columns) -%}
    lower(to_hex(sha256(to_utf8(concat(
        '', {# Trino concatenates two or more. #}
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

{#
    A record's place in Kafka as text, the earliest first; records that did not come through Kafka come after all others.
    (Text, because Trino compares no rows with nulls inside, and an unmatched row of a MERGE is all nulls.)
#}
{% macro coordinate_rank(relation) -%}
    concat(
        coalesce(cast({{ relation }}.kafka_timestamp at time zone 'UTC' as varchar), '~'), chr(31),
        coalesce({{ relation }}.kafka_topic, '~'), chr(31),
        coalesce(lpad(cast({{ relation }}.kafka_partition as varchar), 10, '0'), '~'), chr(31),
        coalesce(lpad(cast({{ relation }}.kafka_offset as varchar), 19, '0'), '~')
    )
{%- endmacro %}
