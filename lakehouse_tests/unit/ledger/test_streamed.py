"""The account of what a stream lands: complete where every offset is in one place, and what is wrong is named."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.table.snapshots import Operation

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.adapters.iceberg.filters import equal
from lakehouse.adapters.kafka.client import PartitionState, TopicState
from lakehouse.contracts.arrow import in_schema
from lakehouse.contracts.contract import Contract
from lakehouse.contracts.dead_letter import DEAD_LETTER
from lakehouse.contracts.duplicate import DUPLICATE
from lakehouse.domains.conversions.contract import CONVERSION_EVENT
from lakehouse.domains.conversions.erasure import blanked
from lakehouse.domains.conversions.stream import PIPELINE
from lakehouse.errors import LakehouseError, LedgerGapError
from lakehouse.ledger.account import Account, Report
from lakehouse.ledger.acknowledge import Loss, acknowledge_gone, last_acknowledged
from lakehouse.ledger.audit import audit
from lakehouse.ledger.census import marked_snapshot
from lakehouse.ledger.refused import land_refused
from lakehouse.ledger.streamed import write_start
from lakehouse.maintenance.erasure import Selection, forget, rewrite
from lakehouse_tests.unit.ledger.test_refused import batch, origin

TOPIC, QUEUE = PIPELINE.topic.name, PIPELINE.refused.name
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
SETTLED = NOW - timedelta(minutes=3)
OLD, YOUNG = NOW - timedelta(hours=1), NOW - timedelta(seconds=10)


@dataclass
class World:
    """A topic of one partition, its queue, and the tables."""

    catalog: SqlCatalog
    records: dict[int, datetime] = field(default_factory=dict)
    """Kafka's time of each record that the topic holds, by offset; other offsets hold none."""
    low: int = 0
    end: int = 0
    topic_id: str = "topic-1"
    queue: list[dict[str, bytes]] = field(default_factory=list)
    queue_time: datetime = YOUNG
    landed: int = 0
    """Records of the queue that were landed."""

    def start(self) -> None:
        write_start(ensure_table(self.catalog, CONVERSION_EVENT), TOPIC, self.state())

    def acknowledge(self) -> list[Loss]:
        accounts = [of_topic(self.audit())]
        return acknowledge_gone(
            self.catalog, CONVERSION_EVENT, TOPIC, self.state(), accounts, who="ana", why="disk full"
        )

    def state(self) -> TopicState:
        return TopicState(self.topic_id, {0: PartitionState(self.low, self.end)})

    def send(self, count: int, at: datetime = OLD) -> range:
        offsets = range(self.end, self.end + count)
        self.records |= dict.fromkeys(offsets, at)
        self.end = offsets.stop
        return offsets

    def land(self, contract: Contract, offsets: Iterable[int]) -> None:
        offsets = list(offsets)
        columns = {
            "event_id": pa.array([f"e-{offset}" for offset in offsets]),
            "kafka_topic": pa.array([TOPIC] * len(offsets)),
            "kafka_partition": pa.array([0] * len(offsets), pa.int32()),
            "kafka_offset": pa.array(offsets, pa.int64()),
            **{c.name: pa.array([NOW] * len(offsets), pa.timestamp("us", tz="UTC")) for c in contract.fields[1:2]},
            "event_type": pa.array(["SINGLE"] * len(offsets)),
            "kafka_timestamp": pa.array([NOW] * len(offsets), pa.timestamp("us", tz="UTC")),
        }
        names = {column.name for column in contract.columns}
        given = {name: column for name, column in columns.items() if name in names}
        ensure_table(self.catalog, contract).append(in_schema(contract, given, len(offsets)))

    def refuse(self, offsets: Iterable[int]) -> None:
        self.queue += [origin(0, offset, kafka_topic=TOPIC.encode()) for offset in offsets]

    def land_queue(self) -> None:
        queued = list(enumerate(self.queue))[self.landed :]
        if queued:
            part = replace(batch(queued), source=QUEUE)
            list(land_refused(self.catalog, QUEUE, [part], run_id="run"))
        self.landed = len(self.queue)

    def forget(self, low: int) -> None:
        """As retention does."""
        self.low = low
        self.records = {offset: at for offset, at in self.records.items() if offset >= low}

    def erase(self, contract: Contract, offsets: list[int]) -> None:
        known = pa.array(offsets)
        selection = Selection(
            AlwaysTrue(), ("kafka_offset",), lambda rows: pc.is_in(rows["kafka_offset"], value_set=known)
        )
        table, change = ensure_table(self.catalog, contract), partial(blanked, contract, NOW)
        forget(self.catalog, contract.table, rewrite(table, selection, change, {}, operation=Operation.REPLACE))

    def delete(self, contract: Contract, offset: int) -> None:
        self.catalog.load_table(contract.table.identifier).delete(equal("kafka_offset", offset))

    def audit(self, *, deep: bool = False) -> Report:
        return audit(
            self.catalog, [], self._topic, self._probe, pipelines=[PIPELINE], settled_before=SETTLED, deep=deep
        )

    def _topic(self, name: str) -> TopicState | None:
        return self.state() if name == TOPIC else TopicState("queue-1", {0: PartitionState(0, len(self.queue))})

    def _probe(self, topic: str, _partition: int, interval: tuple[int, int]) -> dict[int, datetime]:
        held = self.records if topic == TOPIC else dict.fromkeys(range(len(self.queue)), self.queue_time)
        return {offset: at for offset, at in held.items() if interval[0] <= offset < interval[1]}


@pytest.fixture
def world(catalog: SqlCatalog) -> World:
    """Twenty records: one refused, one a repeat; a marker behind the tenth."""
    world = World(catalog)
    world.start()
    world.send(10)
    world.end += 1
    world.send(10)
    world.land(CONVERSION_EVENT, set(world.records) - {3, 15})
    world.land(DUPLICATE, [15])
    world.refuse([3])
    world.land_queue()
    return world


def gaps(report: Report) -> str:
    return "; ".join(f"{account.name}: {gap}" for account in report.accounts for gap in account.gaps)


def of_topic(report: Report) -> Account:
    return next(account for account in report.accounts if account.source == TOPIC)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("times", [1, 2])
def test_an_account_that_closes_is_complete(world: World, deep: bool, times: int) -> None:
    for _ in range(times):
        report = world.audit(deep=deep)
    account = of_topic(report)
    assert (report.verdict, gaps(report)) == ("complete", "")
    assert (account.first, account.position, account.end, account.in_flight) == (0, 21, 21, 0)
    assert (account.bronze, account.duplicates, account.dead_letters, account.skipped) == (18, 1, 1, 1)


def test_what_was_verified_is_not_read_again(world: World) -> None:
    world.audit()
    for contract in (CONVERSION_EVENT, DUPLICATE, DEAD_LETTER):
        table = world.catalog.load_table(contract.table.identifier)
        snapshot = table.current_snapshot()
        assert snapshot is not None
        assert marked_snapshot(table) == snapshot.snapshot_id
    world.land(CONVERSION_EVENT, world.send(5))
    assert (of_topic(world.audit()).position, of_topic(world.audit()).bronze) == (26, 23)


def test_what_came_lately_is_in_flight(world: World) -> None:
    lately = world.send(5, YOUNG)
    report = world.audit()
    assert (report.verdict, of_topic(report).in_flight, of_topic(report).position) == ("complete", 5, lately.start)
    # One of the places has committed, the others have not yet.
    world.land(CONVERSION_EVENT, lately[1:3])
    report = world.audit()
    assert (report.verdict, of_topic(report).in_flight, of_topic(report).position) == ("complete", 3, lately.start)
    world.land(DUPLICATE, [lately[0], *lately[3:]])
    report = world.audit()
    assert (report.verdict, of_topic(report).in_flight, of_topic(report).position) == ("complete", 0, lately.stop)


def test_what_waits_for_longer_than_three_checkpoints_is_named(world: World) -> None:
    world.send(5)
    assert "5 records wait since 2026-11-25 11:00:00 UTC, for more than 3 checkpoints: `lakehouse stream" in gaps(
        world.audit()
    )


def test_a_record_that_was_passed_over_is_found(world: World) -> None:
    passed, *landed = world.send(5)
    world.land(CONVERSION_EVENT, landed)
    assert f"1 offsets hold a record, but are nowhere: {passed}" in gaps(world.audit())
    assert of_topic(world.audit()).position == passed


def test_what_waits_in_the_queue_is_in_flight_until_it_waits_too_long(world: World) -> None:
    refused, *landed = world.send(5)
    world.land(CONVERSION_EVENT, landed)
    world.refuse([refused])
    assert (world.audit().verdict, of_topic(world.audit()).in_flight) == ("complete", 1)
    world.queue_time = OLD
    assert f"{QUEUE}[0]: 1 records wait since" in gaps(world.audit())
    world.land_queue()
    report = world.audit()
    assert (gaps(report), of_topic(report).dead_letters, of_topic(report).in_flight) == ("", 2, 0)


@pytest.mark.parametrize("audited_before", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_a_row_that_is_there_twice_is_found(world: World, audited_before: bool, deep: bool) -> None:
    if audited_before:
        world.audit()
    world.land(CONVERSION_EVENT, [7])
    found = gaps(world.audit(deep=deep))
    assert "bronze: 1 offsets more than once: 7" in found or "bronze: 1 offsets again that were verified" in found


@pytest.mark.parametrize("audited_before", [False, True])
def test_a_record_in_two_places_is_found(world: World, audited_before: bool) -> None:
    if audited_before:
        world.audit()
    world.land(DUPLICATE, [7])
    found = gaps(world.audit())
    assert "1 offsets in two places: 7" in found or "duplicates: 1 offsets again that were verified before: 7" in found


@pytest.mark.parametrize("audited_before", [False, True])
@pytest.mark.parametrize("contract", [CONVERSION_EVENT, DUPLICATE, DEAD_LETTER], ids=lambda c: c.name)
def test_a_deleted_row_is_found(world: World, contract: Contract, audited_before: bool) -> None:
    if audited_before:
        world.audit()
    offset = {CONVERSION_EVENT: 7, DUPLICATE: 15, DEAD_LETTER: 3}[contract]
    world.delete(contract, offset)
    found = gaps(world.audit())
    assert f"hold a record, but are nowhere: {offset}" in found or "are nowhere that an earlier audit had" in found


def test_a_deleted_row_is_found_when_the_topic_holds_its_record_no_more(world: World) -> None:
    world.audit()
    world.forget(18)
    assert world.audit(deep=True).verdict == "complete", "which offsets held no record was verified before"
    world.delete(CONVERSION_EVENT, 7)
    for deep in (False, True):
        assert "1 offsets are nowhere that an earlier audit had verified" in gaps(world.audit(deep=deep))


@pytest.mark.parametrize("is_audited", [False, True])
def test_an_erasure_leaves_the_account_as_it_was_and_is_named(world: World, is_audited: bool) -> None:
    """Also where the topic holds the records no more, and only the audits before can say what it held."""
    before = of_topic(world.audit())
    world.erase(CONVERSION_EVENT, [5, 6])
    if is_audited:
        world.audit()
    world.erase(DEAD_LETTER, [3])
    world.forget(18)
    for _ in range(2):
        report = world.audit()
        assert (report.verdict, gaps(report)) == ("complete", "")
        assert of_topic(report) == before
        assert report.as_json()["erased"] == {"bronze.conversion_events": 2, "bronze.dead_letters": 1}
    world.land(CONVERSION_EVENT, world.send(3))
    assert (world.audit().verdict, of_topic(world.audit()).bronze) == ("complete", before.bronze + 3)
    world.delete(CONVERSION_EVENT, 4)
    assert "1 offsets are nowhere that an earlier audit had verified" in gaps(world.audit())


def test_what_was_never_verified_and_cannot_be_any_more_is_named(world: World) -> None:
    world.forget(18)
    assert "1 offsets are nowhere, and the topic holds them no more: 10..10" in gaps(world.audit())


def test_a_marker_behind_what_was_landed_makes_no_record_late(world: World) -> None:
    """What waits in the queue is one record, and the offset before it holds none."""
    world.end += 1
    world.refuse(world.send(1))
    assert world.audit().verdict == "complete"


def test_records_deleted_before_they_were_landed_are_lost_and_counted_when_that_is_acknowledged(world: World) -> None:
    world.audit()
    world.send(5)
    world.forget(24)
    assert f"{TOPIC}[0]: offsets 21 to 24 were deleted before they were read" in gaps(world.audit())
    assert world.acknowledge() == [Loss(0, 21, 24)]
    assert world.acknowledge() == []
    world.land(CONVERSION_EVENT, [24, 25])
    for deep in (False, True, False):
        account = of_topic(report := world.audit(deep=deep))
        assert (report.verdict, account.lost, account.position) == ("complete", 3, 26), gaps(report)
    world.land(CONVERSION_EVENT, [21, 24, 25])
    account = of_topic(report := world.audit())
    assert (report.verdict, account.lost) == ("incomplete", 2), "what was thought lost and came is not; twice is twice"
    properties = world.catalog.load_table(CONVERSION_EVENT.table.identifier).properties
    assert json.loads(properties[f"lakehouse.ledger.{TOPIC}.0.lost.21-24"])["who"] == "ana"
    assert last_acknowledged(properties, TOPIC)


def test_of_another_topic_of_that_name_nothing_is_acknowledged(world: World) -> None:
    world.topic_id = "topic-2"
    world.forget(18)
    with pytest.raises(LedgerGapError, match="deleted and created again"):
        world.acknowledge()


def test_another_topic_of_that_name_is_told_and_not_read(world: World) -> None:
    world.topic_id = "topic-2"
    assert "the topic was deleted and created again" in gaps(world.audit())
    with pytest.raises(LakehouseError, match="deleted and created again"):
        world.start()


def test_a_letter_that_the_queue_did_not_bring_is_found(world: World) -> None:
    letter = world.catalog.load_table(DEAD_LETTER.table.identifier).scan().to_arrow()
    place = letter.schema.get_field_index("kafka_offset")
    world.delete(CONVERSION_EVENT, 7)
    forged = letter.set_column(place, "kafka_offset", pa.array([7], pa.int64()))
    world.catalog.load_table(DEAD_LETTER.table.identifier).append(forged)
    assert "ledger counts 1 dead letters of this queue, the table holds 2" in gaps(world.audit())


def test_a_stream_that_was_never_started_has_everything_before_it(catalog: SqlCatalog) -> None:
    world = World(catalog)
    world.send(5, YOUNG)
    report = world.audit()
    assert (report.verdict, report.in_flight) == ("complete", 5)
    world.start()
    assert (world.audit().verdict, world.audit().in_flight) == ("complete", 5)


KINDS = st.sampled_from(["bronze", "duplicate", "letter", "queued", "marker", "waiting", "lost"])


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[phase for phase in Phase if phase is not Phase.shrink],
)
@given(st.lists(st.tuples(KINDS, st.booleans()), min_size=1, max_size=15))
def test_the_verdict_is_that_of_what_was_done(catalog: SqlCatalog, sent: list[tuple[str, bool]]) -> None:
    """Each offset with what became of it, and whether an audit follows."""
    for identifier in (CONVERSION_EVENT.table, DUPLICATE.table, DEAD_LETTER.table):
        if catalog.table_exists(identifier.identifier):
            catalog.drop_table(identifier.identifier)
    world = World(catalog)
    world.start()
    seen = []
    for kind, is_audited in sent:
        if kind == "marker":
            world.end += 1
        else:
            (offset,) = world.send(1, YOUNG if kind == "waiting" else OLD)
            if kind in ("bronze", "duplicate"):
                world.land(CONVERSION_EVENT if kind == "bronze" else DUPLICATE, [offset])
            elif kind in ("letter", "queued"):
                world.refuse([offset])
                if kind == "letter":
                    world.land_queue()
        seen.append(kind)
        if is_audited:
            judge(world, seen)
    judge(world, seen)


def judge(world: World, kinds: list[str]) -> None:
    # Letters before the last one that was landed were landed with it.
    last = max((i for i, kind in enumerate(kinds) if kind == "letter"), default=-1)
    kinds = ["letter" if kind == "queued" and i < last else kind for i, kind in enumerate(kinds)]
    open_ = [kind in ("queued", "waiting", "lost") for kind in kinds]
    position = open_.index(True) if True in open_ else len(kinds)
    report = world.audit()
    account = of_topic(report)
    before = kinds[:position]
    assert account.position == position
    assert account.bronze == before.count("bronze")
    assert account.duplicates == before.count("duplicate")
    assert account.dead_letters == before.count("letter")
    assert account.skipped == before.count("marker")
    if "lost" not in kinds:
        queued = kinds.count("queued")
        is_tail = all(kind in ("queued", "marker", "waiting") for kind in kinds[position:])
        assert report.verdict == "complete" or (queued and is_tail), gaps(report)
