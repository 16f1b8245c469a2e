"""Sending generated events to Kafka with a progress bar, as the command line and the demo do it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from lakehouse.domains.conversions.source import conversion_events
from lakehouse.domains.disorder import Message, Shares
from lakehouse.domains.pgr.source import service_events
from lakehouse.naming import CONVERSIONS_TOPIC
from lakehouse.progress import counting
from lakehouse.settings import Settings


def produce_service_events(
    settings: Settings,
    console: Console,
    count: int,
    *,
    seed: int,
    shares: Shares,
    days: float = 14.0,
    rate: float | None = None,
) -> int:
    """Send grievance events; the topic is made first where it is missing.

    Args:
        settings: Where Kafka is, and the topic's name.
        console: For the bar.
        count: Number of messages, broken and repeated ones included.
        seed: The same seed makes the same cases.
        shares: How many are not as they should be.
        days: Days over which the cases are submitted, up to now.
        rate: Messages a second; None: as fast as it goes.

    Returns:
        Number of messages that Kafka acknowledged.

    Raises:
        LakehouseError: the brokers refuse or do not answer.
    """
    from lakehouse.domains.feeds import ensure_topics

    ensure_topics(settings)
    messages = service_events(count, seed=seed, days=days, shares=shares)
    return _send(settings, console, settings.kafka_topic, messages, count, rate)


def produce_conversions(
    settings: Settings,
    console: Console,
    count: int,
    *,
    seed: int,
    shares: Shares,
    days: float = 1.0,
    rate: float | None = None,
) -> int:
    """Send conversions; otherwise like `produce_service_events`, with the days over which the events happen."""
    from lakehouse.adapters.kafka.client import ensure_topic, open_admin

    ensure_topic(open_admin(settings), CONVERSIONS_TOPIC)
    messages = conversion_events(count, seed=seed, days=days, shares=shares)
    return _send(settings, console, CONVERSIONS_TOPIC.name, messages, count, rate)


def _send(
    settings: Settings, console: Console, topic: str, messages: Iterable[Message], count: int, rate: float | None
) -> int:
    from lakehouse.adapters.kafka.produce import send

    with counting(console, f"Sending events to {topic}", count) as advance:
        return send(settings, topic, messages, rate=rate, on_sent=advance)
