"""The product's load of PostgreSQL in a process of its own, as the asset runs it."""

from __future__ import annotations

# The product imports these where it uses them; imports are not what is measured.
import alembic.command  # noqa: F401
import duckdb  # noqa: F401

from benchmarks.child import Child
from lakehouse import settings as settings_module
from lakehouse.domains.mtg.serving import load


def main() -> None:
    """Load what is new in silver."""
    settings = settings_module.load()
    child = Child()
    done = load(settings)
    child.done(sum(done.changed.values()), 1, changed=done.changed)


if __name__ == "__main__":
    main()
