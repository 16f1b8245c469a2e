"""Everything at work at once, as it is used: ``./lake test -m soak lakehouse_tests/faults/test_mixed_load.py``.

Both topics get events, Dagster runs its schedules and sensors, maintenance runs beside, and each server is killed once.
`SOAK_MINUTES` says how long (60), `SOAK_SEED` repeats when servers are killed. All clocks but the test's own are set
forward, so that midnight comes when half of the time has passed.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pytest
from kafka import KafkaConsumer

from lakehouse.naming import CONVERSION_EVENTS, DEAD_LETTERS, DUPLICATES, SERVICE_EVENTS
from lakehouse.settings import Settings
from lakehouse.stack.environment import exports
from lakehouse_tests.catalogs import rows_of
from lakehouse_tests.clock import Clock
from lakehouse_tests.faults.report import save_mixed_load
from lakehouse_tests.home import Home, open_home
from lakehouse_tests.topics import ends_of

MINUTES = float(os.environ.get("SOAK_MINUTES", "60"))
SEED = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(2**32))
RATE = 50
"""Events a second on each topic."""
LOOK_SECONDS = 15
UPKEEP_SECONDS = 600
"""Between two rounds of maintenance, and of the jobs, which by the clock come once in the hour and once at midnight: so
that every server has done all of its work before its memory is judged."""
JOBS = ("pgr_daily", "conversions_silver", "conversions_gold")
PATIENCE_SECONDS = 900
"""For everything to be landed in the end."""
TOPICS = {"pgr-events": SERVICE_EVENTS, "roman-numeral-events": CONVERSION_EVENTS}
GROWTH = 1.25
"""Memory of a server in the last third of the time against the middle one: what it took in the first is its start. Of a
JVM it is what its collections leave, by the median: how far it lets the heap grow before, up to the heap's bound, is
its own business, and the sum of all is held against the limit."""
COLLECTIONS = "collections-%p.log"
"""Each JVM's log of them, in the home."""
LEFT = re.compile(rb"->(\d+)M\(")
RUN = "multiprocessing.spawn"
"""How Dagster's code server starts what it runs."""
LIMIT_MB = 7 * 1024
"""Of all servers together."""


@dataclass
class Load:
    """A stack at work, and what was seen of it."""

    home: Home
    settings: Settings
    """Read once: that changes the environment of this process, and upkeep goes on in a thread."""
    senders: list[subprocess.Popen[str]] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """MB of each program, a look after the other."""
    heaps: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """MB that the collections of each JVM left at least, from one look to the next."""
    killed: list[str] = field(default_factory=list)
    total: list[float] = field(default_factory=list)
    _read: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """Up to where the log of a JVM was read."""

    def send(self) -> None:
        """Keep a sender going for each topic."""
        for domain in ("pgr", "conversions"):
            wanted = ["produce", domain, "--count", str(int(RATE * 120)), "--rate", str(RATE)]
            shares = ["--malformed", "0.01", "--duplicate", "0.01", "--late", "0.02", "--seed", str(time.time_ns())]
            command, nowhere = self.home.command(*wanted, *shares), subprocess.DEVNULL
            self.senders.append(
                subprocess.Popen(command, env=self.home.environment, stdout=nowhere, stderr=nowhere, text=True)
            )

    def keep_up(self) -> None:
        """Run maintenance and the jobs, one after the other; what a killed server ends is the next round's work."""
        self.home.run("maintain")
        environment = self.home.environment | exports(self.settings)
        for job in JOBS:
            command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "lakehouse.definitions", "-j", job]
            subprocess.run(command, env=environment, capture_output=True, check=False)

    def end(self) -> None:
        """Send no more."""
        for sender in self.senders:
            sender.kill()
            sender.wait()

    def look(self) -> None:
        """Measure the memory of every server, its children included."""
        sizes = {}
        for program, process in self.home.programs():
            try:
                sizes[program] = sum(member.memory_full_info().uss for member in family(process)) / 2**20
            except psutil.NoSuchProcess:
                continue
            self.memory[program].append(sizes[program])
            if left := self._left_by_collections(process.pid):
                self.heaps[program].append(min(left))
        self.total.append(sum(sizes.values()))

    def _left_by_collections(self, pid: int) -> list[int]:
        log = self.settings.home / COLLECTIONS.replace("%p", str(pid))
        if not log.exists():
            return []
        with log.open("rb") as file:
            file.seek(self._read[pid])
            found = [int(left) for left in LEFT.findall(file.read())]
            self._read[pid] = file.tell()
        return found

    def kill(self, program: str) -> None:
        self.killed += self.home.kill(program)

    def audit(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.home.run("audit", "--json").stdout or "{}")
        return found

    def is_complete(self) -> bool:
        report = self.audit()
        accounts = report.get("accounts", [])
        return report.get("verdict") == "complete" and not any(account["in_flight"] for account in accounts)


@pytest.mark.soak
@pytest.mark.timeout(MINUTES * 60 + 3_600)
def test_an_hour_of_everything_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(SEED)
    began = datetime.now(UTC)
    with open_home(tmp_path / "home") as home, ExitStack() as after:
        log = f"-Xlog:gc:file={tmp_path / 'home' / COLLECTIONS}"
        home.environment |= {"LAKEHOUSE_CHECKPOINT_SEC": "10", "JDK_JAVA_OPTIONS": log}
        midnight = began.replace(hour=0, minute=0, second=0, microsecond=0)
        ahead = (midnight - began - timedelta(minutes=MINUTES / 2)) % timedelta(days=1)
        Clock(tmp_path).rule(home, ahead)
        home.up()
        assert home.run("stream", "start", "conversions").returncode == 0
        load = Load(home, home.settings)
        after.callback(load.end)
        seconds = MINUTES * 60
        blows = sorted((chance.uniform(0.1, 0.8) * seconds, program) for program, _ in load.home.programs())
        expected = [program for _, program in blows]
        work = after.enter_context(ThreadPoolExecutor(1))
        start, next_round = time.monotonic(), 0.0
        while (passed := time.monotonic() - start) < seconds:
            if all(sender.poll() is not None for sender in load.senders):
                load.send()
            load.look()
            if blows and passed > blows[0][0]:
                load.kill(blows.pop(0)[1])
            elif passed > next_round:
                next_round += UPKEEP_SECONDS
                work.submit(load.keep_up)
            with capsys.disabled():
                sys.stdout.write(f"\r{passed / 60:.1f} of {MINUTES:g} minutes, killed: {', '.join(load.killed)} ")
                sys.stdout.flush()
            time.sleep(LOOK_SECONDS)
        work.shutdown(cancel_futures=True)
        for sender in load.senders:
            sender.wait(timeout=PATIENCE_SECONDS)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not load.is_complete():
            assert time.monotonic() < deadline, load.audit()
            time.sleep(LOOK_SECONDS)
        nowhere, twice, records = account(home)
        upkeep = json.loads(home.run("maintain", "--json").stdout)
        snapshots = {entry["table"]: entry["after"]["snapshots"] for entry in upkeep}
        growth = {program: growth_of(max, sizes) for program, sizes in load.memory.items()}
        heap_growth = {program: growth_of(median, sizes) for program, sizes in load.heaps.items()}
        save_mixed_load(
            {
                "seed": SEED,
                "from": began.isoformat(timespec="seconds"),
                "midnight_after_minutes": MINUTES / 2,
                "to": datetime.now(UTC).isoformat(timespec="seconds"),
                "records": records,
                "killed": load.killed,
                "memory_growth": growth,
                "heap_growth": heap_growth,
                "peak_mb_of_all_servers": round(max(load.total)),
                "snapshots": snapshots,
                "nowhere": nowhere,
                "twice": twice,
            }
        )
    assert (nowhere, twice) == (0, 0)
    assert sorted(load.killed) == sorted(expected)
    assert max(load.total) < LIMIT_MB
    assert {"kafka", "trino", "spark", "flink-jobs", "flink-tasks"} <= heap_growth.keys()
    judged = growth | heap_growth
    assert {program: ratio for program, ratio in judged.items() if ratio > GROWTH} == {}
    assert max(snapshots.values()) <= home.settings.snapshots_kept + 50, "those that readers need come on top"


def family(process: psutil.Process) -> Iterator[psutil.Process]:
    """A program and all it has started, but for runs of Dagster: how much of them there is at a look is chance."""
    yield process
    for child in process.children():
        if not any(RUN in word for word in child.cmdline()):
            yield from family(child)


def growth_of(measure: Callable[[list[float]], float], sizes: list[float]) -> float:
    """Memory in the last third of the time against that in the middle one, as the measure has it."""
    third = len(sizes) // 3
    return round(measure(sizes[-third:]) / measure(sizes[third : 2 * third]), 2) if third else 1.0


def account(home: Home) -> tuple[int, int, int]:
    """Records that are nowhere, coordinates that are twice, and how many there were, by the brokers and the tables."""
    ends: dict[tuple[str, int], int] = {}
    with closing(KafkaConsumer(bootstrap_servers=home.settings.kafka_brokers, enable_auto_commit=False)) as consumer:
        for topic in TOPICS:
            ends |= {(place.topic, place.partition): end for place, end in ends_of(consumer, topic).items()}
    seen: list[tuple[str, int, int]] = []
    columns = ("kafka_topic", "kafka_partition", "kafka_offset")
    for table in (SERVICE_EVENTS, CONVERSION_EVENTS, DUPLICATES, DEAD_LETTERS):
        seen += [(topic, *place) for topic, *place in rows_of(home.settings, table, columns) if topic]
    records = sum(ends.values())
    return records - len(set(seen)), len(seen) - len(set(seen)), records
