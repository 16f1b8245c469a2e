{# What the words of the players' events mean. #}

{# The order in which duplicates of an event compete, as text; the least wins, whatever run saw it first. #}
{% macro player_event_rank(relation) -%}
    concat(
        {{ coordinate_rank(relation) }},
        {%- for column in ['event_time', 'event_type', 'player_id', 'game_id', 'score', 'data'] %}
        chr(31), coalesce(cast({{ relation }}.{{ column }} as varchar), '~'){{ ',' if not loop.last }}
        {%- endfor %}
    )
{%- endmacro %}

{#
    Whether an event brings points. The jobs that count for what is served (lakehouse/domains/players) say the same; a
    test holds them equal.
#}
{% macro is_score() -%} (event_type = 'player_score' and score is not null) {%- endmacro %}

{#
    When a player who does nothing after a point in time has left. As long a player's session is kept in Redis
    (lakehouse/domains/players/boards.py); a test holds the two equal.
#}
{% macro session_end(column) -%} ({{ column }} + interval '1800' second) {%- endmacro %}
