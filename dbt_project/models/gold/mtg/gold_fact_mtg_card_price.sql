{{ config(
    alias='fact_mtg_card_price',
    unique_key=['date_key', 'price_key'],
    properties={'format': "'PARQUET'", 'partitioning': "ARRAY['month(date_key)']"},
    meta={'has_merge_action': true},
) }}

{#
    A price decides on its own day, and on the change of the day after it. A build that comes late, or again, can change
    which version of a card was valid on days whose prices are long known: so the versions are held against those that
    there were when this table was written, and a card's prices go over again from the first day on that has another.
#}

{%- set read = plan_read(source('silver', 'mtg_prices'), day='price_date') %}
{%- set versions = ref('gold_dim_mtg_card') %}
{%- set seen = none if read.is_fixture or not read.is_partial else snapshot_at_last_load(versions, this) %}
{%- if read.is_partial and not read.is_fixture and seen is none %}
{%- do read.update({'mode': 'all', 'is_partial': false}) %}
{%- endif %}
{%- set changed_cards %}
select
    coalesce(cards.uuid, known.uuid) as uuid,
    {{ utc_date("
        min(
            if(
                cards.set_code = known.set_code,
                least(coalesce(cards.valid_to, known.valid_to), coalesce(known.valid_to, cards.valid_to)),
                coalesce(cards.valid_from, known.valid_from)
            )
        )
    ") }} as first_date
from {{ versions }} as cards
full join (
    select
        uuid,
        card_key,
        set_code,
        valid_from,
        valid_to
    from {{ versions }}
    {%- if seen is none %}
    where false
    {%- else %} for version as of {{ seen }}
    {%- endif %}
) as known
    on cards.card_key = known.card_key
where
    cards.set_code is distinct from known.set_code
    or cards.valid_to is distinct from known.valid_to
group by coalesce(cards.uuid, known.uuid)
{%- endset %}
{%- set first_date = '0001-01-01' %}
{%- if seen is not none %}
{%- set earliest = run_query('select cast(min(first_date) as varchar) as day from (' ~ changed_cards ~ ')').rows[0]['day'] %}
{%- set first_date = earliest or '9999-12-31' %}
{%- endif %}
{%- set series = ['uuid', 'channel', 'provider', 'price_type', 'finish', 'currency'] %}

with
{% if read.is_partial -%}
new_prices as (
    {{ changed_rows(read, ['uuid', 'price_date']) }}
),

changed_cards as (
    {{ changed_cards }}
),

affected_days as (
    select
        uuid,
        price_date
    from new_prices

    union distinct

    select
        uuid,
        date_add('day', 1, price_date) as price_date
    from new_prices

    union distinct

    select
        prices.uuid,
        prices.price_date
    from {{ at_end(read) }} as prices
    inner join changed_cards
        on
            prices.uuid = changed_cards.uuid
            and prices.price_date >= changed_cards.first_date
    where prices.price_date >= date '{{ first_date }}'
),

days_to_read as (
    select
        uuid,
        price_date
    from affected_days

    union distinct

    select
        uuid,
        date_add('day', -1, price_date) as price_date
    from affected_days
),

{% endif -%}
sequenced as (
    select
        {{ surrogate_key(['prices.uuid', 'prices.price_date'] + series[1:]) }} as price_key,
        prices.uuid,
        prices.price_date as date_key,
        prices.channel,
        prices.provider,
        prices.price_type,
        prices.finish,
        prices.currency,
        prices.price,
        lag(prices.price) over by_day as last_price,
        lag(prices.price_date) over by_day as last_date
    from {{ at_end(read) }} as prices
    {%- if read.is_partial %}
    inner join days_to_read
        on
            prices.uuid = days_to_read.uuid
            and prices.price_date = days_to_read.price_date
    {%- endif %}
    window by_day as (
        partition by
            prices.uuid, prices.channel, prices.provider, prices.price_type, prices.finish, prices.currency
        order by prices.price_date
    )
),

compared as (
    select
        price_key,
        uuid,
        date_key,
        channel,
        provider,
        price_type,
        finish,
        currency,
        price,
        if(last_date = date_add('day', -1, date_key), last_price) as previous_price
    from sequenced
),

facts as (
    select
        compared.price_key,
        cards.card_key,
        cards.set_code,
        compared.uuid,
        compared.date_key,
        compared.channel,
        compared.provider,
        compared.price_type,
        compared.finish,
        compared.currency,
        compared.price,
        compared.previous_price,
        compared.price - compared.previous_price as price_change,
        if(
            compared.previous_price > 0,
            100 * (cast(compared.price as double) / cast(compared.previous_price as double) - 1)
        ) as price_change_pct
    from compared
    left join {{ ref('gold_dim_mtg_card') }} as cards
        on
            compared.uuid = cards.uuid
            and {{ utc_date('cards.valid_from') }} <= compared.date_key
            and coalesce({{ utc_date('cards.valid_to') }} > compared.date_key, true)
)

select
    facts.*,
    {{ audit_columns(read) }}
    {%- if is_incremental() %},
    'upsert' as _merge_action
    {%- endif %}
from facts
{%- if read.is_partial %}
inner join affected_days
    on
        facts.uuid = affected_days.uuid
        and facts.date_key = affected_days.price_date
{%- elif is_incremental() %}

{{ union_held_in_excess('facts', ['date_key', 'price_key']) }}
{%- endif %}
