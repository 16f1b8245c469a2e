"""A source that is read by micro-batches: a topic, and the contract of the table its records go to."""

from __future__ import annotations

from dataclasses import dataclass

from lakehouse import settings
from lakehouse.contracts.contract import Contract
from lakehouse.naming import Topic


@dataclass(frozen=True)
class Feed:
    """One topic and where it is landed."""

    topic: Topic
    contract: Contract
    topic_setting: str | None = None
    """Setting that may give the topic another name on the brokers."""

    @property
    def topic_name(self) -> str:
        """Name on the brokers."""
        return str(getattr(settings.load(), self.topic_setting)) if self.topic_setting else self.topic.name
