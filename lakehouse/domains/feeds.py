"""All topics that are read by micro-batches, for what looks at every domain: the audit, the topics' creation."""

from __future__ import annotations

from lakehouse.domains.mtg.feeds import FEEDS as MTG_FEEDS
from lakehouse.domains.pgr.bronze import FEED as PGR_FEED
from lakehouse.settings import Settings

FEEDS = (PGR_FEED, *MTG_FEEDS)
FILES = PGR_FEED.contract
"""What a file of service events holds."""


def ensure_topics(settings: Settings) -> None:
    """Create the topics of all feeds where they are missing.

    Raises:
        LakehouseError: the brokers refuse or do not answer.
    """
    from lakehouse.adapters.kafka.client import ensure_topic, open_admin

    admin = open_admin(settings)
    for feed in FEEDS:
        ensure_topic(admin, feed.topic, name=feed.topic_name)
