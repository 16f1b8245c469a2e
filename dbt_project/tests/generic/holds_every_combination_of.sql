{# A foreign key of several columns, seen from the referred side: what `other` has in these columns is a row here. #}
{% test holds_every_combination_of(model, columns, other) %}

select {{ columns | join(', ') }} from {{ other }}
except
select {{ columns | join(', ') }} from {{ model }}

{% endtest %}
