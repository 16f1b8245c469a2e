{#
    The MERGE of every incremental model, in place of dbt-trino's own, with two differences:

    - A row that holds the same values already is not written again. Rewriting it would cost a delete file, and with it
      the next reader's chance to read only what is new (see incremental.sql).
    - Models with `meta: {has_merge_action: true}` emit a column `_merge_action`: `delete` takes the row with this key
      out, `replace` and `upsert` bring the row in. The column is not stored. `meta: {merge_update_when: …}` is a
      condition that an `upsert` of a row already held must meet; a `replace` is not asked.

    The audit columns are not compared: they always differ. Where the model's columns are no longer the table's, the run
    stops and says so: rows written before could not have the new column, so only a full refresh is right.
#}
{% macro trino__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates) -%}
    {%- set meta = config.get('meta', {}) -%}
    {%- set has_action = meta.get('has_merge_action', false) -%}
    {%- set update_when = meta.get('merge_update_when') -%}
    {%- do require_same_columns(target, source, dest_columns, ['_merge_action'] if has_action else []) -%}
    {%- set keys = [unique_key] if unique_key is string else unique_key -%}
    {%- set matches = (incremental_predicates or []) | list -%}
    {%- for key in keys -%}
        {%- do matches.append('DBT_INTERNAL_SOURCE.' ~ key ~ ' = DBT_INTERNAL_DEST.' ~ key) -%}
    {%- endfor -%}
    {%- set columns = [] -%}
    {%- set compared = [] -%}
    {%- for column in dest_columns -%}
        {%- do columns.append(adapter.quote(column.name)) -%}
        {%- if column.name not in keys and not column.name.startswith('_audit_') -%}
            {%- do compared.append(adapter.quote(column.name)) -%}
        {%- endif -%}
    {%- endfor %}

    merge into {{ target }} as DBT_INTERNAL_DEST
    using {{ source }} as DBT_INTERNAL_SOURCE
    on {{ matches | join(' and ') }}
    {% if has_action -%}
    when matched and DBT_INTERNAL_SOURCE._merge_action = 'delete' then delete
    {% endif -%}
    when matched
        and row(DBT_INTERNAL_SOURCE.{{ compared | join(', DBT_INTERNAL_SOURCE.') }})
            is distinct from row(DBT_INTERNAL_DEST.{{ compared | join(', DBT_INTERNAL_DEST.') }})
        {% if update_when -%}
        and (DBT_INTERNAL_SOURCE._merge_action = 'replace' or ({{ update_when }}))
        {% endif -%}
    then update set
        {% for column in columns -%}
        {{ column }} = DBT_INTERNAL_SOURCE.{{ column }}{{ ', ' if not loop.last }}
        {%- endfor %}
    when not matched {% if has_action %}and DBT_INTERNAL_SOURCE._merge_action <> 'delete' {% endif %}then insert
        ({{ columns | join(', ') }})
    values
        (DBT_INTERNAL_SOURCE.{{ columns | join(', DBT_INTERNAL_SOURCE.') }})
{%- endmacro %}


{#
    The end of a model of events, each once: its CTE `winners`, which has the key and `columns`, as rows to merge. Where
    whole days were read, or everything, a row that is held and has no winner any more goes out: as one with no columns
    but its key. Copies of an event are of one day, so all that a row of these days competes with is read with it, and it
    is taken without asking.
#}
{% macro merge_winners(plan, key, columns) -%}
{%- if is_incremental() and plan.mode in ('all', 'days') -%}
select
    coalesce(winners.{{ key }}, held.{{ key }}) as {{ key }},
    {% for column in columns -%}
    winners.{{ column }},
    {% endfor -%}
    {{ audit_columns(plan) }},
    case
        when winners.{{ key }} is null then 'delete'
        {% if plan.mode == 'days' -%}
        when held.{{ key }} is null then 'upsert'
        {% endif -%}
        else 'replace'
    end as _merge_action
from winners
full join (
    select {{ key }}
    from {{ this }}
    {%- if plan.mode == 'days' %}
    where
        event_date >= date '{{ plan.first_day }}'
        and event_date <= date '{{ plan.last_day }}'
    {%- endif %}
) as held
    on winners.{{ key }} = held.{{ key }}
{%- else -%}
select
    {{ key }},
    {% for column in columns -%}
    {{ column }},
    {% endfor -%}
    {{ audit_columns(plan) }}
    {%- if is_incremental() %},
    'upsert' as _merge_action
    {%- endif %}
from winners
{%- endif %}
{%- endmacro %}

{#
    What a model holds, and a read of everything did not find again, as rows that go out: after those to merge. `among`
    names a relation where not everything was read, but all of its values of the key's first column.
#}
{% macro union_held_in_excess(found, key, among=none) -%}
union all

select
    held.*,
    'delete' as _merge_action
from {{ this }} as held
{%- if among is not none %}
inner join {{ among }} on held.{{ key[0] }} = {{ among }}.{{ key[0] }}
{%- endif %}
left join {{ found }} as existing
    on
        {% for column in key -%}
        held.{{ column }} = existing.{{ column }}{{ ' and ' if not loop.last }}
        {%- endfor %}
where existing.{{ key[0] }} is null
{%- endmacro %}

{% macro require_same_columns(target, source, dest_columns, passing) %}
    {%- set stored = dest_columns | map(attribute='name') | list -%}
    {%- set built = adapter.get_columns_in_relation(source) | map(attribute='name') | reject('in', passing) | list -%}
    {%- set differing = (built | reject('in', stored) | list) + (stored | reject('in', built) | list) -%}
    {%- if differing -%}
        {{ exceptions.raise_compiler_error(
            target ~ ': the model and the table differ in ' ~ differing | join(', ') ~ '; run it once with --full-refresh'
        ) }}
    {%- endif -%}
{% endmacro %}
