{# The schema is the layer exactly, so that dbt's and everyone else's table names meet. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ var('schema_prefix') }}{{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
