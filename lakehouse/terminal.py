"""What commands print to, and how."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

WIDE = 250
"""Columns of output that no terminal shows."""

# Into a pipe or a file nothing is cut off: ids are there to be copied.
console = Console(width=None if sys.stdout.isatty() else WIDE)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.")]


def print_json(document: Any) -> None:
    """Print a document; what JSON has no type for is given as text."""
    typer.echo(json.dumps(document, indent=2, default=str))
