"""The servers on this machine: `up`, `down` and `status` for whoever needs them from Python."""

from lakehouse.stack.control import Started, down, up
from lakehouse.stack.report import ServerStatus, status

__all__ = ["ServerStatus", "Started", "down", "status", "up"]
