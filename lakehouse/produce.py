"""Sending generated events to Kafka with a progress bar, as the command line and the demo do it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console

from lakehouse.domains.conversions.source import conversion_events
from lakehouse.domains.disorder import Message, Shares
from lakehouse.domains.pgr.source import service_events
from lakehouse.domains.players.source import player_events
from lakehouse.naming import CONVERSIONS_TOPIC, PGR_EVENTS_TOPIC, PLAYER_EVENTS_TOPIC, Domain, Topic
from lakehouse.progress import counting
from lakehouse.settings import Settings


@dataclass(frozen=True)
class Source:
    """What a domain's applications send."""

    topic: Topic
    events: Callable[..., Iterator[Message]]
    """Makes them: of `count`, `seed`, `shares` and maybe `days`, in the order in which they are sent."""


SOURCES = {
    Domain.PGR: Source(PGR_EVENTS_TOPIC, service_events),
    Domain.PLAYERS: Source(PLAYER_EVENTS_TOPIC, player_events),
    Domain.CONVERSIONS: Source(CONVERSIONS_TOPIC, conversion_events),
}


def topic_name(settings: Settings, domain: Domain) -> str:
    """Name of a domain's topic."""
    return settings.kafka_topic if domain is Domain.PGR else SOURCES[domain].topic.name


def produce(
    settings: Settings,
    console: Console,
    domain: Domain,
    count: int,
    *,
    seed: int,
    shares: Shares,
    days: float | None = None,
    rate: float | None = None,
) -> int:
    """Send a domain's events; the topic is made first where it is missing.

    Args:
        settings: Where Kafka is.
        console: For the bar.
        domain: Whose, one of `SOURCES`.
        count: Number of messages, broken and repeated ones included.
        seed: The same seed makes the same events.
        shares: How many are not as they should be.
        days: Days over which they happen, up to now; None: as many as the source says.
        rate: Messages a second; None: as fast as it goes.

    Returns:
        Number of messages that Kafka acknowledged.

    Raises:
        LakehouseError: the brokers refuse or do not answer.
    """
    from lakehouse.adapters.kafka.client import ensure_topic, open_admin
    from lakehouse.adapters.kafka.produce import send

    source, name = SOURCES[domain], topic_name(settings, domain)
    ensure_topic(open_admin(settings), source.topic, name=name)
    given = {} if days is None else {"days": days}
    messages = source.events(count, seed=seed, shares=shares, **given)
    with counting(console, f"Sending events to {name}", count) as advance:
        return send(settings, name, messages, rate=rate, on_sent=advance)
