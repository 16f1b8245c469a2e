"""What it takes to bring every game of a server like RAWG's into the star, and once more when nothing has changed.

The server runs beside the stack, answers after 50 ms and fails at 2 % of the requests. Against the usual way: one
request after the other, a pandas frame, files that are written anew. Exact means: the items in bronze, byte for byte,
are those that the server has, each once, and gold counts as many games and links as they name. The rate is the server's
own count of requests within any second.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from functools import partial
from unittest import mock

import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress, TaskID

from benchmarks import report
from benchmarks.lab import Lab, bars, machine, open_lab
from benchmarks.measure import Sample, run_child
from benchmarks.rawg_worker import AGAIN, FIRST, USUAL
from lakehouse.adapters.trino.query import query
from lakehouse.domains.rawg.made import made_games
from lakehouse.domains.rawg.server import RawgServer, Trouble, running
from lakehouse.domains.rawg.site import Site
from lakehouse.naming import (
    BRIDGE_GAME_GENRE,
    BRIDGE_GAME_PLATFORM,
    BRIDGE_GAME_STORE,
    BRIDGE_GAME_TAG,
    FACT_GAMES,
    RAWG_GAMES,
)

LATENCY, FAILING = 0.05, 0.02
PER_SECOND, WORKERS = 200, 16
TITLES = {
    FIRST: "lakehouse: every game, into gold",
    AGAIN: "lakehouse: what was updated, when nothing was",
    USUAL: "(a) one request after the other, pandas, all files anew",
}
MEMORY_TIMES = 10
KINDS = {
    "platform": BRIDGE_GAME_PLATFORM,
    "store": BRIDGE_GAME_STORE,
    "genre": BRIDGE_GAME_GENRE,
    "tag": BRIDGE_GAME_TAG,
}


def fastest_second(server: RawgServer) -> int:
    """Most requests that came within a second."""
    arrivals, most, start = list(server.arrivals), 0, 0
    for end, at in enumerate(arrivals):
        while at - arrivals[start] >= 1:
            start += 1
        most = max(most, end - start + 1)
    return most


def digest(texts: list[str]) -> str:
    """Of texts in whatever order."""
    return hashlib.sha256(
        "".join(sorted(hashlib.sha256(text.encode()).hexdigest() for text in texts)).encode()
    ).hexdigest()


def is_exact(lab: Lab, site: Site) -> bool:
    """Whether the table has the server's items, each once."""
    held = lab.catalog.load_table(RAWG_GAMES.identifier).scan(selected_fields=("raw_payload",)).to_arrow()
    texts: list[str] = held["raw_payload"].to_pylist()
    return digest(texts) == digest([game.item.decode() for game in site.games]) and in_gold(lab) == named(texts)


def has_all(lab: Lab, site: Site) -> bool:
    """Whether the files of the usual way have every game once."""
    held = pq.read_table(lab.folder / "games.parquet", columns=["id"])["id"].to_pylist()
    return sorted(held) == sorted(game.game_id for game in site.games)


def named(texts: list[str]) -> dict[str, tuple[int, int]]:
    """Games, and what they have of each kind: how many links, one for a game without any, and whole games."""
    items = [json.loads(text) for text in texts]
    links = {kind: sum(max(1, len(item[f"{kind}s"] or ())) for item in items) for kind in KINDS}
    return {kind: (count, len(items)) for kind, count in links.items()} | {"game": (len(items), len(items))}


def in_gold(lab: Lab) -> dict[str, tuple[int, int]]:
    """The same of the tables: weights sum to games."""
    found = {}
    for kind, table in KINDS.items():
        _, ((links, games),) = query(lab.settings, f"select count(*), sum(weight) from {table.sql}")  # noqa: S608
        found[kind] = (int(links), int(games))
    _, ((facts,),) = query(lab.settings, f"select count(*) from {FACT_GAMES.sql}")  # noqa: S608
    return found | {"game": (int(facts), int(facts))}


def _advance(shown: Progress, task: TaskID, rows: int) -> None:
    shown.update(task, completed=rows)


def measure(lab: Lab, site: Site, names: tuple[str, ...], console: Console) -> dict[str, Sample]:
    """Each contender once, on a server of its own over the same games."""
    found: dict[str, Sample] = {}
    for name in names:
        with running(site, Trouble(latency=LATENCY, failing=FAILING)) as server, bars(console) as shown:
            task = shown.add_task(TITLES[name], total=len(site.games))
            with mock.patch.dict(os.environ, {"LAKEHOUSE_RAWG_URL": server.url}):
                arguments = ["benchmarks.rawg_worker", name, str(lab.folder)]
                sample = run_child(lab, arguments, partial(_advance, shown, task))
            sample |= {"server_requests": server.requests, "fastest_second": fastest_second(server)}
            found[name] = sample
    return found


def main() -> None:
    """Measure, and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--games", type=int, default=50_000)
    parser.add_argument("--memory", action="store_true", help=f"Also {MEMORY_TIMES} times the games, for the memory.")
    arguments = parser.parse_args()
    console = Console()
    found_on = machine()
    chosen = {
        "rawg_api_key": "any",
        "rawg_requests_per_second": PER_SECOND,
        "rawg_requests_per_month": 10_000_000,
        "rawg_workers": WORKERS,
    }
    site = Site(made_games(arguments.games))
    with open_lab(console, running=False, servers=["postgres", "kafka", "trino"], **chosen) as lab:
        samples = measure(lab, site, (FIRST, AGAIN, USUAL), console)
        exact = is_exact(lab, site)
        is_usual_exact = has_all(lab, site)
    more: Sample | None = None
    if arguments.memory:
        larger = Site(made_games(MEMORY_TIMES * arguments.games))
        with open_lab(console, running=False, servers=["postgres", "kafka", "trino"], **chosen) as lab:
            more = measure(lab, larger, (FIRST,), console)[FIRST]
            exact = exact and is_exact(lab, larger)
    first, again, usual = samples[FIRST], samples[AGAIN], samples[USUAL]
    fastest = first["fastest_second"]
    times = usual["seconds"] / first["seconds"]
    aims = [
        ("every game as the server has it, once", float(exact), exact),
        ("times faster than (a), at least 10", round(times, 1), times >= 10),
        (f"requests within a second, at most {PER_SECOND}", fastest, fastest <= PER_SECOND),
        (
            "requests when nothing has changed, at most 2 % of the first time's",
            again["server_requests"],
            again["server_requests"] <= 0.02 * first["server_requests"],
        ),
        (
            "time when nothing has changed, at most 5 % of the first time's (s)",
            round(again["seconds"], 2),
            again["seconds"] <= 0.05 * first["seconds"],
        ),
    ]
    if more is not None:
        memory = more["peak_mb"] / first["peak_mb"]
        aims.append((f"memory at {MEMORY_TIMES} times the games, at most 1.25 times", round(memory, 2), memory <= 1.25))
    result = {
        "benchmark": "rawg",
        "machine": found_on,
        "scale": f"{arguments.games:,} games, {LATENCY * 1000:.0f} ms, {FAILING:.0%} of the requests fail; once each.",
        "contenders": {
            name: {
                "title": TITLES[name],
                "median": sample,
                "exact": is_usual_exact if name == USUAL else exact,
                "samples": [sample],
            }
            for name, sample in samples.items()
        },
        "larger": more,
        "aims": [{"aim": aim, "measured": measured, "met": met} for aim, measured, met in aims],
    }
    report.publish("rawg", result, console)


if __name__ == "__main__":
    main()
