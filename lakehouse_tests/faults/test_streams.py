"""An always-on job in Flink is harmed while numbered events come in; every fault strikes the same stream."""

from __future__ import annotations

import gc
import json
import random
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError
from rich.console import Console

from lakehouse import stream
from lakehouse.adapters.iceberg.catalog import open_catalog
from lakehouse.audit import acknowledge_losses
from lakehouse.domains.conversions.stream import PIPELINE
from lakehouse.domains.disorder import Message
from lakehouse.ledger.acknowledge import Loss
from lakehouse.naming import CONVERSION_EVENTS
from lakehouse.settings import Settings, load
from lakehouse.stack import up
from lakehouse_tests.catalogs import rows_of
from lakehouse_tests.faults.declare import fault
from lakehouse_tests.home import Home, open_home
from lakehouse_tests.streams import TOPIC, Coordinate, Stream, bring_back, eventually

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(900),
    # kafka-python forgets to close the sockets with which it tried to reach a broker that was away.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

QUIET = Console(quiet=True)
SERVERS = ["kafka", "flink"]
RATE = 50
"""Events a second."""
PATIENCE = 120
ANY, TWICE = "at any moment", "at any moment, and again"
COMPLETE, BEFORE, SWAP = "when a checkpoint is complete", "before the swap", "in the swap"
"""Moments of a commit of the stream, in their order: Flink commits what a complete checkpoint holds."""
AGAIN_SECONDS = 4
"""After the first time: the job is on its way back."""


@dataclass
class StreamTrial:
    """The stream, who sends to it, and what is known of what was sent."""

    home: Home
    settings: Settings
    stream: Stream
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    number: int = 0
    """Of the next event."""
    acknowledged: dict[Coordinate, str | None] = field(default_factory=dict)
    """What the brokers said they have: ids of events, and none for rubbish."""

    @contextmanager
    def sending(self) -> Iterator[None]:
        """While the block runs, events are sent; afterwards until the brokers have acknowledged each."""
        over = threading.Event()
        sender = threading.Thread(target=self._send_until, args=[over])
        sender.start()
        try:
            yield
        finally:
            over.set()
            sender.join(PATIENCE)
            assert not sender.is_alive(), "the brokers do not take what is sent"

    def wait_for(self, moment: str) -> None:
        """Come back at a moment of a commit, as soon as files tell it."""
        with closing(open_catalog(self.settings)) as catalog:
            table = Path(catalog.load_table(CONVERSION_EVENTS.identifier).location().removeprefix("file://"))
        state = self.settings.home / "flink" / "state" / PIPELINE.name
        folder, pattern = {
            COMPLETE: (state, "checkpoints/*/chk-*/_metadata"),
            BEFORE: (table, "metadata/snap-*.avro"),
            SWAP: (table, "metadata/*.metadata.json"),
        }.get(moment, (None, ""))
        if folder is None:
            time.sleep(self.chance.uniform(0, 3))
            return
        before = set(folder.glob(pattern))
        deadline = time.monotonic() + PATIENCE
        while not set(folder.glob(pattern)) - before:
            assert time.monotonic() < deadline, "nothing is committed"

    def kill(self, *programs: str) -> None:
        """End programs as a crash would; without names all of them, and first the one that would start them again."""
        if not programs:
            self.home.supervisor().kill()
        self.home.kill(*(programs or [name for name, _ in self.home.programs()]))

    def assert_whole(self) -> None:
        """Every event is in exactly one place, by its number and by its coordinate, and the audit is green."""
        sent = self.stream.until_landed()
        assert set(self.acknowledged) <= set(sent), "the brokers lost what they had acknowledged"
        copies = Counter(row["event_id"] for row in self.stream.all_rows())
        ids = {event_id for event_id in self.acknowledged.values() if event_id}
        assert {event_id: copies[event_id] for event_id in ids if copies[event_id] != 1} == {}
        self.stream.land_queue()
        assert self.gaps() == []
        gc.collect()  # here, where sockets may be left open

    def gaps(self) -> list[str]:
        """What the audit finds wrong."""
        return [f"{account.name}: {gap}" for account in self.stream.accounts() for gap in account.gaps]

    def _send_until(self, over: threading.Event) -> None:
        """Each event again until it is acknowledged."""
        waiting: deque[tuple[Message, str | None, Any]] = deque()
        while waiting or not over.is_set():
            if not over.is_set():
                waiting.append(self._sent(*self._next()))
            if over.is_set() or waiting[0][2].is_done:
                message, event_id, sent = waiting.popleft()
                try:
                    known = sent.get(timeout=PATIENCE)
                    self.acknowledged[known.partition, known.offset] = event_id
                except KafkaError:
                    waiting.append(self._sent(message, event_id))
            if not over.is_set():
                time.sleep(1 / RATE)

    def _sent(self, message: Message, event_id: str | None) -> tuple[Message, str | None, Any]:
        return message, event_id, self.stream.producer.send(TOPIC, key=message[0], value=message[1])

    def _next(self) -> tuple[Message, str | None]:
        """The next event; now and then rubbish instead."""
        self.number += 1
        if self.chance.random() < 0.02:
            return (None, b"rubbish %d" % self.number), None
        event_id = f"n-{self.number}"
        event = {"event_id": event_id, "event_time": datetime.now(UTC).isoformat(), "event_type": "SINGLE"}
        return (event_id.encode(), json.dumps(event).encode()), event_id


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamTrial]:
    """A stack of its own, for all of it is killed: Flink with the job, which commits every other second."""
    with open_home(tmp_path_factory.mktemp("numbered")) as home:
        home.environment |= {"LAKEHOUSE_CHECKPOINT_SEC": "2", "LAKEHOUSE_STREAM_RESTART_SEC": "1"}
        with home.as_environment():
            home.up(*SERVERS)
            settings = load()
            stream.start(settings, PIPELINE)
            with closing(Stream(settings, partial(rows_of, settings), look_after=bring_back)) as opened:
                yield StreamTrial(home, settings, opened)


@pytest.fixture
def stream_trial(numbered: StreamTrial, request: pytest.FixtureRequest) -> StreamTrial:
    """The stream as the last fault left it; chance decides the same every time."""
    numbered.chance = random.Random(request.node.name)
    return numbered


def strike(trial: StreamTrial, moment: str, blow: Callable[[], None]) -> None:
    """Harm the stream at a moment of a commit while events come in, and hold what comes of it against them."""
    with trial.sending():
        time.sleep(1)
        trial.wait_for(moment)
        blow()
        if moment == TWICE:
            time.sleep(AGAIN_SECONDS)
            blow()
        up(trial.settings, SERVERS, console=QUIET)
        time.sleep(1)
    trial.assert_whole()


@fault(
    "Flink's task manager is killed",
    expected="the job goes on from its newest checkpoint; every event is landed once",
    cases=(COMPLETE, SWAP),
    in_soak=(TWICE,),
)
def test_the_task_manager_is_killed(stream_trial: StreamTrial, case: str) -> None:
    strike(stream_trial, case, lambda: stream_trial.kill("flink-tasks"))


@fault(
    "Flink's job manager is killed, which then knows of no job",
    expected="Dagster starts the job from its newest checkpoint; every event is landed once",
    cases=(BEFORE,),
    in_soak=(TWICE,),
)
def test_the_job_manager_is_killed(stream_trial: StreamTrial, case: str) -> None:
    strike(stream_trial, case, lambda: stream_trial.kill("flink-jobs"))


@fault(
    "All servers are killed at once",
    expected="`up` brings them back, Dagster the job; every event is landed once",
    cases=(SWAP,),
    in_soak=(COMPLETE,),
)
def test_all_servers_are_killed(stream_trial: StreamTrial, case: str) -> None:
    strike(stream_trial, case, stream_trial.kill)


@fault(
    "PostgreSQL crashes while Flink commits",
    expected="Flink restarts the job from its newest checkpoint; every event is landed once",
)
def test_postgresql_is_killed_under_a_stream(stream_trial: StreamTrial) -> None:
    strike(stream_trial, SWAP, lambda: stream_trial.kill("postgres"))


@fault("The broker crashes under a stream", expected="the stream goes on; every event is landed once")
def test_the_broker_is_killed_under_a_stream(stream_trial: StreamTrial) -> None:
    strike(stream_trial, ANY, lambda: stream_trial.kill("kafka"))


@fault(
    "A stream is started from an older savepoint, with `--accept-repeats`",
    expected="what was landed since is landed again; the audit is red and counts it",
)
def test_a_stream_goes_back_to_an_older_savepoint(stream_trial: StreamTrial) -> None:
    trial = stream_trial
    older = stream.savepoint(trial.settings, PIPELINE)
    before = len(trial.acknowledged)
    with trial.sending():
        time.sleep(3)
    trial.assert_whole()
    stream.stop(trial.settings, PIPELINE)
    stream.start(trial.settings, PIPELINE, state=older, accept_repeats=True)
    since = [coordinate for coordinate, event_id in list(trial.acknowledged.items())[before:] if event_id]

    def copies() -> Counter[Coordinate]:
        return Counter((row["kafka_partition"], row["kafka_offset"]) for row in trial.stream.all_rows())

    def is_again() -> bool:
        found = copies()
        return all(found[coordinate] == 2 for coordinate in since)

    eventually(is_again)
    twice = Counter(partition for (partition, _), number in copies().items() if number > 1)
    assert twice.total() == len(since)
    trial.stream.land_queue()
    told = [re.sub(r"(?<=offsets ).*", "", gap) for gap in trial.gaps()]
    assert told == [f"{TOPIC}[{partition}]: bronze: {count} offsets " for partition, count in sorted(twice.items())]


@fault(
    "Retention deletes records before a stream has read them",
    expected="the job fails and the audit is red; `acknowledge-lost` counts them and the stream goes on",
)
def test_records_are_deleted_before_a_stream_has_read_them(stream_trial: StreamTrial) -> None:
    trial = stream_trial
    before = trial.gaps()
    stream.stop(trial.settings, PIPELINE)
    place = TopicPartition(TOPIC, 0)
    end = trial.stream.consumer.end_offsets([place])[place]
    good = {"event_time": datetime.now(UTC).isoformat(), "event_type": "SINGLE"}
    trial.stream.send([(b"k", json.dumps(good | {"event_id": f"r-{n}"}).encode()) for n in range(50)], partition=0)
    with closing(KafkaAdminClient(bootstrap_servers=trial.settings.kafka_brokers)) as admin:
        admin.delete_records({place: end + 40})
    stream.start(trial.settings, PIPELINE)
    eventually(lambda: stream.status(trial.settings, PIPELINE).state == "FAILED")
    assert "out of range" in (stream.status(trial.settings, PIPELINE).problem or "")
    assert f"{TOPIC}[0]: offsets {end} to {end + 40} were deleted before they were read" in "; ".join(trial.gaps())
    assert acknowledge_losses(trial.settings, TOPIC, why="the disk was full") == [Loss(0, end, end + 40)]
    assert acknowledge_losses(trial.settings, TOPIC, why="again") == []

    def landed() -> set[str]:
        bring_back()
        return {row["event_id"] for row in trial.stream.all_rows()}

    eventually(lambda: {f"r-{n}" for n in range(40, 50)} <= landed())
    trial.stream.land_queue()
    assert trial.gaps() == before
    assert [account.lost for account in trial.stream.accounts() if account.source == TOPIC] == [40, 0, 0]
