"""Which files of a build are taken, from which server, and which of them are refused."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.adapters.iceberg.resource import IcebergResource
from lakehouse.contracts.contract import Contract
from lakehouse.domains.mtg import pull as pulling
from lakehouse.domains.mtg.changes import Messages
from lakehouse.domains.mtg.checks import kept_files_are_what_was_received
from lakehouse.domains.mtg.feeds import FEEDS
from lakehouse.domains.mtg.made import make_builds
from lakehouse.domains.mtg.pull import ATTEMPTS, Pulled, Sent, Wanted, changed_files, pull, take_again, wanted
from lakehouse.domains.mtg.server import Json, Shelf, serving, write_build
from lakehouse.domains.mtg.source import ALL_PRICES, PRICES_TODAY, UnreadableFileError
from lakehouse.ledger.feed import Feed
from lakehouse.naming import MTG_CARDS, MTG_PRICES, TableName
from lakehouse.settings import Settings, load
from lakehouse_tests.magic import Lake, card

EARLIER, DAY, NEXT = date(2026, 2, 27), date(2026, 3, 1), date(2026, 3, 2)
BOTH = (DAY, NEXT)
CATALOGS: list[Catalog] = []
EVERYTHING = Wanted(None, prices=True)


class FakeIceberg(IcebergResource):
    """A catalog that is given."""

    def catalog(self) -> Catalog:
        return CATALOGS[-1]


@dataclass
class Nights:
    """Pulls from servers, one build each time; what is sent waits here, in place of Kafka, until it is landed."""

    lake: Lake
    settings: Settings
    builds: dict[date, Path]
    waiting: list[tuple[Contract, bytes]] = field(default_factory=list)

    def land_all(self, *_: Any) -> None:
        for feed in FEEDS:
            self.lake.land(feed.contract, [value for contract, value in self.waiting if contract is feed.contract])
        self.waiting.clear()

    def send(self, _: Settings, feed: Feed, found: Messages, *__: Any) -> Sent:
        values = [value for batch in found.batches for value in batch.column("value").to_pylist()]
        self.waiting += [(feed.contract, value.encode()) for value in values]
        return Sent(found.changed, found.gone, found.said_again)

    @contextmanager
    def server(self) -> Iterator[Shelf]:
        """A server that knows the first build."""
        with serving(self.builds[DAY]) as shelf:
            yield shelf

    def rows(self, table: TableName, column: str) -> list[Any]:
        found: list[Any] = self.lake.catalog.load_table(table.identifier).scan().to_arrow()[column].to_pylist()
        return found

    def at(self, shelf: Shelf) -> Settings:
        return self.settings.model_copy(update={"mtgjson_url": shelf.address})

    def take(self, shelf: Shelf, day: date = DAY, what: Wanted = EVERYTHING) -> Pulled:
        shelf.folder = self.builds[day]
        shelf.requests.clear()
        return pull(self.at(shelf), self.lake.catalog, what, run_id="tests")


@pytest.fixture
def nights(catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nights:
    folders = [folder for day in (EARLIER, NEXT) for folder in make_builds(tmp_path / "made", day, cards=3, sets=2)]
    builds = {date.fromisoformat(folder.name): folder for folder in folders}
    made = Nights(Lake(catalog, tmp_path), load(home=tmp_path / "home"), builds)
    monkeypatch.setattr(pulling, "land_all", made.land_all)
    monkeypatch.setattr(pulling, "_send", made.send)
    return made


def asked(shelf: Shelf) -> set[str]:
    return {request.name.partition(".")[0] for request in shelf.requests}


@pytest.mark.parametrize(
    ("said", "sets"),
    [("all", None), ("ALL", ("ALL",)), ("all,neo", ("ALL", "NEO")), (" neo, MH2 ,NEO", ("NEO", "MH2")), ("", ())],
)
def test_all_is_every_set_and_in_capitals_the_code_of_one(said: str, sets: tuple[str, ...] | None) -> None:
    assert wanted(said, prices=True) == Wanted(sets, prices=True)


def test_what_was_taken_is_not_taken_again(nights: Nights) -> None:
    with nights.server() as shelf:
        assert nights.take(shelf).parts
        assert nights.take(shelf).parts == []
        assert asked(shelf) == {"Meta"}


def test_a_build_of_another_server_is_taken_though_it_has_the_same_day_and_version(nights: Nights) -> None:
    with nights.server() as one, nights.server() as other:
        nights.take(one)
        assert nights.take(other).parts
        assert changed_files(nights.at(other), nights.lake.catalog) == (2, [])


def test_files_of_another_server_are_not_those_that_are_looked_at(nights: Nights) -> None:
    with nights.server() as one, nights.server() as other:
        nights.take(one)
        assert changed_files(nights.at(other), nights.lake.catalog) == (0, [])


def test_the_prices_of_ninety_days_are_taken_at_first_and_then_those_of_the_day(nights: Nights) -> None:
    prices = Wanted(prices=True)
    with nights.server() as shelf:
        nights.take(shelf, DAY, prices)
        assert asked(shelf) == {"Meta", ALL_PRICES}
        nights.take(shelf, NEXT, prices)
        assert asked(shelf) == {"Meta", PRICES_TODAY}


def test_after_nights_that_were_missed_the_prices_of_ninety_days_are_taken_again(nights: Nights) -> None:
    prices = Wanted(prices=True)
    with nights.server() as shelf:
        nights.take(shelf, EARLIER, prices)
        nights.take(shelf, NEXT, prices)
        assert asked(shelf) == {"Meta", ALL_PRICES}


def test_what_counts_as_taken_is_in_bronze(nights: Nights) -> None:
    with nights.server() as shelf:
        nights.take(shelf, NEXT)
    assert nights.waiting == []
    assert DAY in set(nights.rows(MTG_PRICES, "price_date"))


def test_a_kept_file_that_is_no_longer_what_was_received_is_named(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def checked() -> dg.AssetCheckResult:
        result = kept_files_are_what_was_received(iceberg=FakeIceberg())
        assert isinstance(result, dg.AssetCheckResult)
        return result

    with nights.server() as shelf:
        nights.take(shelf)
        monkeypatch.setenv("LAKEHOUSE_HOME", str(nights.settings.home))
        monkeypatch.setenv("LAKEHOUSE_MTGJSON_URL", shelf.address)
    CATALOGS.append(nights.lake.catalog)
    assert checked().passed
    (path,) = nights.settings.raw_folder.rglob("AllPrintings.json.gz")
    path.write_bytes(path.read_bytes() + b"!")
    found = checked()
    assert not found.passed
    assert found.metadata["changed"].value == ["AllPrintings.json.gz"]


def test_of_a_day_with_files_of_two_builds_the_one_that_came_last_is_taken_again(nights: Nights) -> None:
    kept = nights.settings.raw_folder / "mtg" / str(DAY)
    with nights.server() as shelf:
        nights.take(shelf, DAY, Wanted(("HRB", "EMB")))
        again = json.loads((nights.builds[DAY] / "HRB.json").read_text())
        again["meta"]["version"] = "another"
        path = kept / "HRB.json.gz"
        path.write_bytes(gzip.compress(json.dumps(again).encode()))
        path.with_name(f"{path.name}.sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())
        taken = take_again(nights.at(shelf), nights.lake.catalog, DAY, run_id="tests")
    assert taken is not None
    assert (taken.build.version, [part.name for part in taken.parts]) == ("another", ["HRB"])


def set_of(**members: Any) -> Json:
    return {"code": "HRB", "name": "Harbours", "totalSetSize": 1, "cards": [card("a")], "tokens": []} | members


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("AllPrintings", {"data": {}}),
        ("AllPrintings", {}),
        ("AllPrintings", {"data": {"HRB": None}}),
        ("AllPrintings", {"data": {"HRB": set_of(cards=[])}}),
        ("HRB", {}),
        ("HRB", {"data": {}}),
        ("HRB", {"data": set_of(cards=None)}),
        ("HRB", {"data": set_of(cards=[])}),
        ("SetList", {}),
        ("SetList", {"data": []}),
    ],
)
def test_a_file_that_is_sound_but_says_nothing_is_refused_and_nothing_is_gone(
    nights: Nights, tmp_path: Path, name: str, data: Json
) -> None:
    what = Wanted(None if name == "AllPrintings" else ("HRB",))
    nights.builds = {day: write_build(tmp_path / str(day), str(day), f"v{day}", {"HRB": set_of()}) for day in BOTH}
    meta = {"date": str(NEXT), "version": f"v{NEXT}"}
    (nights.builds[NEXT] / f"{name}.json").write_text(json.dumps({"meta": meta} | data))
    with nights.server() as shelf:
        nights.take(shelf, DAY, what)
        with pytest.raises(UnreadableFileError, match="is what its checksum says, but"):
            nights.take(shelf, NEXT, what)
        assert len(shelf.asked(rf"{name}\.json\.gz")) == ATTEMPTS
    assert nights.waiting == []
    assert nights.rows(MTG_CARDS, "is_deleted") == [False]
    assert not list(nights.settings.raw_folder.rglob(f"{NEXT}/{name}.*"))


@pytest.mark.parametrize(
    ("before", "after", "deleted"),
    [
        (set_of(cards=[]), set_of(cards=[]), []),
        (set_of(), set_of(cards=[], totalSetSize=0), [False, True]),
    ],
)
def test_a_set_may_have_no_cards_where_it_had_none_or_says_so(
    nights: Nights, tmp_path: Path, before: Json, after: Json, deleted: list[bool]
) -> None:
    told = zip(BOTH, (before, after), strict=True)
    nights.builds = {day: write_build(tmp_path / str(day), str(day), f"v{day}", {"HRB": one}) for day, one in told}
    with nights.server() as shelf:
        for day in BOTH:
            nights.take(shelf, day, Wanted(("HRB",)))
    assert sorted(nights.rows(MTG_CARDS, "is_deleted")) == deleted
