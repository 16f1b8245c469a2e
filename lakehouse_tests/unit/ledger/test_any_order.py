"""Whatever happens to the ledger in whatever order: every record stays accounted for, once."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters.batch import Batch
from lakehouse.adapters.iceberg.catalog import find_table
from lakehouse.adapters.kafka.client import PartitionState, TopicState
from lakehouse.contracts.validation import Validator
from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.ledger.audit import audit
from lakehouse.ledger.feed import Feed
from lakehouse.ledger.lookup import select_dead_letters
from lakehouse.ledger.replay import replay
from lakehouse.ledger.state import read_entries
from lakehouse.ledger.writer import LedgeredWriter
from lakehouse.maintenance.expiry import expire
from lakehouse.naming import CATALOG, DEAD_LETTERS, PGR_EVENTS_TOPIC, SERVICE_EVENTS, TableName
from lakehouse_tests.catalogs import sqlite_catalog
from lakehouse_tests.events import STRICT, TOPIC, TOPIC_ID, event, kafka_batch
from lakehouse_tests.failpoints import STEPS, Killed, watched

VALUES: dict[str, bytes | None] = {"good": event(), "later": event(ward_id=None), "rubbish": b"rubbish", "marker": None}
"""What is at an offset: a record that is accepted, one that only today's contract accepts, one that none does, and
the marker of a transaction, which is no record."""
PARTITIONS = st.integers(0, 1)
COUNTS = st.integers(1, 6)
KINDS = st.lists(st.sampled_from(list(VALUES)), min_size=4, max_size=12)
CONTRACTS = {"yesterday": STRICT, "today": SERVICE_EVENT}
"""What one refuses, the other may accept: a run may not have the contract of the one whose batch it completes."""
TABLES = st.sampled_from([SERVICE_EVENTS, DEAD_LETTERS])
COMPLETED = STEPS[1:-1]
RACED = [step for step in COMPLETED if "in the swap" not in step]
"""Where another writer can come in between: SQLite lets none in while a transaction is open."""

Place = tuple[int, int]
"""Partition and offset."""


class Ledger(RuleBasedStateMachine):
    """A topic of two partitions, the tables it is landed in, and all that may happen to them."""

    @initialize(first=KINDS, second=KINDS)
    def open(self, first: list[str], second: list[str]) -> None:
        """A topic with some records, and a catalog as two processes have it."""
        self.at_end = ExitStack()
        folder = self.at_end.enter_context(tempfile.TemporaryDirectory())
        self.catalog = self.at_end.enter_context(sqlite_catalog(Path(folder)))
        self.other = self.at_end.enter_context(closing(SqlCatalog(CATALOG, **self.catalog.properties)))
        self.topic = [first, second]
        self.positions = [0, 0]
        self.zombies: list[tuple[LedgeredWriter, Batch]] = []

    def teardown(self) -> None:
        if hasattr(self, "at_end"):
            self.at_end.close()

    # What happens

    @rule(partition=PARTITIONS, kinds=KINDS)
    def produce(self, partition: int, kinds: list[str]) -> None:
        self.topic[partition] += kinds

    @rule(partition=PARTITIONS, contract=st.sampled_from(list(CONTRACTS)), count=COUNTS)
    def land(self, partition: int, contract: str, count: int) -> None:
        for writer, batch in self.poll(self.catalog, partition, contract, count):
            writer.append(batch)

    @rule(
        partition=PARTITIONS, contract=st.sampled_from(list(CONTRACTS)), count=COUNTS, step=st.sampled_from(COMPLETED)
    )
    def crash(self, partition: int, contract: str, count: int, step: str) -> None:
        def die(name: str) -> None:
            if name == step:
                raise Killed

        with contextlib.suppress(Killed), watched(self.catalog, die):
            self.land(partition, contract, count)
        self.catalog.engine.dispose()

    @rule(
        partition=PARTITIONS,
        contract=st.sampled_from(list(CONTRACTS)),
        count=COUNTS,
        others=COUNTS,
        step=st.sampled_from(RACED),
    )
    def race(self, partition: int, contract: str, count: int, others: int, step: str) -> None:
        """Another run polls the same records, and lands them while the first is at a step of its commit."""
        rivals = list(self.poll(self.other, partition, contract, others))

        def overtake(name: str) -> None:
            if name == step and rivals:
                writer, batch = rivals.pop()
                writer.append(batch)

        with watched(self.catalog, overtake):
            self.land(partition, contract, count)

    @rule(partition=PARTITIONS, contract=st.sampled_from(list(CONTRACTS)), count=COUNTS)
    def freeze(self, partition: int, contract: str, count: int) -> None:
        """A run stands still with what it has polled."""
        self.zombies += self.poll(self.catalog, partition, contract, count)

    @precondition(lambda self: bool(self.zombies))
    @rule()
    def wake(self) -> None:
        writer, batch = self.zombies.pop(0)
        writer.append(batch)

    @rule(name=TABLES, kept=st.integers(1, 3))
    def expire(self, name: TableName, kept: int) -> None:
        if find_table(self.catalog, name):
            expire(self.catalog, name, (), kept=kept, retention=timedelta(days=7))

    @rule(name=TABLES)
    def compact(self, name: TableName) -> None:
        """All files become one, as any engine would do it."""
        table = find_table(self.catalog, name)
        rows = table.scan().to_arrow() if table else []
        if table and len(rows):
            table.overwrite(rows)

    @rule()
    def replay(self) -> None:
        """Dead letters are tried again with today's contract."""
        letters = select_dead_letters(self.catalog)
        if letters.num_rows:
            parts = [letters[:1], letters[1:]] if len(letters) > 1 else [letters]
            replay(self.catalog, SERVICE_EVENT, parts, run_id="replay")

    @rule(deep=st.booleans())
    def audit(self, deep: bool) -> None:
        report = audit(
            self.catalog, [Feed(PGR_EVENTS_TOPIC, SERVICE_EVENT)], lambda _: self.state(), self.probe, deep=deep
        )
        assert report.verdict == "complete", report
        for account in report.accounts:
            counted = account.bronze + account.dead_letters + account.replayed + account.skipped
            assert account.position - account.first == counted
            assert account.position + account.in_flight == len(self.topic[account.partition or 0])

    # What must be true all the time

    @invariant()
    def every_record_is_in_one_place_and_positions_never_go_back(self) -> None:
        before, self.positions = self.positions, self.ledger()
        assert all(self.positions[p] >= before[p] for p in (0, 1))
        rows, replayed = self.places(SERVICE_EVENTS)
        letters, _ = self.places(DEAD_LETTERS)
        assert [place for counted in (rows, letters) for place, times in counted.items() if times > 1] == []
        assert set(rows) & set(letters) == replayed
        # A letter may be ahead of the ledger: it is committed first.
        landed = {place for place in {*rows, *letters} if place[1] < self.positions[place[0]]}
        assert landed == {(p, o) for p, end in enumerate(self.positions) for o in range(end) if self.is_record(p, o)}
        assert all(self.kind(*place) in ("good", "later") for place in set(rows) - replayed)
        assert all(self.kind(*place) in ("later", "rubbish") for place in letters)
        assert all(self.kind(*place) == "later" for place in replayed)
        assert {*rows, *letters} - landed <= set(letters)

    # Looking

    def poll(
        self, catalog: SqlCatalog, partition: int, contract: str, count: int
    ) -> Iterator[tuple[LedgeredWriter, Batch]]:
        """What a run reads, from where the ledger says; nothing when there is nothing."""
        writer = LedgeredWriter(catalog, SERVICE_EVENT, TOPIC, run_id="run")
        writer._validator = Validator(CONTRACTS[contract])
        start = writer.start(self.state())[partition]
        end = min(start + count, len(self.topic[partition]))
        if end > start:
            values = {n: VALUES[self.kind(partition, n)] for n in range(start, end) if self.is_record(partition, n)}
            yield writer, kafka_batch(values, partition=partition, ends=(start, end))

    def kind(self, partition: int, offset: int) -> str:
        return self.topic[partition][offset]

    def is_record(self, partition: int, offset: int) -> bool:
        return self.kind(partition, offset) != "marker"

    def state(self) -> TopicState:
        return TopicState(TOPIC_ID, {p: PartitionState(0, len(kinds)) for p, kinds in enumerate(self.topic)})

    def probe(self, _topic: str, partition: int, interval: tuple[int, int]) -> dict[int, datetime]:
        return {offset: datetime.now(UTC) for offset in range(*interval) if self.is_record(partition, offset)}

    def ledger(self) -> list[int]:
        table = find_table(self.catalog, SERVICE_EVENTS)
        entries = read_entries(table.properties, TOPIC) if table else {}
        return [entries[p].position if p in entries else 0 for p in (0, 1)]

    def places(self, name: TableName) -> tuple[Counter[Place], set[Place]]:
        """Where the rows of a table come from, and which of them were made of dead letters."""
        table = find_table(self.catalog, name)
        if table is None:
            return Counter(), set()
        found = table.scan().to_arrow()
        places = list(zip(found["kafka_partition"].to_pylist(), found["kafka_offset"].to_pylist(), strict=True))
        replays = found["replayed_at"].to_pylist() if name is SERVICE_EVENTS else []
        return Counter(places), {place for place, at in zip(places, replays, strict=False) if at}


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
