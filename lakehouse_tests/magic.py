"""Made sets of cards and prices, and taking builds of them without a server: messages go straight into bronze."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog

from lakehouse.adapters.batch import RECORDS, Batch, Range
from lakehouse.contracts.contract import Contract
from lakehouse.domains.mtg.changes import find_changes
from lakehouse.domains.mtg.contract import CARD_MESSAGE, PRICE_MESSAGE, SET_MESSAGE
from lakehouse.domains.mtg.source import ALL_PRICES, ALL_PRINTINGS, Build, Kept
from lakehouse.domains.mtg.spool import Part, Spool, spool_prices, spool_sets
from lakehouse.domains.mtg.taken import write_down
from lakehouse.ledger.writer import LedgeredWriter

Json = dict[str, Any]
FIRST = date(2026, 1, 1)


def card(uuid: str, **members: Any) -> Json:
    """A card with what is always there, and what is given."""
    return {"uuid": uuid, "name": f"Card {uuid}", "number": "1", "legalities": {}, "colors": []} | members


def build(day: int) -> Build:
    """The build of a day of January."""
    return Build(FIRST.replace(day=day), f"5.3.0+202601{day:02}")


@dataclass
class Lake:
    """Bronze, and how far each topic is."""

    catalog: Catalog
    folder: Path
    offsets: dict[str, int] = field(default_factory=dict)

    def take(
        self,
        day: int,
        sets: Mapping[str, Sequence[Any]] | None = None,
        prices: Json | None = None,
        *,
        all_sets: bool = False,
        lands: int | None = None,
    ) -> list[Json]:
        """Take sets, by code, or prices of a day's build.

        Args:
            day: Of January.
            sets: The cards of each.
            prices: MTGJSON's objects, by uuid.
            all_sets: Whether there are no others.
            lands: How many messages of each kind land before the run is killed; None: all, and it ends well.

        Returns:
            The messages that were due, in their order.
        """
        folder = self.folder / f"take-{len(list(self.folder.glob('take-*')))}"
        folder.mkdir()
        parts, spools = self._parse(folder, sets, prices, all_sets=all_sets)
        due = []
        for contract in (SET_MESSAGE, CARD_MESSAGE, PRICE_MESSAGE):
            own = [part for part in parts if (part.name == ALL_PRICES) == (contract is PRICE_MESSAGE)]
            if own:
                found = find_changes(self.catalog, contract, spools[contract.name], build(day), own, folder)
                values = [value for batch in found.batches for value in batch.column("value").to_pylist()]
                assert len(values) == found.changed + found.gone + found.said_again
                self.land(contract, [value.encode() for value in values[:lands]])
                due += [json.loads(value) for value in values]
        if lands is None:
            write_down(self.catalog, build(day), parts)
        return due

    def _parse(
        self, folder: Path, sets: Mapping[str, Sequence[Any]] | None, prices: Json | None, *, all_sets: bool
    ) -> tuple[list[Part], dict[str, Path]]:
        told = {code: {"code": code, "name": f"Set {code}", "cards": listed} for code, listed in (sets or {}).items()}
        files = [_file(folder, ALL_PRINTINGS, told)] if all_sets else []
        files += [] if all_sets else [_file(folder, code, one) for code, one in told.items()]
        with ExitStack() as opened:
            contracts: tuple[Contract, ...] = (SET_MESSAGE, CARD_MESSAGE, PRICE_MESSAGE)
            spools = {c.name: opened.enter_context(Spool(c, folder)) for c in contracts}
            parts = list(spool_sets(files, spools[SET_MESSAGE.name], spools[CARD_MESSAGE.name]))
            if all_sets:
                parts.append(Part(ALL_PRINTINGS, files[0]))
            if prices is not None:
                parts.append(spool_prices(_file(folder, ALL_PRICES, prices), spools[PRICE_MESSAGE.name]))
        return parts, {name: spool.path for name, spool in spools.items()}

    def land(self, contract: Contract, values: Iterable[bytes]) -> None:
        """Land messages, as a draining run does."""
        values = list(values)
        first = self.offsets.get(contract.name, 0)
        end = self.offsets[contract.name] = first + len(values)
        if not values:
            return
        count = len(values)
        records = pa.table(
            [
                pa.array([0] * count, pa.int32()),
                pa.array(range(first, end), pa.int64()),
                pa.array([datetime.now(UTC)] * count, pa.timestamp("us", tz="UTC")),
                pa.nulls(count, pa.binary()),
                pa.array(values, pa.binary()),
            ],
            schema=RECORDS,
        )
        writer = LedgeredWriter(self.catalog, contract, contract.name, run_id="tests")
        writer.append(Batch(contract.name, "an-id", records, {0: Range(first, end)}))


def _file(folder: Path, name: str, data: Any) -> Kept:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"data": data}))
    return Kept(name, path, f"http://made/{name}.json", "0" * 64, datetime.now(UTC))
