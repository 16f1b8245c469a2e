"""Events that an HTTP service takes in a second, and for a CPU second of its own, against two in FastAPI.

The services take the same requests of 1, 100 and 1,000 events, one process each, and answer when the broker has the
events on all replicas. A client in a process of its own, over connections that stay, asks as fast as answers come; the
services take turns, after a warm-up of each. CPU is that of the service's process alone: client and broker have the
same to do for all. The client, the service and the broker share the machine's cores.

Latencies are those at half the rate that was found, for each service its own: the moments of the requests are fixed
beforehand, at random, and a latency begins when its request was due. Exact means: the ids of the acknowledged events,
which the client wrote down, are those in the topic, each once, judged by a script that imports nothing of the product.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import psutil
from rich.console import Console

from benchmarks import report
from benchmarks.lab import Lab, bars, free_ports, machine, open_lab
from benchmarks.measure import PROJECT, Sample, judge_topic, medians, run_child
from lakehouse.adapters.kafka.client import ensure_topic
from lakehouse.naming import PLAYER_EVENTS_TOPIC
from lakehouse.settings import LOOPBACK
from lakehouse.stack.api import Api

CONNECTIONS = {1: 64, 100: 16, 1_000: 8}
"""By events a request."""
OURS, USUAL, TUNED = Api.name, "usual", "tuned"
TITLES = {
    OURS: "lakehouse: the stream's own contract",
    USUAL: "(a) FastAPI, Pydantic, a flush an event",
    TUNED: "(b) FastAPI, msgspec, no flush",
}
WARM_UP_SECONDS = 2.0
START_SECONDS = 30.0
NUMBERS = ("rows_per_second", "rows_per_cpu_second", "seconds", "cpu_seconds", "p50_ms", "p99_ms")
LATENCIES = ("p50_ms", "p99_ms", "max_ms")
P99_MS = 50.0
BOUNDS = ((USUAL, 1, 4.0), (USUAL, 1_000, 100.0), *((TUNED, size, 1.5) for size in CONNECTIONS))
"""How many times as much as whom, at how many events a request."""


@dataclass(frozen=True)
class Service:
    """Who takes events, and where they go."""

    name: str
    port: int
    topic: str


def measure(lab: Lab, service: Service, size: int, seconds: float, *, rate: float | None = None) -> Sample:
    """One client's answers.

    Args:
        lab: Where it runs.
        service: Who is asked.
        size: Events a request.
        seconds: How long.
        rate: Requests a second; default: as fast as answers come.
    """
    what = [service.port, size, CONNECTIONS[size], seconds, lab.folder / service.name]
    arguments = ["benchmarks.http_load", *map(str, what)]
    sample = run_child(lab, arguments if rate is None else [*arguments, "--rate", str(rate)])
    cpu = sample["cpu"][service.name]
    return sample | {"cpu_seconds": cpu, "rows_per_cpu_second": round(sample["rows"] / max(cpu, 0.01), 1)}


@contextmanager
def services(lab: Lab, names: list[str]) -> Iterator[list[Service]]:
    """The service of the stack, and the peers, which run within the block."""
    found = [Service(OURS, lab.settings.api_port, PLAYER_EVENTS_TOPIC.name)] if OURS in names else []
    with ExitStack() as after:
        for name, port in zip((USUAL, TUNED), free_ports(2), strict=True):
            if name not in names:
                continue
            topic = lab.topic(f"bench-{name}")
            ensure_topic(lab.admin, replace(PLAYER_EVENTS_TOPIC, name=topic))
            command = [sys.executable, "-m", "benchmarks.http_peers", name, str(port), topic]
            process = after.enter_context(
                subprocess.Popen(command, cwd=PROJECT, env=lab.environment())  # noqa: S603
            )
            after.callback(process.terminate)
            _until_open(port)
            lab.peers[name] = psutil.Process(process.pid)
            found.append(Service(name, port, topic))
        yield found


def run(seconds: float, rounds: int, *, only: list[str] | None, console: Console) -> Sample:
    """The whole benchmark."""
    started = machine()
    with (
        open_lab(console, running=False, servers=(OURS,)) as lab,
        services(lab, only or list(TITLES)) as chosen,
        bars(console) as progress,
    ):
        closed: dict[tuple[str, int], list[Sample]] = {(s.name, size): [] for s in chosen for size in CONNECTIONS}
        task = progress.add_task("rounds", total=(2 + rounds) * len(closed))
        for number in range(1 + rounds):
            for service in chosen:
                for size in CONNECTIONS:
                    sample = measure(lab, service, size, seconds if number else WARM_UP_SECONDS)
                    progress.console.print(
                        f"{f'round {number}' if number else 'warm-up'}, {_title(service.name, size)}: "
                        f"{sample['rows_per_second']:,.0f} events/s, {sample['rows_per_cpu_second']:,.0f} events/CPU s"
                    )
                    if number:
                        closed[service.name, size].append(sample)
                    progress.advance(task)
        median = {place: medians(samples, NUMBERS) for place, samples in closed.items()}
        paced: dict[tuple[str, int], Sample] = {}
        for service in chosen:
            for size in CONNECTIONS:
                rate = median[service.name, size]["rows_per_second"] / size / 2
                paced[service.name, size] = measure(lab, service, size, 2 * seconds, rate=rate)
                progress.advance(task)
        verdicts = {service.name: judge_topic(lab, service.topic, lab.folder / service.name) for service in chosen}
    return {
        "benchmark": "http_ingest",
        "machine": started,
        "method": " ".join((__doc__ or "").split()),
        "scale": f"Median of {rounds} rounds of {seconds:g} s. p50 and p99 at half the rate, in ms: "
        + "; ".join(f"{_title(*place)}: {found['p50_ms']:g}, {found['p99_ms']:g}" for place, found in paced.items())
        + ".",
        "verdicts": verdicts,
        "contenders": {
            f"{name}_{size}": {
                "title": _title(name, size),
                "median": median[name, size],
                "at_half_the_rate": {latency: paced[name, size][latency] for latency in LATENCIES},
                "exact": verdicts[name]["exact"] and not any(sample["failed"] for sample in samples),
                "samples": samples,
            }
            for (name, size), samples in closed.items()
        },
        "aims": judge_aims(median, paced, verdicts),
    }


def judge_aims(
    median: Mapping[tuple[str, int], Sample], paced: Mapping[tuple[str, int], Sample], verdicts: Mapping[str, Sample]
) -> list[Sample]:
    """Each aim, what was measured and whether it is met."""
    aims: list[Sample] = []
    for peer, size, bound in BOUNDS if OURS in verdicts else ():
        units = {"rows_per_cpu_second": "events per CPU second", "rows_per_second": "events per second"}
        for number, unit in units.items() if peer in verdicts else ():
            ratio = round(median[OURS, size][number] / median[peer, size][number], 2)
            text = f"≥ {bound:g} × {TITLES[peer]}, {size:,} a request, {unit}"
            aims.append({"aim": text, "measured": ratio, "met": ratio >= bound})
    if OURS in verdicts:
        p99, exact = paced[OURS, 1]["p99_ms"], verdicts[OURS]["exact"]
        text = f"single events at half the rate: p99 below {P99_MS:g} ms"
        aims.append({"aim": text, "measured": p99, "met": p99 < P99_MS})
        aims.append({"aim": "every acknowledged event is on the topic, once", "measured": exact, "met": exact})
    return aims


def _title(name: str, size: int) -> str:
    return f"{TITLES[name]}, {size:,} a request"


def _until_open(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((LOOPBACK, port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def main() -> None:
    """Read the flags, run, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (default: 5)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each contender (default: 3)")
    parser.add_argument("--only", nargs="+", choices=list(TITLES))
    parser.add_argument("--name", default="http_ingest", help="name of the result file (default: http_ingest)")
    arguments = parser.parse_args()
    console = Console()
    result = run(arguments.seconds, arguments.rounds, only=arguments.only, console=console)
    report.publish(arguments.name, result, console)


if __name__ == "__main__":
    main()
