{# The weights of each value of a column sum to exactly 1. #}
{% test weights_sum_to_one(model, by) %}

select {{ by }}, sum(weight) as weights
from {{ model }}
group by {{ by }}
having sum(weight) <> 1

{% endtest %}
