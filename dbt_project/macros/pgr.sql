{# What the words of the PGR events mean. Silver says it once, in columns; gold only counts and compares. #}

{#
    Id of an event that brought none: SHA-256, in hex, over its content. The contract of bronze
    (lakehouse/domains/pgr/contract.py) says the same in Python; a test holds the two equal.
#}
{% macro event_id() -%}
    {{ surrogate_key([
        epoch_microseconds('event_time'), 'tenant_id', 'service', 'entity_type', 'entity_id', 'event_type', 'status',
        'actor_type', 'actor_id', 'channel', 'ward_id', 'locality_id', 'attributes_json',
    ]) }}
{%- endmacro %}

{#
    The order in which duplicates of an event compete, as text; the least wins, whatever run saw it first. Between those
    of the same place in Kafka, or of none, the content decides.
#}
{% macro event_rank(relation) -%}
    concat({{ coordinate_rank(relation) }}, chr(31), to_hex(to_big_endian_64({{ relation }}.content_hash)))
{%- endmacro %}

{# Text of a JSON object as a map(varchar, json); null where it is anything else. Never fails, whatever the text. #}
{% macro json_object(column) -%}
    try_cast(try(json_parse({{ column }})) as map(varchar, json))
{%- endmacro %}

{# A text attribute; null where it is absent, empty or no text. `attributes` is a map(varchar, json). #}
{% macro text_attribute(key) -%}
    if(
        starts_with(json_format(element_at(attributes, '{{ key }}')), '"'),
        nullif(trim(try_cast(element_at(attributes, '{{ key }}') as varchar)), '')
    )
{%- endmacro %}

{# Statuses in which nobody has to act on a case any more. #}
{% macro finished_statuses() -%} ('RESOLVED', 'CLOSED', 'REJECTED', 'CANCELLED') {%- endmacro %}

{# A case is open in any other status, also in none. #}
{% macro is_open(status) -%} coalesce({{ status }} not in {{ finished_statuses() }}, true) {%- endmacro %}

{# The order in which the events of a case count, whenever they arrived. #}
{% macro event_order() -%} event_time, {{ stage_rank('stage') }}, event_id {%- endmacro %}

{#
    What the events of a case say of it, as aggregates over its events numbered by `event_seq`. With `over`, a window
    that ends at an event, it is what they said up to that event.
#}
{% macro case_status(over='') -%}
    coalesce(
        max_by(status_after, if(status_after is not null, event_seq)) {{ over }},
        max_by(status, if(status is not null, event_seq)) {{ over }}
    )
{%- endmacro %}

{% macro case_dimension(name, over='') -%}
    coalesce(
        min_by({{ name }}, if(stage = 'submitted' and {{ name }} is not null, event_seq)) {{ over }},
        min_by({{ name }}, if({{ name }} is not null, event_seq)) {{ over }}
    )
{%- endmacro %}

{# Place of a stage among events of the same instant: the way a case goes, with reopening after what it reopens. #}
{% macro stage_rank(stage) -%}
    case {{ stage }}
        when 'submitted' then 1
        when 'assigned' then 2
        when 'resolved' then 3
        when 'rejected' then 4
        when 'closed' then 5
        when 'cancelled' then 6
        when 'reopened' then 7
        else 0
    end
{%- endmacro %}
