{# Its days are different, so they are without a gap where they are as many as from the first to the last. #}
select count(*) as days
from {{ ref('gold_dim_date') }}
having count(*) <> date_diff('day', {{ first_calendar_date() }}, {{ last_calendar_date() }}) + 1
