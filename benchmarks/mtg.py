"""What it costs to bring all sets of a build, and prices, to PostgreSQL, against programs that insert rows.

First the load of the asset, from silver to its commit. The peers read the files of the build, as MTGJSON has them,
and fill the same tables: they parse JSON, ours reads Parquet that the steps before it have made. Rows are those of all
tables; (a) takes every tenth set and the prices of its cards, because it is slower. A round is a process and an empty
schema, from when imports are done to the last commit; rounds take turns. CPU is that of the process and of the servers.
Exact means: every table is what a recount of the files in plain Python says.

For the second day, one card in fifty has another text, and prices of that day; of the others there are none. Then
silver holds the cards and prices as often as given, under other ids, and all is loaded once more, for its memory.

Then the whole way, once, on servers of its own: an HTTP server has the build, which is compared with what is known and
goes over Kafka to bronze, through Spark to silver, and to PostgreSQL; then the build of the second day. At last a build
with as many times the sets, under other ids, goes to bronze, for the memory.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.compute as pc
from rich.console import Console
from rich.progress import Progress

from benchmarks import report
from benchmarks.lab import Lab, bars, machine, open_lab
from benchmarks.measure import Sample, medians, run_child
from benchmarks.mtg_worker import BRONZE, LOAD, PATH
from lakehouse.domains.mtg.schema import ensure_schema
from lakehouse.domains.mtg.server import serving, write_build
from lakehouse.naming import MTG_CARD_VERSIONS, MTG_PRICE_ROWS
from lakehouse_tests.cards import Price, Story, prices_of, read_sets
from lakehouse_tests.served_cards import Served, check
from lakehouse_tests.silver_of_cards import add_to_silver, write_silver

BUILD, LAST = "sets_2022-04-25", date(2022, 4, 25)
NEXT = LAST + timedelta(days=1)
CHANGED = 50
"""One card in so many changes."""
SAMPLE = 10
"""Of so many sets the slow one takes one."""
OURS, USUAL, BATCHED = "lakehouse", "usual", "batched"
NUMBERS = ("rows_per_second", "rows_per_cpu_second", "seconds", "cpu_seconds", "peak_mb")
PEAK_MB, SHARE = 500, 0.15


@dataclass(frozen=True)
class Contender:
    """Whom, and how many times as fast ours is to be."""

    name: str
    title: str
    bound: float = 0.0

    @property
    def step(self) -> int:
        """Of so many sets it takes one."""
        return SAMPLE if self.name == USUAL else 1

    def arguments(self, folder: Path) -> list[str]:
        """The process under measurement."""
        if self.name == OURS:
            return ["benchmarks.mtg_worker", LOAD]
        return ["benchmarks.mtg_peers", self.name, str(folder / f"every-{self.step}")]


CONTENDERS = (
    Contender(OURS, "lakehouse: from silver, COPY and a statement a table"),
    Contender(USUAL, "(a) json.load of a file, a statement a row, a transaction a card", 10),
    Contender(BATCHED, "(b) json.load of a file, pages of 1,000 rows, a transaction a set"),
)


def told_of(source: Path, step: int) -> tuple[Story, list[Price]]:
    """Every so many-th set of the build, and the prices of its cards."""
    story = Story().tell(read_sets(source / BUILD)[::step])
    return story, prices_of(source, story.versions.keys(), LAST)


def write_files(source: Path, folder: Path, step: int, prices: Sequence[Price]) -> None:
    """The same as the peers read it, as MTGJSON publishes it."""
    (folder / "sets").mkdir(parents=True)
    for path in sorted((source / BUILD).glob("*.json.gz"))[::step]:
        (folder / "sets" / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    (folder / "AllPrices.json").write_text(json.dumps({"meta": {"date": str(LAST)}, "data": as_published(prices)}))


def as_published(prices: Sequence[Price]) -> dict[str, Any]:
    """The prices of each card as MTGJSON nests them."""
    told: dict[str, Any] = {}
    for one in prices:
        provider = told.setdefault(one.uuid, {}).setdefault(one.channel, {}).setdefault(one.provider, {})
        provider["currency"] = one.currency
        finish = provider.setdefault(one.price_type, {}).setdefault(one.finish, {})
        finish[str(one.price_date)] = float(one.price)
    return told


def empty(lab: Lab, served: Served) -> None:
    """Nothing is served."""
    served.sql("drop schema if exists mtg cascade")
    ensure_schema(lab.settings)


def is_exact(served: Served, story: Story, prices: Sequence[Price]) -> Sample:
    """Whether every table is what a recount says."""
    try:
        check(served, story, prices)
    except AssertionError as error:
        return {"exact": False, "told": str(error)[:500]}
    return {"exact": True}


def load(
    lab: Lab, title: str, progress: Progress, arguments: Sequence[str] = ("benchmarks.mtg_worker", LOAD)
) -> Sample:
    """One measured process."""
    task = progress.add_task(title, total=None)
    sample = run_child(lab, arguments)
    progress.remove_task(task)
    progress.console.print(
        f"{title}: {sample['rows']:,} rows in {sample['seconds']:g} s, {sample['cpu_seconds']:g} CPU s, "
        f"{sample['peak_mb']:,.0f} MB"
    )
    return sample


def changed_on(day: date, story: Story, prices: list[Price]) -> tuple[Story, list[Price]]:
    """What one card in fifty brings: another text, and prices of that day."""
    cards = [version.card | version.volatile for version in story.newest()][::CHANGED]
    changed = Story()
    for code in {card["setCode"] for card in cards}:
        told = [card | {"text": f"changed on {day}"} for card in cards if card["setCode"] == code]
        changed.tell([story.sets[code][0] | {"built": day, "cards": told}])
    changed.sets.clear()  # these are as they were
    uuids = {card["uuid"] for card in cards}
    return changed, [one._replace(price_date=day) for one in prices if one.uuid in uuids and one.price_date == LAST]


def after(day: date, story: Story, changed: Story) -> Story:
    """What there is when both were told."""
    versions = {uuid: list(known) for uuid, known in story.versions.items()}
    for uuid, news in changed.versions.items():
        versions[uuid] = [*versions[uuid][:-1], replace(versions[uuid][-1], end=day), *news]
    return Story(dict(story.sets), versions)


def second_day(lab: Lab, served: Served, story: Story, prices: list[Price], progress: Progress) -> Sample:
    """Load what one card in fifty brings."""
    changed, news = changed_on(NEXT, story, prices)
    empty(lab, served)
    load(lab, "first day", progress)
    add_to_silver(lab.settings, changed, news)
    sample = load(lab, "second day", progress)
    verdict = is_exact(served, after(NEXT, story, changed), [*prices, *news])
    return sample | {"verdict": verdict, "cards": len(changed.versions), "prices": len(news)}


def many_times(lab: Lab, served: Served, times: int, progress: Progress) -> Sample:
    """Load as many times the cards and prices; returns what it took, and how many there are."""
    for name in (MTG_CARD_VERSIONS, MTG_PRICE_ROWS):
        table = lab.catalog.load_table(name.identifier)
        rows = table.scan().to_arrow()
        for number in range(1, times):
            others = pc.binary_join_element_wise(f"{number:x}", rows["uuid"], "-")
            table.append(rows.set_column(rows.column_names.index("uuid"), rows.schema.field("uuid"), others))
    empty(lab, served)
    sample = load(lab, f"{times} times the data", progress)
    ((cards,),) = served.sql("select count(*) from mtg.cards")
    ((prices,),) = served.sql("select count(*) from mtg.card_prices")
    return sample | {"times": times, "cards": cards, "prices": prices}


def whole_way(source: Path, times: int, *, console: Console) -> dict[str, Sample]:
    """From the server to PostgreSQL on two days; and a build with as many times the sets to bronze."""
    story, prices = told_of(source, 1)
    changed, news = changed_on(NEXT, story, prices)
    sets = {one["code"]: one for one in read_sets(source / BUILD)}
    for one in sets.values():
        one.pop("built")
    found: dict[str, Sample] = {}
    with open_lab(console, running=False, servers=("postgres", "kafka", "spark")) as lab, bars(console) as progress:
        folders = [write_build(lab.folder / "first", str(LAST), "1", sets, as_published(prices))]
        for one in sets.values():
            one["cards"] = [
                card | {"text": f"changed on {NEXT}"} if card["uuid"] in changed.versions else card
                for card in one["cards"]
            ]
        folders.append(write_build(lab.folder / "second", str(NEXT), "2", sets, as_published(news)))
        told = [(story, prices), (after(NEXT, story, changed), [*prices, *news])]
        served = Served(lab.settings)
        for name, folder, (builds, asked) in zip(("first", "second"), folders, told, strict=True):
            sample = take_build(lab, folder, f"the whole way, {name} day", PATH, progress)
            found[name] = sample | {"verdict": is_exact(served, builds, asked)}
    with open_lab(console, running=False, servers=("postgres", "kafka")) as lab, bars(console) as progress:
        folder = write_many(lab.folder / "many", sets, prices, times)
        found["many"] = take_build(lab, folder, f"{times} times the sets, to bronze", BRONZE, progress)
        found["many"]["sets_mb"] = round((folder / "AllPrintings.json").stat().st_size / 2**20)
    return found


def take_build(lab: Lab, folder: Path, title: str, how: str, progress: Progress) -> Sample:
    """One measured process, to which a build is served whose files are compressed already."""
    with serving(folder) as shelf, mock.patch.dict(os.environ, {"LAKEHOUSE_MTGJSON_URL": shelf.address}):
        for name in ("AllPrintings", "AllPrices", "AllPricesToday"):
            shelf.find(f"{name}.json.gz.sha256")
        return load(lab, title, progress, ["benchmarks.mtg_worker", how])


def write_many(folder: Path, sets: Mapping[str, Any], prices: Sequence[Price], times: int) -> Path:
    """A build with as many times the sets, cards and prices, each under other ids; written a set at a time."""
    write_build(folder, str(NEXT), "1", {})
    meta = json.dumps({"date": str(NEXT), "version": "1"})
    with (folder / "AllPrintings.json").open("w") as file:
        file.write(f'{{"meta": {meta}, "data": {{')
        for number in range(times):
            for position, (code, one) in enumerate(sets.items()):
                name = f"{code}{number:02}"
                cards = [card | {"uuid": f"{number:02x}{card['uuid'][2:]}", "setCode": name} for card in one["cards"]]
                file.write(", " if number or position else "")
                file.write(f"{json.dumps(name)}: {json.dumps(one | {'code': name, 'cards': cards})}")
        file.write("}}")
    many = [one._replace(uuid=f"{number:02x}{one.uuid[2:]}") for number in range(times) for one in prices]
    (folder / "AllPrices.json").write_text(f'{{"meta": {meta}, "data": {json.dumps(as_published(many))}}}')
    return folder


def run(source: Path, rounds: int, times: int, *, console: Console) -> Sample:
    """The whole benchmark."""
    started = machine()
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in CONTENDERS}
    with open_lab(console, running=False, servers=("postgres",)) as lab, bars(console) as progress:
        served = Served(lab.settings)
        told = {step: told_of(source, step) for step in (1, SAMPLE)}
        for step, (_, of_step) in told.items():
            write_files(source, lab.folder / f"every-{step}", step, of_step)
        story, prices = told[1]
        write_silver(lab.settings, story, prices)
        for number in range(1, rounds + 1):
            for contender in CONTENDERS:
                empty(lab, served)
                title = f"round {number}, {contender.title}"
                sample = load(lab, title, progress, contender.arguments(lab.folder))
                samples[contender.name].append(sample | {"verdict": is_exact(served, *told[contender.step])})
        second = second_day(lab, served, story, prices, progress)
        large = many_times(lab, served, times, progress)
    way = whole_way(source, times, console=console)
    return {
        "benchmark": "mtg",
        "machine": started,
        "method": " ".join((__doc__ or "").split()),
        "scale": f"{len(story.versions):,} cards of {len(story.sets)} sets and {len(prices):,} prices, median of "
        f"{rounds}; {large['times']} times the data: {large['cards']:,} cards and {large['prices']:,} prices in "
        f"{large['seconds']:g} s.",
        "contenders": {
            contender.name: {
                "title": contender.title,
                "median": medians(samples[contender.name], NUMBERS),
                "exact": all(found["verdict"]["exact"] for found in samples[contender.name]),
                "samples": samples[contender.name],
            }
            for contender in CONTENDERS
        },
        "second_day": second,
        "many_times": large,
        "whole_way": way,
        "aims": judge_aims(samples, second, large, way),
    }


def judge_aims(
    samples: Mapping[str, list[Sample]], second: Sample, large: Sample, way: Mapping[str, Sample]
) -> list[Sample]:
    """Each aim, what was measured and whether it is met."""
    median = {name: medians(found, NUMBERS) for name, found in samples.items()}
    aims: list[Sample] = []

    def judge(aim: str, measured: float, is_met: bool) -> None:
        aims.append({"aim": aim, "measured": measured, "met": is_met})

    for peer in CONTENDERS:
        units = {"rows_per_second": "rows per second", "rows_per_cpu_second": "rows per CPU second"}
        for number, unit in units.items() if peer.bound else ():
            ratio = round(median[OURS][number] / median[peer.name][number], 2)
            judge(f"≥ {peer.bound:g} × {peer.title}, {unit}", ratio, ratio >= peer.bound)
    share = round(second["cpu_seconds"] / median[OURS]["cpu_seconds"], 3)
    text = "the second day, on which 2 % changed: at most {} × the first, CPU seconds, {}"
    judge(text.format(SHARE, "the load"), share, share <= SHARE and second["verdict"]["exact"])
    share = round(way["second"]["cpu_seconds"] / way["first"]["cpu_seconds"], 3)
    judge(text.format(SHARE, "the whole way"), share, share <= SHARE)
    for what, sample in (("the load", large), ("download to bronze", way["many"])):
        peak = sample["peak_mb"]
        judge(f"{large['times']} times the data in at most {PEAK_MB} MB, {what}", peak, peak <= PEAK_MB)
    exact = all(found["verdict"]["exact"] for found in [*samples[OURS], way["first"], way["second"]])
    judge("every table is exact", exact, exact)
    return aims


def main() -> None:
    """Read the flags, run, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help=f"folder with {BUILD}/*.json.gz and prices_computed_2023-09.json.gz")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each contender (default: 3)")
    parser.add_argument("--times", type=int, default=20, help="of the data, for the memory (default: 20)")
    parser.add_argument("--name", default="mtg", help="name of the result file (default: mtg)")
    arguments = parser.parse_args()
    console = Console()
    result = run(arguments.data, arguments.rounds, arguments.times, console=console)
    report.publish(arguments.name, result, console)


if __name__ == "__main__":
    main()
