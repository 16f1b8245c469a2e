{#
    Reading what is new in an Iceberg table, for incremental models.

    A model plans its read once and renders from the plan:

        {%- set read = plan_read(source('bronze', 'service_events_raw')) %}
        with events as ({{ changed_rows(read, ['event_id', 'event_time']) }})
        select events.*, {{ audit_columns(read) }} from events

    The position is the table's own: `_audit_source_snapshot_id` of the newest row says up to which snapshot of the
    source everything has been taken. So a run that died, ran twice or ran late needs no bookkeeping. Rows are found by
    the source's snapshots, not by a time column: commits do not come in the order of their times.

    The end of the read is pinned before anything is read, so a commit that lands meanwhile belongs to the next run.
#}

{#
    Decide what to read of `relation`.

    `through` names an upstream model that read the same relation: then the position that is recorded is that model's,
    so that what it has not seen yet is read again next time. `day` is an expression over the columns of `relation`: the
    day that `start_date` and `end_date` speak of; with none, these do not concern the model.

    Returns a dict; `mode` is one of
    - `nothing`: the source has no row that the model has not seen;
    - `changes`: the rows of the snapshots since the position, all of them appends;
    - `days`: the rows of `start_date` to `end_date`, where these vars are given, and those since the position with
      them: the same backfill has changed the upstream model, and what comes of it may lie on any day. Without
      `catch_up` only these days, and the position stays where it is;
    - `all`: everything, where there is no position, its snapshot is gone, rows were deleted or updated since, or the
      days asked for are all there are. An incremental model then compares: it emits every row, and a `delete` for what
      it holds in excess (see merge.sql).
    `is_partial` says that the rows read are not the whole source.
#}
{% macro plan_read(relation, through=none, catch_up=true, day='event_date') %}
    {%- set incremental = is_incremental() -%}
    {%- set plan = {
        'relation': relation, 'mode': 'changes' if incremental else 'all', 'is_partial': incremental,
        'is_fixture': true, 'start': none, 'end': none, 'mark': none, 'day': day, 'first_day': none, 'last_day': none,
    } -%}
    {#- A unit test brings its own rows: nothing to ask the warehouse, every given row is a change. -#}
    {%- if not execute or model.resource_type == 'unit_test' -%}
        {{ return(plan) }}
    {%- endif -%}

    {%- set snapshots = snapshots_of(relation) -%}
    {%- set position = recorded_position(this) if incremental else none -%}
    {%- do plan.update({'is_fixture': false, 'end': snapshots.main, 'mark': snapshots.main}) -%}

    {%- if day is not none and (var('start_date') is not none or var('end_date') is not none) -%}
        {%- if flags.FULL_REFRESH -%}
            {{ exceptions.raise_compiler_error('A full refresh of some days would drop all others: leave out start_date and end_date.') }}
        {%- endif -%}
        {%- do plan.update({
            'mode': 'days', 'mark': position, 'is_partial': true,
            'first_day': iso_day('start_date'), 'last_day': iso_day('end_date'),
        }) -%}
        {%- set news = mode_since(snapshots, position) if incremental and catch_up else none -%}
        {%- if news == 'changes' -%}
            {%- do plan.update({'start': position, 'mark': snapshots.main}) -%}
        {%- elif news == 'all' -%}
            {%- do plan.update({'mode': 'all', 'mark': snapshots.main, 'is_partial': false}) -%}
        {%- elif incremental and holds_no_other_days(plan) -%}
            {#- Looking for what these days touch would only cost more. -#}
            {%- do plan.update({'mode': 'all', 'is_partial': false}) -%}
        {%- endif -%}
    {%- elif incremental -%}
        {%- set mode = mode_since(snapshots, position) -%}
        {%- do plan.update({'mode': mode, 'start': position, 'is_partial': mode != 'all'}) -%}
    {%- endif -%}

    {%- if through is not none and plan.mark == snapshots.main -%}
        {%- set upstream = recorded_position(through) -%}
        {%- if upstream in snapshots.by_id -%}
            {%- do plan.update({'mark': upstream}) -%}
        {%- endif -%}
    {%- endif -%}
    {%- do log(this ~ ' reads ' ~ plan.mode ~ ' of ' ~ relation ~ ' at ' ~ plan.end ~ ', since ' ~ plan.start, info=false) -%}
    {{ return(plan) }}
{% endmacro %}

{# Whether the days of the planned read are all that the source holds; also where it holds none. #}
{% macro holds_no_other_days(plan) %}
    {%- set bounds = run_query(
        'select coalesce(min(' ~ plan.day ~ ") >= date '" ~ plan.first_day ~ "' and max(" ~ plan.day
        ~ ") <= date '" ~ plan.last_day ~ "', true) as is_all from " ~ at_end(plan)
    ) -%}
    {{ return(bounds.rows[0]['is_all']) }}
{% endmacro %}

{# Rows of the planned read, as a select of `columns`. #}
{% macro changed_rows(plan, columns) -%}
    select {{ columns | join(', ') }}
    {% if plan.is_fixture or plan.mode == 'all' -%}
        from {{ at_end(plan) }}
    {%- elif plan.mode == 'changes' -%}
        from {{ table_changes(plan) }}
    {%- elif plan.mode == 'days' -%}
        from {{ at_end(plan) }}
        where {{ plan.day }} between date '{{ plan.first_day }}' and date '{{ plan.last_day }}'
        {%- if plan.start is not none %}
    union all
    select {{ columns | join(', ') }}
        from {{ table_changes(plan) }}
        {%- endif %}
    {%- else -%}
        from {{ plan.relation }}
        where false
    {%- endif %}
{%- endmacro %}

{# Rows of the snapshots since the position. Columns must be named: the function's own `_change_timestamp` has a type that
   no Iceberg view takes. #}
{% macro table_changes(plan) -%}
    table({{ plan.relation.database }}.system.table_changes(
            schema_name => '{{ plan.relation.schema }}',
            table_name => '{{ plan.relation.identifier }}',
            start_snapshot_id => {{ plan.start }},
            end_snapshot_id => {{ plan.end }}
        ))
{%- endmacro %}

{# The whole source as of the pinned end of the read, to be used after `from` or `join`. #}
{% macro at_end(plan) -%}
    {{ plan.relation }}
    {%- if plan.end is not none and plan.mode != 'nothing' %} for version as of {{ plan.end }}{% endif %}
{%- endmacro %}

{# The columns that say which run wrote a row, when, and up to which snapshot of the source everything is in. The run
   comes by the environment: a var that changes with every run would have dbt parse the whole project anew each time. #}
{% macro audit_columns(plan) -%}
    cast('{{ env_var("AUDIT_RUN_ID", "") or invocation_id }}' as varchar) as _audit_run_id,
    cast(current_timestamp(6) at time zone 'UTC' as timestamp(6) with time zone) as _audit_loaded_at,
    cast({{ 'null' if plan.mark is none else plan.mark }} as bigint) as _audit_source_snapshot_id
{%- endmacro %}


{# Snapshots of a table by id, and the newest one of its main branch (none for a table that never had a commit). #}
{% macro snapshots_of(relation) %}
    {%- set table_name = relation.database ~ '.' ~ relation.schema -%}
    {%- set rows = run_query(
        'select s.snapshot_id, s.parent_id, s.operation, r.name is not null as is_main, '
        ~ "coalesce(cast(element_at(s.summary, 'added-records') as bigint), 0) as added, "
        ~ "coalesce(cast(element_at(s.summary, 'deleted-data-files') as bigint), 0) "
        ~ "+ coalesce(cast(element_at(s.summary, 'added-delete-files') as bigint), 0) as deletes, "
        ~ "coalesce(cast(element_at(s.summary, 'total-delete-files') as bigint), 0) as delete_files "
        ~ 'from ' ~ table_name ~ '."' ~ relation.identifier ~ '$snapshots" as s '
        ~ 'left join ' ~ table_name ~ '."' ~ relation.identifier ~ '$refs" as r '
        ~ "on s.snapshot_id = r.snapshot_id and r.name = 'main'"
    ) -%}
    {%- set found = {'main': none, 'by_id': {}} -%}
    {%- for row in rows -%}
        {%- do found.by_id.update({row['snapshot_id'] | int: {
            'parent': row['parent_id'] | int if row['parent_id'] is not none else none,
            'is_rewrite': row['operation'] == 'replace',
            'added': row['added'] | int,
            'deletes': row['deletes'] | int,
            'delete_files': row['delete_files'] | int,
        }}) -%}
        {%- if row['is_main'] -%}
            {%- do found.update({'main': row['snapshot_id'] | int}) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}

{#
    How an incremental model that has seen `position` gets to the newest snapshot: `nothing`, `changes` or `all`.

    The operation's name does not tell: Trino calls a MERGE that only inserts `overwrite`. So the counts decide.
    Compaction (`replace`) changes no row and is passed over, by `table_changes` as well. That function refuses every
    snapshot of a table that holds delete files, also where they are older than the range.
#}
{% macro mode_since(snapshots, position) %}
    {%- set walk = {'at': snapshots.main, 'added': 0, 'is_append': true} -%}
    {%- for _ in range(snapshots.by_id | length) if walk.at is not none and walk.at != position and walk.at in snapshots.by_id -%}
        {%- set snapshot = snapshots.by_id[walk.at] -%}
        {%- if not snapshot.is_rewrite -%}
            {%- do walk.update({
                'added': walk.added + snapshot.added,
                'is_append': walk.is_append and snapshot.deletes == 0 and snapshot.delete_files == 0,
            }) -%}
        {%- endif -%}
        {%- do walk.update({'at': snapshot.parent}) -%}
    {%- endfor -%}
    {%- if snapshots.main is none -%}
        {{ return('nothing' if position is none else 'all') }}
    {%- elif position is none or walk.at != position or not walk.is_append -%}
        {{ return('all') }}
    {%- endif -%}
    {{ return('changes' if walk.added else 'nothing') }}
{% endmacro %}

{# Snapshot of its source up to which a model's table is complete: what its newest rows say. #}
{% macro recorded_position(relation) %}
    {%- set found = run_query(
        'select max_by(_audit_source_snapshot_id, _audit_loaded_at) as position from ' ~ relation
    ).rows[0]['position'] -%}
    {{ return(found | int if found is not none else none) }}
{% endmacro %}

{# Snapshot that a relation was at when the newest rows of a model were written; none where it is gone. #}
{% macro snapshot_at_last_load(relation, model_table) %}
    {%- set found = run_query(
        'select max_by(snapshot_id, made_current_at) as seen from ' ~ relation.database ~ '.' ~ relation.schema ~ '."'
        ~ relation.identifier ~ '$history" where made_current_at <= (select max(_audit_loaded_at) from '
        ~ model_table ~ ')'
    ).rows[0]['seen'] -%}
    {{ return(found | int if found is not none else none) }}
{% endmacro %}

{# A var as an ISO date. It may come from outside and goes into SQL, so nothing else passes. #}
{% macro iso_day(name) %}
    {%- set value = var(name) | string -%}
    {%- if not modules.re.fullmatch('\\d{4}-\\d{2}-\\d{2}', value) -%}
        {{ exceptions.raise_compiler_error(name ~ ' must be an ISO date such as 2026-01-31, and both ends must be given; got ' ~ value) }}
    {%- endif -%}
    {{ return(value) }}
{% endmacro %}
