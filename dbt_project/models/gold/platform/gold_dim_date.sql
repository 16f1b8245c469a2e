{{ config(
    alias='dim_date',
    unique_key='date_key',
    properties={'format': "'PARQUET'"},
) }}

{# The names are written out: Trino would take them from the language of its machine. #}

with days as (
    select dates.date_key
    from {{ every_date(first_calendar_date(), last_calendar_date(), 'date_key') }}
)

select
    date_key,
    year(date_key) as year,
    quarter(date_key) as quarter,
    month(date_key) as month,
    element_at(
        array[
            'January', 'February', 'March', 'April', 'May', 'June',
            'July', 'August', 'September', 'October', 'November', 'December'
        ],
        month(date_key)
    ) as month_name,
    date_trunc('month', date_key) as month_start_date,
    day_of_month(date_key) as day_of_month,
    year_of_week(date_key) as iso_year,
    week(date_key) as iso_week,
    date_trunc('week', date_key) as week_start_date,
    day_of_week(date_key) as day_of_week,
    element_at(
        array['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'],
        day_of_week(date_key)
    ) as day_name,
    day_of_week(date_key) >= 6 as is_weekend
from days
