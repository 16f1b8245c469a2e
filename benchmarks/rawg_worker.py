"""One pull under measurement: the product's own, or the usual way. ``python -m benchmarks.rawg_worker WHO FOLDER``.

The usual way asks for one page after the other, by month of release, tries again what fails, and makes a frame of it
all, which replaces the file of the last time.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.child import Child

FIRST, AGAIN, USUAL = "first", "again", "usual"


def ours(who: str) -> None:
    """Pull every game, or what was updated in the last days."""
    from lakehouse.domains.rawg.ingest import days_to_update, pull_windows
    from lakehouse.domains.rawg.windows import ROOTS
    from lakehouse.settings import load

    settings = load()
    child = Child()
    windows = list(ROOTS.values()) if who == FIRST else days_to_update(settings)
    done = pull_windows(settings, windows, run_id=who, on_landed=lambda landed, so_far: child.progress(so_far.items))
    child.done(done.rows, done.commits, requests=done.requests)


def usual(folder: Path) -> None:
    """A loop over months and pages, and pandas."""
    import pandas as pd
    import requests

    url, months = os.environ["LAKEHOUSE_RAWG_URL"], [f"{y}-{m:02}" for y in range(1980, 2040) for m in range(1, 13)]
    session, asked, games = requests.Session(), 0, []
    child = Child()
    for month in [*months, None]:
        # Those without a date are at the end of the list of all.
        wanted = {"dates": f"{month}-01,{month}-31"} if month else {"ordering": "-released"}
        page = 1
        while True:
            parameters: dict[str, Any] = {"key": "any", "page": page, "page_size": 40, **wanted}
            asked += 1
            response = session.get(f"{url}/games", params=parameters, timeout=30)
            if response.status_code != 200:
                time.sleep(0.5)
                continue
            found = response.json()
            games += found["results"]
            is_over = month is None and any(game["released"] for game in found["results"])
            if not found["next"] or is_over:
                break
            page += 1
        child.progress(len(games))
    frame = pd.DataFrame(games).drop_duplicates("id")
    frame.to_parquet(folder / "games.parquet")
    child.done(len(frame), 1, requests=asked)


if __name__ == "__main__":
    usual(Path(sys.argv[2])) if sys.argv[1] == USUAL else ours(sys.argv[1])
