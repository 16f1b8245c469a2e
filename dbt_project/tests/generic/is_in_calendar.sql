{# A day that gold.dim_date has. Asked without it: a test of both would be run, and fail, where only the calendar is built. #}
{% test is_in_calendar(model, column_name) %}

select * from {{ model }}
where {{ column_name }} not between {{ first_calendar_date() }} and {{ last_calendar_date() }}

{% endtest %}
