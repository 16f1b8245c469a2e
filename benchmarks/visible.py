"""From accepted by HTTP to visible in Redis, at 500 events a second, with the whole path at work.

The streams that land and count, the sink and the service run with their default settings. A client in a process of its
own posts events one by one, at moments fixed beforehand, of 20,000 players in 50 games, half of them scores. Between
them some come from a second client, each of a player who plays for the first time: an event of these is visible once
Redis knows its player, for whom it is asked every 20 ms, and its latency begins with the answer that took it. The first
seconds are not counted: programs that have just started are slow.
"""

from __future__ import annotations

import argparse
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pyarrow as pa
import requests
from rich.console import Console

from benchmarks import report
from benchmarks.lab import Lab, bars, machine, open_lab
from benchmarks.measure import Sample, quantiles, run_child
from lakehouse import stream
from lakehouse.adapters.redis.client import open_redis
from lakehouse.domains.players import statistics
from lakehouse.domains.players import stream as landing
from lakehouse.domains.players.boards import statistics_key

SERVERS = ("flink", "sink", "api")
CONNECTIONS, LOOK_SECONDS, WAIT_SECONDS = 32, 0.02, 60.0
PROBES_PER_SECOND = 20
AIMS = {"p50": 3.0, "p99": 8.0}


class Probes:
    """Events of new players, and when each was taken and seen."""

    def __init__(self, lab: Lab) -> None:
        self._lab, self._run = lab, uuid.uuid4().hex[:8]
        self._address = f"http://127.0.0.1:{lab.settings.api_port}/api/v1/events"
        self.taken: dict[str, float] = {}
        self.seen: dict[str, float] = {}
        self.failed = 0
        self._is_over = threading.Event()

    def post(self, seconds: float, is_counted: bool) -> None:
        """Send them at their rate."""
        start, count = time.monotonic(), round(seconds * PROBES_PER_SECOND)
        with requests.Session() as session:
            for number in range(count):
                time.sleep(max(0.0, start + number / PROBES_PER_SECOND - time.monotonic()))
                player = f"probe-{self._run}-{time.monotonic_ns()}"
                event = {"event_type": "player_login", "player_id": player, "game_id": "game-00"}
                event["timestamp"] = datetime.now(UTC).isoformat()
                answer = session.post(self._address, json=event, timeout=30)
                if not is_counted:
                    continue
                if answer.ok:
                    self.taken[player] = time.monotonic()
                else:
                    self.failed += 1

    def watch(self) -> None:
        """Ask for those that were taken and not seen, until all were, or it is too late."""
        deadline = float("inf")
        with open_redis(self._lab.settings) as redis:
            while time.monotonic() < deadline:
                waiting = [player for player in list(self.taken) if player not in self.seen]
                if self._is_over.is_set():
                    if not waiting:
                        return
                    deadline = min(deadline, time.monotonic() + WAIT_SECONDS)
                with redis.pipeline(transaction=False) as pipe:
                    for player in waiting:
                        pipe.exists(statistics_key(player))
                    found = pipe.execute() if waiting else []
                now = time.monotonic()
                self.seen |= {player: now for player, is_there in zip(waiting, found, strict=True) if is_there}
                time.sleep(LOOK_SECONDS)

    def end(self) -> None:
        """No more are coming."""
        self._is_over.set()

    def latencies(self) -> dict[str, float]:
        """Seconds from taken to seen."""
        return quantiles(pa.array([self.seen[player] - at for player, at in self.taken.items() if player in self.seen]))


def run(rate: int, seconds: int, warm_up: int, *, console: Console) -> Sample:
    """The whole benchmark."""
    started = machine()
    with open_lab(console, running=False, servers=SERVERS) as lab:
        for pipeline in (landing.PIPELINE, statistics.PIPELINE):
            stream.start(lab.settings, pipeline)
        probes = Probes(lab)
        load = [lab.settings.api_port, 1, CONNECTIONS, warm_up + seconds, lab.folder / "ids"]
        arguments = ["benchmarks.http_load", *map(str, load), "--rate", str(rate - PROBES_PER_SECOND)]
        with ThreadPoolExecutor(2) as pool, bars(console) as progress:
            sending, watching = pool.submit(run_child, lab, arguments), pool.submit(probes.watch)
            task = progress.add_task("warm-up", total=None)
            try:
                probes.post(warm_up, is_counted=False)
                progress.update(task, description="measuring")
                probes.post(seconds, is_counted=True)
            finally:
                probes.end()
            sent = sending.result()
            watching.result()
        latencies = probes.latencies()
    lost = len(probes.taken) - len(probes.seen)
    is_clean = not lost and not probes.failed and not sent["failed"]
    return {
        "benchmark": "visible",
        "machine": started,
        "method": " ".join((__doc__ or "").split()),
        "rate": rate,
        "seconds": seconds,
        "scale": f"{rate:,} events/s for {seconds:,} s after {warm_up:,}, {len(probes.taken):,} of them looked for; "
        f"p95 {latencies['p95']:g} s, at most {latencies['max']:g} s.",
        "latency_seconds": latencies,
        "load": {name: sent[name] for name in ("rows", "failed", "p50_ms", "p99_ms", "max_ms", "cpu", "seconds")},
        "probes": {"taken": len(probes.taken), "seen": len(probes.seen), "failed": probes.failed},
        "aims": [
            {"aim": f"accepted to visible in Redis: {name} at most {bound:g} s", "measured": latencies[name]}
            | {"met": latencies[name] <= bound}
            for name, bound in AIMS.items()
        ]
        + [{"aim": "every accepted event becomes visible", "measured": is_clean, "met": is_clean}],
    }


def main() -> None:
    """Read the flags, run, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=500, help="events a second (default: 500)")
    parser.add_argument("--seconds", type=int, default=120, help="how long it is measured (default: 120)")
    parser.add_argument("--warm-up", type=int, default=60, help="seconds before (default: 60)")
    parser.add_argument("--name", default="visible", help="name of the result file (default: visible)")
    arguments = parser.parse_args()
    console = Console()
    result = run(arguments.rate, arguments.seconds, arguments.warm_up, console=console)
    report.publish(arguments.name, result, console)


if __name__ == "__main__":
    main()
