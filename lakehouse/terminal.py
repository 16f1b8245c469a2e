"""What commands print to."""

import sys

from rich.console import Console

WIDE = 250
"""Columns of output that no terminal shows."""

# Into a pipe or a file nothing is cut off: ids are there to be copied.
console = Console(width=None if sys.stdout.isatty() else WIDE)
