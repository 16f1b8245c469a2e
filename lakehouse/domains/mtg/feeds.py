"""The topics of Magic's sets, cards and prices, and the tables they are landed in."""

from __future__ import annotations

from lakehouse.domains.mtg.contract import CARD_MESSAGE, PRICE_MESSAGE, SET_MESSAGE
from lakehouse.ledger.feed import Feed
from lakehouse.naming import MTG_CARDS_TOPIC, MTG_PRICES_TOPIC, MTG_SETS_TOPIC

SETS = Feed(MTG_SETS_TOPIC, SET_MESSAGE)
CARDS = Feed(MTG_CARDS_TOPIC, CARD_MESSAGE)
PRICES = Feed(MTG_PRICES_TOPIC, PRICE_MESSAGE)
FEEDS = (SETS, CARDS, PRICES)
