"""A build's sets, cards and prices as rows of Parquet files, parsed as a stream: all is read before any is sent."""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.contracts.contract import Contract
from lakehouse.domains.mtg.contract import CARD_MESSAGE, PRICE_MESSAGE, SET_MESSAGE, VOLATILE
from lakehouse.domains.mtg.source import Kept, read_prices, read_sets

ROWS, BYTES = 10_000, 8 * 1024 * 1024
"""Rows, and bytes of their objects, that are written at once."""
PAYLOAD, VOLATILE_PAYLOAD = "payload", "volatile"
KEYS = {
    SET_MESSAGE.name: ("set_code",),
    CARD_MESSAGE.name: ("uuid", "set_code"),
    PRICE_MESSAGE.name: ("uuid", "price_date"),
}
"""Columns that say what a row of each kind is about; null where the file does not say: the contract judges."""

_encode = msgspec.json.Encoder(order="deterministic", decimal_format="number").encode


@dataclass
class Part:
    """What a file says about a set, or about prices."""

    name: str
    """Code of the set, or name of a file that tells of all sets, or of prices."""
    source: Kept
    items: int = 0
    declared_items: int | None = None
    first_date: str | None = None
    last_date: str | None = None


def columns_of(contract: Contract) -> tuple[str, ...]:
    """Columns of a spool, all of them texts: the key, hashes, and the object; of a card, what is volatile, apart."""
    hashes = (column.name for column in contract.fields if column.name.endswith("_hash"))
    payloads = (VOLATILE_PAYLOAD, PAYLOAD) if contract is CARD_MESSAGE else (PAYLOAD,)
    return (*KEYS[contract.name], *hashes, *payloads)


class Spool:
    """Writes rows of one kind to a file, some at a time."""

    def __init__(self, contract: Contract, folder: Path) -> None:
        """Begin a file in the folder."""
        self.contract, self.path = contract, folder / f"{contract.name}.parquet"
        self._schema = pa.schema([(name, pa.string()) for name in columns_of(contract)])
        self._writer = pq.ParquetWriter(self.path, self._schema, compression="zstd", compression_level=1)
        self._rows: list[tuple[str | None, ...]] = []
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def add(self, *row: str | None) -> None:
        """Add a row: values of `columns_of`, in order."""
        self._rows.append(row)
        self._bytes += len(row[-1] or "")
        if len(self._rows) >= ROWS or self._bytes >= BYTES:
            self._flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; it is whole unless something was raised."""
        if kind is None:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        columns = list(zip(*self._rows, strict=True)) or [()] * len(self._schema)
        arrays = [pa.array(column, pa.string()) for column in columns]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows, self._bytes = [], 0


def spool_sets(
    files: Iterable[Kept], sets: Spool, cards: Spool, *, on_set: Callable[[str], None] = lambda code: None
) -> Iterator[Part]:
    """Parse sets of files into rows; a set is a row without its cards, a card, or face, is one.

    Args:
        files: Set files, or `AllPrintings`.
        sets: For the sets.
        cards: For their cards.
        on_set: Told the code of each set.

    Yields:
        What was found of each set.

    Raises:
        UnreadableFileError: a file cannot be read to its end.
    """
    for file in files:
        for code, told in read_sets(file):
            on_set(code)
            found = told.pop("cards", None)
            listed = found if isinstance(found, list) else []
            for card in listed:
                _add_card(cards, code, card)
            payload = _encode(told)
            sets.add(code, _sha256(payload), payload.decode())
            declared = told.get("totalSetSize")
            yield Part(code, file, len(listed), declared if isinstance(declared, int) else None)


def _add_card(cards: Spool, code: str, card: Any) -> None:
    uuid = card.get("uuid") if isinstance(card, dict) else None
    volatile = {name: card.pop(name) for name in VOLATILE if name in card} if isinstance(card, dict) else {}
    lasting, changing = _encode(card), _encode(volatile)
    hashes = (_sha256(lasting), _sha256(lasting + changing))
    cards.add(uuid if isinstance(uuid, str) else None, code, *hashes, changing.decode(), lasting.decode())


def spool_prices(file: Kept, prices: Spool, *, on_card: Callable[[], None] = lambda: None) -> Part:
    """Parse a file of prices into rows: one a card and day.

    Args:
        file: `AllPricesToday` or `AllPrices`.
        prices: For the rows.
        on_card: Told of each card.

    Raises:
        UnreadableFileError: the file cannot be read to its end.
    """
    part = Part(file.name, file)
    for uuid, told in read_prices(file):
        on_card()
        found = by_day(told)
        for day, listed in sorted(found.days.items()):
            payload = _encode(sorted(listed, key=_place))
            prices.add(uuid, day, _sha256(payload), payload.decode())
            part.items += 1
            part.first_date = min(part.first_date or day, day)
            part.last_date = max(part.last_date or day, day)
        for problem in found.problems:
            payload = _encode(problem)
            prices.add(uuid, None, _sha256(payload), payload.decode())
    return part


@dataclass
class Prices:
    """A card's prices, by day; and what no day could be found of."""

    days: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    problems: list[dict[str, Any]] = field(default_factory=list)


def by_day(told: Any) -> Prices:
    """A card's object in a file of prices, where any level may be missing, as lists by day.

    Whatever is an object beside a provider's `currency` is a kind of price: an unknown one is kept like the known ones.
    """
    found = Prices()
    for channel, providers in _members(told, found, {}):
        for provider, offers in _members(providers, found, {"channel": channel}):
            where = {"channel": channel, "provider": provider}
            currency = offers.get("currency") if isinstance(offers, dict) else None
            for kind, finishes in _members(offers, found, where):
                if kind == "currency":
                    continue
                for finish, days in _members(finishes, found, where | {"price_type": kind}):
                    offer = where | {"price_type": kind, "finish": finish}
                    for day, price in _members(days, found, offer):
                        one = offer | {"price": price} | ({} if currency is None else {"currency": currency})
                        if _is_day(day):
                            found.days[day].append(one)
                        else:
                            found.problems.append(one | {"day": day})
    return found


def _members(told: Any, found: Prices, where: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(told, dict):
        yield from told.items()
    elif told is not None:
        found.problems.append(where | {"unexpected": told if not isinstance(told, Decimal) else str(told)})


def _place(price: dict[str, Any]) -> tuple[str, ...]:
    return tuple(price[name] for name in ("channel", "provider", "price_type", "finish"))


@functools.cache
def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _sha256(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()
