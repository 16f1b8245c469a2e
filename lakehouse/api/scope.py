"""What an API key allows."""

from enum import StrEnum


class Scope(StrEnum):
    """Part of the service."""

    WRITE = "write"
    """Send events."""
    READ = "read"
    """Ask for totals and boards."""
