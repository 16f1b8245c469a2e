"""Commits that are a compare-and-swap on the table they read.

PyIceberg retries an append that lost a race by itself, on top of whatever won: a writer that decided on stale numbers
would land its rows all the same. So that retry is switched off here, on the loaded table only (other engines go on
retrying theirs), and the caller decides again from the table as it is.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Never, TypeVar

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table, TableProperties, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot, SnapshotLogEntry
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_random,
)

from lakehouse.errors import LedgerConflictError

COMMIT_ID = "lakehouse.commit-id"
"""Snapshot property by which a writer recognises its own commit."""

ATTEMPTS = 20
"""Several writers may be at work on a table: losing a few races is normal."""
PATIENCE_SECONDS = 120
"""A writer gives up after so many attempts and so long: the slower of two would lose any number in a row at times."""
REST_SECONDS = 0.2
"""At most, after a lost race. It does not grow: who has lost most would come last then."""

RESOLVE_ATTEMPTS = 6

T = TypeVar("T")


class LostRace(Exception):
    """Another commit came first; nothing of this one has landed."""


def _itself(frozen: object, memo: object = None) -> object:
    """Stands in for a deep copy of what never changes."""
    return frozen


# PyIceberg copies the whole metadata at each step of a commit. Snapshots are frozen: with a history of some hundred,
# copying them would cost as much as all else that a commit does.
Snapshot.__deepcopy__ = SnapshotLogEntry.__deepcopy__ = _itself  # type: ignore[assignment,method-assign]


class _Transaction(Transaction):
    """A transaction that works its metadata out once a step.

    PyIceberg does so at each of some twenty looks that an append takes at it, by a deep copy of all snapshots every
    time: the cost of a commit would grow steeply with the history that is kept.
    """

    _seen: tuple[int, TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The table's metadata with the updates so far."""
        steps = len(self._updates)
        if self._seen is None or self._seen[0] != steps:
            self._seen = (steps, super().table_metadata)
        return self._seen[1]


def append(
    table: Table,
    rows: pa.Table,
    properties: Mapping[str, str],
    evidence: Mapping[str, str],
    *,
    remove: Iterable[str] = (),
) -> None:
    """Append rows, set and remove table properties in one commit, or do nothing.

    The commit always makes a snapshot, even without rows: a commit of properties alone does not move what a
    concurrent append asserts, and would let a stale one land behind it.

    Args:
        table: As loaded when the decision was made; refreshed by the commit.
        rows: In the table's schema; may be empty.
        properties: Table properties to set.
        evidence: Properties of the snapshot, for whoever looks at it later.
        remove: Names of table properties to remove.

    Raises:
        LostRace: the table moved on since it was loaded.
    """
    with swapping(table) as (transaction, commit_id):
        transaction.append(rows, snapshot_properties={**evidence, COMMIT_ID: commit_id})
        transaction.set_properties(dict(properties))
        transaction.remove_properties(*remove)


@contextlib.contextmanager
def swapping(table: Table) -> Iterator[tuple[Transaction, str]]:
    """A transaction that is committed when the block ends, or not at all, and the id its first snapshot must carry.

    Args:
        table: As loaded when the decision was made; refreshed by the commit.

    Raises:
        LostRace: the table moved on since it was loaded.
    """
    commit_id = uuid.uuid4().hex
    table.metadata.properties[TableProperties.COMMIT_NUM_RETRIES] = "0"
    try:
        with _Transaction(table) as transaction:
            yield transaction, commit_id
    except CommitFailedException as error:
        raise LostRace(str(error)) from error
    except Exception as error:
        # The swap may have happened all the same (a time-out, a lost connection): the table knows.
        if not _has_landed(table, commit_id):
            raise error


def until_won(table: Table, attempt: Callable[[], T]) -> T:
    """Decide and commit; after a lost race decide again, from the table as it is then.

    Args:
        table: Refreshed before another attempt.
        attempt: Decides, commits by `append`, and answers.

    Raises:
        LedgerConflictError: other writers won every race.
    """

    def look_again(state: RetryCallState) -> None:
        if state.attempt_number > 1:
            table.refresh()

    def give_up(state: RetryCallState) -> Never:
        name = ".".join(table.name()[-2:])
        lost = state.attempt_number
        raise LedgerConflictError(f"{name}: lost {lost} races in a row; another writer is at work, try again later")

    attempts = Retrying(
        retry=retry_if_exception_type(LostRace),
        before=look_again,
        wait=wait_random(max=REST_SECONDS),
        stop=stop_after_attempt(ATTEMPTS) & stop_after_delay(PATIENCE_SECONDS),
        retry_error_callback=give_up,
    )
    return attempts(attempt)


def _has_landed(table: Table, commit_id: str) -> bool:
    for attempt in range(RESOLVE_ATTEMPTS):
        with contextlib.suppress(Exception) if attempt < RESOLVE_ATTEMPTS - 1 else contextlib.nullcontext():
            table.refresh()
            return any(
                snapshot.summary is not None and snapshot.summary.additional_properties.get(COMMIT_ID) == commit_id
                for snapshot in table.snapshots()
            )
        time.sleep(2**attempt * 0.25)
    return False


def current_snapshot_id(table: Table) -> int | None:
    """Newest snapshot of the table's main branch."""
    snapshot = table.snapshot_by_name(MAIN_BRANCH)
    return snapshot.snapshot_id if snapshot else None
