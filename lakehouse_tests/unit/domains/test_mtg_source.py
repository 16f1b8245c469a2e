"""Fetching MTGJSON's files from a server that does what servers do."""

import hashlib
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from lakehouse.domains.mtg import source
from lakehouse.domains.mtg.server import Fault, Mischief, Shelf, serving, write_build
from lakehouse.domains.mtg.source import (
    ATTEMPTS,
    Build,
    FileChangedError,
    MtgJson,
    UnreadableFileError,
    read_prices,
    read_set_list,
    read_sets,
)
from lakehouse.errors import LakehouseError

BUILD = Build(date(2026, 1, 1), "5.3.0+20260101")
NEXT = Build(date(2026, 1, 2), "5.3.0+20260102")
PRICES = {"u-1": {"paper": {"shop": {"currency": "EUR", "retail": {"foil": {"2026-01-01": 0.1}}, "buylist": {}}}}}


def cards(seed: int) -> list[dict[str, object]]:
    """Cards that do not compress, so that their file has many blocks."""
    chance = random.Random(seed)
    return [{"uuid": f"u-{seed}-{n}", "text": chance.randbytes(200).hex(), "manaValue": 0.5} for n in range(800)]


def sets(seed: int) -> dict[str, dict[str, object]]:
    return {
        "NEO": {"code": "NEO", "name": "Neon", "cards": cards(seed), "tokens": []},
        "CON": {"code": "CON", "name": "Conflux", "cards": cards(seed + 1), "tokens": []},
    }


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("builds")
    return [
        write_build(folder / version[-1], str(day), version, sets(seed), PRICES)
        for seed, (day, version) in enumerate(((BUILD.date, BUILD.version), (NEXT.date, NEXT.version)))
    ]


@pytest.fixture
def shelf(builds: list[Path]) -> Iterator[Shelf]:
    with serving(builds[0]) as served:
        served.following = builds[1]
        yield served


@pytest.fixture
def client(shelf: Shelf, tmp_path: Path) -> MtgJson:
    return MtgJson(shelf.address, tmp_path, timeout=(5, 0.3), backoff=0.01)


def is_whole(path: Path, builds: list[Path]) -> bool:
    return hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256((builds[0] / path.name).read_bytes()).digest()


def test_the_newest_build_is_known_by_one_small_file(client: MtgJson, shelf: Shelf) -> None:
    assert client.newest() == BUILD
    assert [request.name for request in shelf.requests] == ["Meta.json"]
    assert shelf.requests[0].user_agent.startswith("lakehouse")


def test_a_build_of_a_day_that_has_not_come_is_none(tmp_path: Path) -> None:
    with serving(write_build(tmp_path / "build", "2199-01-01", "5.3.0+21990101", {})) as shelf:
        client = MtgJson(shelf.address, tmp_path)
        with pytest.raises(LakehouseError, match="a day that has not come: 2199-01-01"):
            client.newest()


@pytest.mark.parametrize("ending", [".json", ".json.gz", ".json.bz2", ".json.xz"])
def test_each_variant_is_read_the_same(shelf: Shelf, tmp_path: Path, ending: str) -> None:
    client = MtgJson(shelf.address, tmp_path, ending=ending)
    neo, con, everything, prices, listed = client.fetch(
        ["NEO", "CON_", "AllPrintings", "AllPricesToday", "SetList"], BUILD
    )
    assert dict(read_sets(everything)) == sets(0)
    assert dict(read_sets(neo)) == {"NEO": sets(0)["NEO"]}
    assert dict(read_sets(con)) == {"CON": sets(0)["CON"]}
    assert list(read_set_list(listed)) == ["NEO", "CON"]
    (price,) = [told["paper"]["shop"]["retail"]["foil"]["2026-01-01"] for _, told in read_prices(prices)]
    assert price == Decimal("0.1")


def test_what_is_kept_is_not_asked_for_again(client: MtgJson, shelf: Shelf) -> None:
    first = client.fetch(["NEO"], BUILD)
    asked = len(shelf.requests)
    assert client.fetch(["NEO"], BUILD) == first
    assert len(shelf.requests) == asked
    assert client.kept(BUILD.date) == {"NEO": first[0]}


@pytest.mark.parametrize(
    ("mischief", "parts"),
    [
        (Mischief.TRUNCATE, "continued"),
        (Mischief.STALL, "continued"),
        (Mischief.SHORTEN, "begun again"),
        (Mischief.CORRUPT, "begun again"),
        (Mischief.BUSY, "asked again"),
        (Mischief.UNAVAILABLE, "asked again"),
        (Mischief.FAIL, "asked again"),
    ],
)
def test_a_file_comes_whole_and_right_whatever_goes_wrong_with_it(
    client: MtgJson, shelf: Shelf, builds: list[Path], mischief: Mischief, parts: str
) -> None:
    shelf.faults.append(Fault(mischief, "NEO.json.gz", times=2))
    (kept,) = client.fetch(["NEO"], BUILD)
    assert is_whole(kept.path, builds)
    ranges = [request.range for request in shelf.asked("NEO.json.gz")]
    assert len(ranges) == 3
    assert [asked is not None for asked in ranges] == [False, *[parts == "continued"] * 2]


def test_two_clients_at_once_fetch_a_file_once(shelf: Shelf, builds: list[Path], tmp_path: Path) -> None:
    shelf.faults.append(Fault(Mischief.STALL, "NEO.json.gz"))
    clients = [MtgJson(shelf.address, tmp_path, timeout=(5, 0.3), backoff=0.01) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda client: client.fetch(["NEO"], BUILD), clients))
    assert found[0] == found[1]
    assert is_whole(found[0][0].path, builds)
    assert len(shelf.asked("NEO.json.gz")) == 2


def test_a_server_that_knows_no_ranges_begins_again(client: MtgJson, shelf: Shelf, builds: list[Path]) -> None:
    shelf.knows_ranges = False
    shelf.faults.append(Fault(Mischief.TRUNCATE, "NEO.json.gz"))
    (kept,) = client.fetch(["NEO"], BUILD)
    assert is_whole(kept.path, builds)


def test_a_checksum_that_is_a_lie_once_is_asked_for_again(client: MtgJson, shelf: Shelf, builds: list[Path]) -> None:
    shelf.faults.append(Fault(Mischief.LIE, r"NEO.json.gz.sha256"))
    (kept,) = client.fetch(["NEO"], BUILD)
    assert is_whole(kept.path, builds)


def test_a_file_that_never_is_what_its_checksum_says_is_refused_and_others_stay(
    client: MtgJson, shelf: Shelf, tmp_path: Path
) -> None:
    (con,) = client.fetch(["CON_"], BUILD)
    shelf.faults.append(Fault(Mischief.CORRUPT, "NEO.json.gz", times=100))
    with pytest.raises(LakehouseError, match=rf"NEO.json.gz did not come whole and right in {ATTEMPTS} attempts"):
        client.fetch(["NEO"], BUILD)
    assert client.kept(BUILD.date) == {"CON_": con}
    assert list(tmp_path.rglob("*.part")) == []


def test_a_server_that_stays_busy_is_left_alone(client: MtgJson, shelf: Shelf) -> None:
    shelf.faults.append(Fault(Mischief.BUSY, "Meta.json", times=100))
    with pytest.raises(LakehouseError, match="busy"):
        client.newest()
    assert len(shelf.requests) == ATTEMPTS + 1


def test_a_retry_after_is_waited_for(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waits.append)
    shelf.faults.append(Fault(Mischief.UNAVAILABLE, "Meta.json", retry_after="7"))
    MtgJson(shelf.address, tmp_path).newest()
    assert waits == [7]


def test_a_file_that_changes_under_way_is_refused_and_told(client: MtgJson, shelf: Shelf, tmp_path: Path) -> None:
    shelf.faults.append(Fault(Mischief.SWAP, "NEO.json.gz"))
    with pytest.raises(FileChangedError, match=r"is of build 5\.3\.0\+20260102"):
        client.fetch(["NEO"], BUILD)
    assert client.kept(BUILD.date) == {}
    assert client.newest() == NEXT
    (kept,) = client.fetch(["NEO"], NEXT)
    assert dict(read_sets(kept)) == {"NEO": sets(1)["NEO"]}


def test_a_part_of_another_file_is_not_gone_on_with(client: MtgJson, builds: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / str(BUILD.date)
    folder.mkdir()
    old = folder / f".NEO.json.gz.{'0' * 64}.part"
    old.write_bytes(b"something else")
    (kept,) = client.fetch(["NEO"], BUILD)
    assert is_whole(kept.path, builds)
    assert not old.exists()


def test_a_file_that_ends_too_soon_though_its_checksum_is_right_cannot_be_read(tmp_path: Path) -> None:
    folder = write_build(tmp_path / "build", str(BUILD.date), BUILD.version, sets(0))
    whole = (folder / "NEO.json").read_bytes()
    (folder / "NEO.json").write_bytes(whole[: len(whole) // 2])
    with serving(folder) as shelf:
        (kept,) = MtgJson(shelf.address, tmp_path / "kept").fetch(["NEO"], BUILD)
        with pytest.raises(UnreadableFileError, match="cannot be read"):
            list(read_sets(kept))


def test_a_set_that_is_not_there_is_named(client: MtgJson) -> None:
    with pytest.raises(LakehouseError, match=r"XYZ\.json\.gz\.sha256: the server answers 404"):
        client.fetch(["XYZ"], BUILD)


@pytest.mark.parametrize("code", ["../NEO", "neo", "", "N O"])
def test_what_is_no_code_of_a_set_names_no_file(code: str) -> None:
    with pytest.raises(LakehouseError, match="no code of a set"):
        source.file_of_set(code)
