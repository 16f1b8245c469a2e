"""What has been accounted for, kept as properties of the table it speaks of.

The property moves in the same commit as the rows, so that the two cannot disagree. Snapshots expire; these numbers do
not, and their size is bounded by the number of partitions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from lakehouse.ledger.offsets import Interval

PREFIX = "lakehouse.ledger."


@dataclass(frozen=True)
class Entry:
    """Account of a partition: ``position − first = rows + dead_letters + repeats + skipped + lost``."""

    topic_id: str
    """Identity of the topic the offsets belong to."""
    first: int
    """Offset of the first record that was there when ingestion began."""
    position: int
    """Offset of the next record to account for."""
    rows: int = 0
    dead_letters: int = 0
    skipped: int = 0
    """Offsets that hold no record: transaction markers, aborted and compacted records."""
    lost: int = 0
    """Offsets that were acknowledged as lost."""
    repeats: int = 0
    """Records that a queue held more than once: what they speak of is accounted for already."""

    @property
    def delivered(self) -> int:
        """Records that were read."""
        return self.rows + self.dead_letters + self.repeats

    def advance(self, position: int, *, rows: int, dead_letters: int, repeats: int = 0) -> Entry:
        """The entry after a batch; what the range held beside its records was skipped."""
        skipped = position - self.position - rows - dead_letters - repeats
        return replace(
            self,
            position=position,
            rows=self.rows + rows,
            dead_letters=self.dead_letters + dead_letters,
            repeats=self.repeats + repeats,
            skipped=self.skipped + skipped,
        )


def property_name(topic: str, partition: int) -> str:
    """Name of the table property that holds an entry."""
    return f"{PREFIX}{topic}.{partition}"


def read_entries(properties: Mapping[str, str], topic: str) -> dict[int, Entry]:
    """Entries of a topic by partition."""
    start = f"{PREFIX}{topic}."
    return {
        int(name.removeprefix(start)): Entry(**json.loads(value))
        for name, value in properties.items()
        if name.startswith(start) and name.removeprefix(start).isdigit()
    }


def loss_property(topic: str, partition: int, interval: Interval) -> str:
    """Name of the table property that says who acknowledged that offsets are lost, when and why."""
    return f"{property_name(topic, partition)}.lost.{interval[0]}-{interval[1]}"


def read_losses(properties: Mapping[str, str], topic: str) -> dict[int, dict[Interval, dict[str, str]]]:
    """Intervals of offsets that were acknowledged as lost, by partition, and of each ``who``, ``why`` and ``at``."""
    pattern = re.compile(re.escape(f"{PREFIX}{topic}.") + r"(\d+)\.lost\.(\d+)-(\d+)")
    found: dict[int, dict[Interval, dict[str, str]]] = {}
    for match in filter(None, map(pattern.fullmatch, sorted(properties))):
        partition, start, end = map(int, match.groups())
        found.setdefault(partition, {})[start, end] = json.loads(properties[match.string])
    return found


def read_sources(properties: Mapping[str, str]) -> set[str]:
    """Names of the sources that have entries."""
    names = (name.removeprefix(PREFIX).rpartition(".") for name in properties if name.startswith(PREFIX))
    return {source for source, _, partition in names if partition.isdigit()}


REPLAYED = "lakehouse.replayed"
"""Table property with the number of rows that were made of dead letters."""


def read_replayed(properties: Mapping[str, str]) -> int:
    """Number of rows that were made of dead letters."""
    return int(properties.get(REPLAYED, "0"))


def to_properties(topic: str, entries: Mapping[int, Entry]) -> dict[str, str]:
    """Table properties that hold the entries."""
    return {
        property_name(topic, partition): json.dumps(asdict(entry), sort_keys=True)
        for partition, entry in entries.items()
    }
