{# A condition that no row may contradict; null is no contradiction. #}
{% test is_true(model, condition) %}

select * from {{ model }}
where not ({{ condition }})

{% endtest %}
