"""Taking a build of MTGJSON: fetch, parse, compare with what is known, send what is new, and write down what was taken.

Any run may be killed or repeated: what is on the topics already is landed first and not sent again, and a build counts
as taken when all its messages are in bronze.
"""

from __future__ import annotations

import difflib
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.adapters.iceberg.filters import equal
from lakehouse.contracts.contract import Contract
from lakehouse.domains.mtg.changes import Messages, find_changes
from lakehouse.domains.mtg.contract import CARD_MESSAGE, PRICE_MESSAGE, SET_MESSAGE
from lakehouse.domains.mtg.feeds import FEEDS, PRICES
from lakehouse.domains.mtg.source import (
    ALL_PRICES,
    ALL_PRINTINGS,
    PRICE_FILES,
    PRICES_TODAY,
    SET_LIST,
    Build,
    FileChangedError,
    Kept,
    MtgJson,
    UnreadableFileError,
    file_of_set,
    read_meta,
    read_set_list,
)
from lakehouse.domains.mtg.spool import Part, Spool, spool_prices, spool_sets
from lakehouse.domains.mtg.taken import has_prices_before, parts_with_cards, taken_rows, write_down
from lakehouse.errors import LakehouseError
from lakehouse.ledger.feed import Feed

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from lakehouse.settings import Settings

ATTEMPTS = 3
"""Times that a build is begun: a new one may be published meanwhile, or a file turn out to be unreadable."""
IDLE_SECONDS = 0.5
"""Who waits for what is on a topic already waits no longer for more to come."""


@dataclass(frozen=True)
class Wanted:
    """What to take of a build."""

    sets: tuple[str, ...] | None = ()
    """Codes; None for all sets."""
    prices: bool = False


@dataclass
class Progress:
    """Who wants to know how far it is."""

    on_bytes: Callable[[int, int], None] = lambda come, expected: None
    on_parsed: Callable[[str], None] = lambda what: None
    on_sent: Callable[[str, int, int], None] = lambda topic, sent, total: None


@dataclass
class Pulled:
    """What came of it."""

    build: Build
    parts: list[Part] = field(default_factory=list)
    """Empty where all that was wanted had been taken before."""
    sent: dict[str, Sent] = field(default_factory=dict)
    """By topic."""


@dataclass(frozen=True)
class Sent:
    """Messages to a topic."""

    changed: int
    gone: int
    said_again: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.changed + self.gone + self.said_again


def wanted(sets: str, *, prices: bool) -> Wanted:
    """What is named by codes of sets with commas between, or by `all`; in capitals that is the code of Alliances.

    Raises:
        LakehouseError: something is no code.
    """
    if sets.strip() == "all":
        return Wanted(None, prices)
    codes = [code.strip().upper() for code in sets.split(",") if code.strip()]
    for code in codes:
        file_of_set(code)
    return Wanted(tuple(dict.fromkeys(codes)), prices)


def pull(
    settings: Settings, catalog: Catalog, what: Wanted, *, run_id: str, progress: Progress | None = None
) -> Pulled:
    """Take the newest build, as far as it is wanted and was not taken before.

    Raises:
        LakehouseError: the server, Kafka or the catalog refuses or does not answer; a set is not known.
    """
    progress = progress or Progress()
    client = _client(settings)
    for attempt in range(1, ATTEMPTS + 1):
        build = client.newest()
        missing = _missing(catalog, client, build, what)
        if not missing.sets and missing.sets is not None and not missing.prices:
            return Pulled(build)
        try:
            files, gone = _fetch(client, catalog, build, missing, progress)
            return _take(settings, catalog, client, build, files, gone, run_id, progress)
        except (FileChangedError, UnreadableFileError):
            if attempt == ATTEMPTS:
                raise
    raise AssertionError


def take_again(
    settings: Settings,
    catalog: Catalog,
    build_date: date,
    *,
    run_id: str,
    is_needed: bool = True,
    progress: Progress | None = None,
) -> Pulled | None:
    """Take a build again from the files that are kept of it; nothing is downloaded.

    Args:
        settings: Where all is.
        catalog: Where bronze is.
        build_date: Day of the build.
        run_id: For the evidence.
        is_needed: Whether it is an error that nothing is kept of it; else nothing happens.
        progress: Who wants to know how far it is.

    Raises:
        LakehouseError: none are kept; Kafka or the catalog refuses or does not answer.
    """
    client = _client(settings)
    build, kept = _newest_kept(client, build_date)
    kept.pop(SET_LIST, None)
    # What is in two files is taken from the one that says all.
    if ALL_PRINTINGS in kept:
        kept = {name: file for name, file in kept.items() if name in (ALL_PRINTINGS, *PRICE_FILES)}
    if ALL_PRICES in kept:
        kept.pop(PRICES_TODAY, None)
    if not kept and not is_needed:
        return None
    if not kept:
        folder = settings.raw_folder / "mtg"
        there = ", ".join(sorted(path.name for path in folder.glob("????-??-??"))) or "none"
        raise LakehouseError(f"no downloads of {build_date} are kept in {folder}; there are those of: {there}")
    return _take(settings, catalog, client, build, list(kept.values()), [], run_id, progress or Progress())


def _newest_kept(client: MtgJson, build_date: date) -> tuple[Build, dict[str, Kept]]:
    """The build of a day that a file was last received of, and its files: those of others of the day are left out.

    Raises:
        LakehouseError: a file is no longer what was received.
    """
    kept = client.kept(build_date)
    client.verify(kept.values())
    builds = {name: read_meta(file) for name, file in kept.items()}
    last = max((name for name in kept if builds[name]), key=lambda name: kept[name].fetched_at, default="")
    build = builds.get(last) or Build(build_date, "")
    return build, {name: file for name, file in kept.items() if builds[name] in (None, build)}


def changed_files(settings: Settings, catalog: Catalog) -> tuple[int, list[str]]:
    """How many files of the newest build that was taken are kept, and which are not what was received."""
    client = _client(settings)
    rows = taken_rows(catalog, client, ("build_date", "source_sha256", "taken_at"))
    if not rows:
        return 0, []
    newest = max(row["build_date"] for row in rows)
    of_newest = sorted((row for row in rows if row["build_date"] == newest), key=lambda row: row["taken_at"])
    said = {row["source_url"].rpartition("/")[2]: row["source_sha256"] for row in of_newest}
    kept = {file.path.name: file for file in client.kept(newest).values()}
    known = {name: file for name, file in kept.items() if name in said}
    return len(known), sorted(name for name, file in known.items() if file.digest() != said[name])


def _client(settings: Settings) -> MtgJson:
    return MtgJson(settings.mtgjson_url, settings.raw_folder / "mtg")


def _missing(catalog: Catalog, client: MtgJson, build: Build, wanted: Wanted) -> Wanted:
    """What of a build was not taken yet."""
    rows = taken_rows(catalog, client, ("part", "build_version"), equal("build_date", build.date.isoformat()))
    taken = {row["part"] for row in rows if row["build_version"] == build.version}
    sets: tuple[str, ...] | None
    if wanted.sets is None:
        sets = () if ALL_PRINTINGS in taken else None
    else:
        sets = tuple(code for code in wanted.sets if code not in taken)
    return Wanted(sets, wanted.prices and not taken & set(PRICE_FILES))


def _fetch(
    client: MtgJson, catalog: Catalog, build: Build, wanted: Wanted, progress: Progress
) -> tuple[list[Kept], list[Part]]:
    """The files that are wanted, and the wanted sets that the build no longer has."""
    gone: list[Part] = []
    names = [ALL_PRINTINGS] if wanted.sets is None else []
    if wanted.sets:
        (listed,) = client.fetch([SET_LIST], build, progress.on_bytes)
        try:
            there = read_set_list(listed)
        except UnreadableFileError:
            client.refuse(listed)
            raise
        gone = [Part(code, listed) for code in wanted.sets if code not in there]
        _require_known(catalog, gone, list(there))
        names += [file_of_set(code) for code in wanted.sets if code in there]
    if wanted.prices:
        names.append(PRICES_TODAY if has_prices_before(catalog, client, build) else ALL_PRICES)
    return client.fetch(names, build, progress.on_bytes), gone


def _require_known(catalog: Catalog, gone: Sequence[Part], there: Sequence[str]) -> None:
    for code in (part.name for part in gone):
        known = ensure_table(catalog, SET_MESSAGE).scan(row_filter=equal("set_code", code), limit=1)
        if not known.to_arrow().num_rows:
            near = difflib.get_close_matches(code.upper(), there)
            hint = f"; did you mean {' or '.join(near)}?" if near else "; their codes are like NEO or MH2"
            raise LakehouseError(f"MTGJSON has no set {code}{hint}")


def _take(
    settings: Settings,
    catalog: Catalog,
    client: MtgJson,
    build: Build,
    files: Sequence[Kept],
    gone: Sequence[Part],
    run_id: str,
    progress: Progress,
) -> Pulled:
    """Parse files of a build, send what is new, land it, and write down that it was taken."""
    pulled = Pulled(build, list(gone))
    with tempfile.TemporaryDirectory(prefix="lakehouse-mtg-") as name:
        folder = Path(name)
        spools = _parse(client, files, pulled.parts, folder, progress)
        _require_cards(catalog, client, build, pulled.parts)
        land_all(settings, catalog, run_id)
        for feed in FEEDS:
            parts = [part for part in pulled.parts if (part.name in PRICE_FILES) == (feed is PRICES)]
            if parts:
                spool = spools[feed.contract.name]
                # Not held here: a comparison keeps its memory until it is dropped.
                pulled.sent[feed.topic_name] = _send(
                    settings, feed, find_changes(catalog, feed.contract, spool, build, parts, folder), progress
                )
    # Of a card's days of prices, which have one key, compaction would leave the last one alone.
    land_all(settings, catalog, run_id)
    write_down(catalog, build, pulled.parts)
    return pulled


def _parse(
    client: MtgJson,
    files: Sequence[Kept],
    parts: list[Part],
    folder: Path,
    progress: Progress,
) -> dict[str, Path]:
    """Everything that files say, as spools by contract; `parts` is told what was found."""
    contracts: tuple[Contract, ...] = (SET_MESSAGE, CARD_MESSAGE, PRICE_MESSAGE)
    with ExitStack() as opened:
        spools = {contract.name: opened.enter_context(Spool(contract, folder)) for contract in contracts}
        for file in files:
            try:
                if file.name in PRICE_FILES:
                    parts.append(spool_prices(file, spools[PRICE_MESSAGE.name], on_card=lambda: progress.on_parsed("")))
                    continue
                sets, cards = spools[SET_MESSAGE.name], spools[CARD_MESSAGE.name]
                found = list(spool_sets([file], sets, cards, on_set=progress.on_parsed))
            except UnreadableFileError:
                client.refuse(file)
                raise
            parts += found
            if file.name == ALL_PRINTINGS:
                parts.append(Part(ALL_PRINTINGS, file, sum(part.items for part in found)))
    return {name: spool.path for name, spool in spools.items()}


def _require_cards(catalog: Catalog, client: MtgJson, build: Build, parts: Sequence[Part]) -> None:
    """Refuse the file of a set that lists no card though it says that it has some, and had some: they are not gone.

    Raises:
        UnreadableFileError: naming the first of these sets.
    """
    empty = {part.name: part for part in parts if part.declared_items and not part.items}
    if not empty:
        return
    for name in sorted(parts_with_cards(catalog, list(empty), build)):
        client.refuse(empty[name].source)
        raise UnreadableFileError(
            f"{empty[name].source.url} is what its checksum says, but lists none of the {empty[name].declared_items}"
            f" cards that {name} has. What was there stays"
        )


def land_all(settings: Settings, catalog: Catalog, run_id: str) -> None:
    """Land what waits on the topics, which are made where they are missing.

    Raises:
        LedgerGapError: records are gone that were not read.
        LakehouseError: Kafka refuses or does not answer.
    """
    from lakehouse.adapters.kafka.client import await_topic, ensure_topic, open_admin, open_consumer
    from lakehouse.adapters.kafka.drain import Limits, drain
    from lakehouse.ledger.writer import LedgeredWriter

    admin = open_admin(settings)
    limits = Limits(settings.batch_size, IDLE_SECONDS, IDLE_SECONDS, math.inf)
    for feed in FEEDS:
        ensure_topic(admin, feed.topic, name=feed.topic_name)
        state = await_topic(admin, feed.topic_name)
        writer = LedgeredWriter(catalog, feed.contract, feed.topic_name, run_id=run_id)
        positions = writer.start(state)
        if all(bounds.end <= positions[partition] for partition, bounds in state.partitions.items()):
            continue
        consumer = open_consumer(settings)
        try:
            for _ in writer.append_all(drain(consumer, feed.topic_name, state.topic_id, positions, limits)):
                pass
        finally:
            consumer.close()


def _send(settings: Settings, feed: Feed, found: Messages, progress: Progress) -> Sent:
    from lakehouse.adapters.kafka.produce import send

    sent = Sent(found.changed, found.gone, found.said_again)
    name = feed.topic_name
    send(settings, name, _sendable(found.batches), on_sent=lambda count: progress.on_sent(name, count, sent.total))
    return sent


def _sendable(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[bytes, bytes]]:
    for batch in batches:
        keys, values = (batch.column(name).cast(pa.binary()).to_pylist() for name in ("key", "value"))
        yield from zip(keys, values, strict=True)
