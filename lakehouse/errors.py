"""The few exceptions that are ours. Every message says what is wrong and what to do about it."""

from __future__ import annotations


class LakehouseError(Exception):
    """A failure a user can act on: shown as one clear message, never as a stack trace."""


class SettingsError(LakehouseError):
    """A setting is missing or has a value that cannot be used."""


class StackError(LakehouseError):
    """A server of the local stack cannot be installed, started or stopped."""


class IncompatibleSchemaError(LakehouseError):
    """A stored table differs from its contract in a way that adding columns cannot mend."""


class LedgerGapError(LakehouseError):
    """Records are gone from the source before they were read, or the source is not the one the ledger speaks of."""


class LedgerConflictError(LakehouseError):
    """Another writer kept winning the race for a table."""


class SavepointFailedError(LakehouseError):
    """A job took no savepoint, and goes on."""


class FileRefusedError(LakehouseError):
    """A file cannot be taken in as a whole."""


class FileGoneError(FileRefusedError):
    """A file is not there, or not any more."""
