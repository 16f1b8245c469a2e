"""What applications read of the Magic cards, and the decks that are built of them."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Without an extension for accents: Jötun is found as Jotun, Æther as Aether, whichever quotes are typed.
FUNCTIONS = r"""
create function mtg.fold(text) returns text language sql immutable strict parallel safe as $$
    select lower(regexp_replace(
        replace(replace(translate(normalize($1, NFKD), '’‘`“”', '''''''""'), 'Æ', 'Ae'), 'æ', 'ae'),
        '[\u0300-\u036f]', '', 'g'
    ))
$$;
comment on function mtg.fold is 'A name without case, accents and kinds of quotes, as it is looked for.';
"""

TABLES = """
create table mtg.sets (
    set_code text primary key,
    name text not null,
    set_type text,
    release_date date,
    block text,
    parent_code text,
    base_set_size integer,
    total_set_size integer,
    is_online_only boolean,
    is_foil_only boolean,
    is_partial_preview boolean,
    keyrune_code text,
    mtgo_code text,
    vanished_on date,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table mtg.sets is 'Sets; one of which only cards tell so far has its code for a name.';
comment on column mtg.sets.vanished_on is 'Day of the build that no longer had it; null while it is there.';
create index sets_by_name on mtg.sets (mtg.fold(name) text_pattern_ops);
create index sets_in_time on mtg.sets (release_date);

create table mtg.cards (
    uuid text primary key,
    set_code text not null references mtg.sets,
    number text,
    name text,
    face_name text,
    side text,
    folded_name text generated always as (mtg.fold(name)) stored,
    folded_face_name text generated always as (mtg.fold(face_name)) stored,
    layout text,
    rarity text,
    type_line text,
    mana_cost text,
    mana_value numeric,
    colors text[],
    color_identity text[],
    power text,
    toughness text,
    loyalty text,
    text text,
    artist text,
    finishes text[],
    availability text[],
    edhrec_rank bigint,
    is_reprint boolean not null,
    valid_from date not null,
    vanished_on date,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table mtg.cards is
    'Cards, one row a print and face: a card of two faces is two rows with the same set and number, sides a and b.';
comment on column mtg.cards.number is 'As printed: also 2†, G6, mlp134sb.';
comment on column mtg.cards.side is 'Face of a card that has several, a to e; null of all others.';
comment on column mtg.cards.folded_name is 'What mtg.fold makes of the name, to look for.';
comment on column mtg.cards.power is 'As printed: also *, 1+*, ∞; so are toughness and loyalty.';
comment on column mtg.cards.mana_value is 'Of the whole card: also 0.5 and 1000000.';
comment on column mtg.cards.valid_from is 'Day of the first build in which it was as it is here.';
comment on column mtg.cards.vanished_on is
    'Day of the build that no longer had it; null while it is there. Views leave out what has vanished.';
create index cards_by_name on mtg.cards (name);
create index cards_by_folded_name on mtg.cards (folded_name text_pattern_ops);
create index cards_by_folded_face_name on mtg.cards (folded_face_name text_pattern_ops)
    where folded_face_name is not null;
create index cards_by_words_of_name on mtg.cards using gin (to_tsvector('simple', folded_name));
create index cards_by_set_and_number on mtg.cards (set_code, number);
create index cards_by_set_and_rarity on mtg.cards (set_code, rarity);
create index cards_by_rarity on mtg.cards (rarity);
create index cards_by_mana_value on mtg.cards (mana_value);
create index cards_by_colors on mtg.cards using gin (colors);
create index cards_by_color_identity on mtg.cards using gin (color_identity);

create table mtg.card_types (
    uuid text not null references mtg.cards,
    type text not null,
    position smallint not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (uuid, type)
);
comment on table mtg.card_types is 'Types of each card, such as Creature, in the order in which they are printed.';
create index card_types_by_type on mtg.card_types (type, uuid);

create table mtg.card_subtypes (
    uuid text not null references mtg.cards,
    subtype text not null,
    position smallint not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (uuid, subtype)
);
comment on table mtg.card_subtypes is 'Subtypes of each card, such as Goblin, in the order in which they are printed.';
create index card_subtypes_by_subtype on mtg.card_subtypes (subtype, uuid);

create table mtg.card_supertypes (
    uuid text not null references mtg.cards,
    supertype text not null,
    position smallint not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (uuid, supertype)
);
comment on table mtg.card_supertypes is
    'Supertypes of each card, such as Legendary, in the order in which they are printed.';
create index card_supertypes_by_supertype on mtg.card_supertypes (supertype, uuid);

create table mtg.card_keywords (
    uuid text not null references mtg.cards,
    keyword text not null,
    position smallint not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (uuid, keyword)
);
comment on table mtg.card_keywords is 'Keywords of each card, such as Flying.';
create index card_keywords_by_keyword on mtg.card_keywords (keyword, uuid);

create table mtg.card_legalities (
    uuid text not null references mtg.cards,
    format text not null,
    status text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (uuid, format)
);
comment on table mtg.card_legalities is
    'Verdict on each card by format: Legal, Restricted or Banned; where it is not legal there is no row.';
create index card_legalities_by_format on mtg.card_legalities (format, status, uuid);

create table mtg.card_prices (
    uuid text not null references mtg.cards,
    channel text not null,
    provider text not null,
    price_type text not null,
    finish text not null,
    currency text not null,
    price_date date not null,
    price numeric not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (uuid, channel, provider, price_type, finish, currency, price_date)
);
comment on table mtg.card_prices is
    'Prices of the last days, one row a card, channel, provider, price type, finish, currency and day.';
comment on column mtg.card_prices.channel is 'paper or mtgo.';
comment on column mtg.card_prices.price_type is 'retail: what the provider sells for; buylist: what it buys for.';
comment on column mtg.card_prices.finish is 'normal, foil or etched: none stands for another.';
comment on column mtg.card_prices.currency is 'Currency of the price; empty where the provider is listed without one.';
create index card_prices_in_time on mtg.card_prices (price_date);

create table mtg.card_statistics (
    set_code text not null references mtg.sets,
    rarity text not null,
    cards bigint not null,
    average_mana_value numeric,
    median_mana_value numeric,
    colors jsonb not null,
    prices jsonb not null,
    movers jsonb not null,
    version bigint not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (set_code, rarity)
);
comment on table mtg.card_statistics is 'Cards of each set and rarity: how many, what they cost in mana and money.';
comment on column mtg.card_statistics.colors is 'Cards by colour.';
comment on column mtg.card_statistics.prices is 'By currency: average, least, highest and sum.';
comment on column mtg.card_statistics.movers is 'The cards whose price changed most that day.';

create table mtg.decks (
    deck_id bigint generated always as identity primary key,
    name text not null unique check (name <> ''),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table mtg.decks is 'Decks that were imported, by name.';

create table mtg.deck_cards (
    deck_id bigint not null references mtg.decks on delete cascade,
    line integer not null,
    board text not null check (board in ('commander', 'companion', 'main', 'sideboard', 'maybeboard')),
    quantity integer not null check (quantity > 0),
    uuid text not null references mtg.cards,
    name text not null,
    set_code text references mtg.sets,
    number text,
    finish text check (finish in ('normal', 'foil', 'etched')),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (deck_id, line)
);
comment on table mtg.deck_cards is 'Cards of decks, one row a line of the list.';
comment on column mtg.deck_cards.uuid is
    'The card: the print that the list names, else the newest; of a card of several faces the first.';
comment on column mtg.deck_cards.set_code is 'Set that the list names; null: any print will do.';
comment on column mtg.deck_cards.number is 'Number in the set that the list names; null: any print of the set will do.';
comment on column mtg.deck_cards.finish is 'Finish that the list names; null: normal, or another where there is none.';
create index deck_cards_by_card on mtg.deck_cards (uuid);
create index deck_cards_by_name on mtg.deck_cards (name);

create table mtg.positions (
    source text primary key,
    snapshot_id bigint not null,
    loaded_at timestamptz not null default now()
);
comment on table mtg.positions is 'Up to which snapshot each table of the lake was read, moved with what it brought.';
"""

VIEWS = """
create view mtg.latest_prices as
select distinct on (uuid, channel, provider, price_type, finish, currency)
    uuid, channel, provider, price_type, finish, currency, price_date, price, updated_at
from mtg.card_prices
order by uuid, channel, provider, price_type, finish, currency, price_date desc;
comment on view mtg.latest_prices is
    'The newest price of each card by channel, provider, price type, finish and currency. To be asked by uuid.';

create view mtg.card_details as
select cards.uuid, cards.name, cards.face_name, cards.side, cards.number, cards.rarity, cards.layout, cards.type_line,
    cards.mana_cost, cards.mana_value, cards.colors, cards.color_identity, cards.power, cards.toughness, cards.loyalty,
    cards.text, cards.artist, cards.finishes, cards.availability, cards.folded_name,
    cards.set_code, sets.name as set_name, sets.set_type, sets.release_date,
    array(select type from mtg.card_types where uuid = cards.uuid order by position) as types,
    array(select subtype from mtg.card_subtypes where uuid = cards.uuid order by position) as subtypes,
    array(select supertype from mtg.card_supertypes where uuid = cards.uuid order by position) as supertypes,
    array(select keyword from mtg.card_keywords where uuid = cards.uuid order by position) as keywords,
    (
        select coalesce(jsonb_object_agg(format, status), '{}') from mtg.card_legalities where uuid = cards.uuid
    ) as legalities,
    (
        select coalesce(jsonb_agg(to_jsonb(prices) - 'uuid' - 'updated_at'), '[]')
        from mtg.latest_prices as prices where uuid = cards.uuid
    ) as prices,
    cards.created_at, cards.updated_at
from mtg.cards join mtg.sets using (set_code)
where cards.vanished_on is null;
comment on view mtg.card_details is 'Each card with its set, types, keywords, legalities and latest prices.';

create view mtg.rarity_counts as
select cards.set_code, sets.name as set_name, cards.rarity,
    count(*) filter (where coalesce(cards.side, 'a') = 'a') as cards, count(*) as faces
from mtg.cards join mtg.sets using (set_code)
where cards.vanished_on is null
group by cards.set_code, sets.name, cards.rarity;
comment on view mtg.rarity_counts is 'Cards of each set by rarity; a card of several faces is one card.';

create view mtg.recent_price_updates as
select prices.uuid, cards.name, cards.set_code, cards.number, prices.channel, prices.provider, prices.price_type,
    prices.finish, prices.currency, prices.price_date, prices.price, before.price_date as previous_date,
    before.price as previous_price, prices.price - before.price as change,
    round(100 * (prices.price - before.price) / nullif(before.price, 0), 2) as change_pct
from mtg.card_prices as prices
join mtg.cards using (uuid)
cross join lateral (
    select price_date, price from mtg.card_prices as old
    where old.uuid = prices.uuid and old.channel = prices.channel and old.provider = prices.provider
        and old.price_type = prices.price_type and old.finish = prices.finish and old.currency = prices.currency
        and old.price_date < prices.price_date
    order by price_date desc limit 1
) as before
where prices.price <> before.price and prices.price_date > (select max(price_date) - 7 from mtg.card_prices);
comment on view mtg.recent_price_updates is 'Prices of the last seven days that differ from the one before.';

create view mtg.deck_card_prices as
select distinct on (line.deck_id, line.line, prices.currency)
    line.deck_id, line.line, line.quantity, prices.currency, prices.price, line.quantity * prices.price as value,
    print.uuid, print.set_code, print.number, prices.finish, prices.provider, prices.price_date
from mtg.deck_cards as line
join mtg.cards as print on print.name = line.name and coalesce(print.side, 'a') = 'a' and print.vanished_on is null
    and (line.set_code is null or print.set_code = line.set_code)
    and (line.number is null or print.number = line.number)
cross join lateral (
    select * from mtg.latest_prices as latest
    where latest.uuid = print.uuid and latest.channel = 'paper' and latest.price_type = 'retail'
        and (line.finish is null or latest.finish = line.finish)
) as prices
order by line.deck_id, line.line, prices.currency, (line.finish is null and prices.finish <> 'normal'), prices.price,
    prices.provider, print.set_code, print.number, prices.finish;
comment on view mtg.deck_card_prices is
    'What each line of a deck costs: the lowest of the latest retail prices, on paper, of the prints that it allows; '
    'another finish than normal only where the line says so, or no print has a normal price.';

create view mtg.deck_composition as
select decks.deck_id, decks.name as deck, line.line, line.board, line.quantity, line.name, line.set_code, line.number,
    line.finish, line.uuid, cards.type_line, cards.mana_cost, cards.mana_value, cards.color_identity, cards.rarity
from mtg.decks join mtg.deck_cards as line using (deck_id) join mtg.cards using (uuid);
comment on view mtg.deck_composition is 'Cards of each deck, one row a line of its list.';

create view mtg.deck_values as
select decks.deck_id, decks.name as deck, prices.currency, sum(prices.value) as value,
    sum(prices.quantity) as priced_cards, cards.cards
from mtg.decks
join (
    select deck_id, sum(quantity) as cards from mtg.deck_cards where board <> 'maybeboard' group by deck_id
) as cards using (deck_id)
join mtg.deck_card_prices as prices using (deck_id)
join mtg.deck_cards as line on line.deck_id = prices.deck_id and line.line = prices.line and line.board <> 'maybeboard'
group by decks.deck_id, decks.name, prices.currency, cards.cards;
comment on view mtg.deck_values is 'Value of each deck by currency, without its maybeboard, and of how many cards.';
"""


def upgrade() -> None:
    """Make everything."""
    for statements in (FUNCTIONS, TABLES, VIEWS):
        op.execute(statements)


def downgrade() -> None:
    """Remove everything."""
    op.execute(
        "drop view mtg.deck_values, mtg.deck_composition, mtg.deck_card_prices, mtg.recent_price_updates, "
        "mtg.rarity_counts, mtg.card_details, mtg.latest_prices; "
        "drop table mtg.positions, mtg.deck_cards, mtg.decks, mtg.card_statistics, mtg.card_prices, "
        "mtg.card_legalities, mtg.card_keywords, mtg.card_supertypes, mtg.card_subtypes, mtg.card_types, mtg.cards, "
        "mtg.sets; drop function mtg.fold"
    )
