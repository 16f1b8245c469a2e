"""From the API to the star, under measurement: the product's own way, or the usual one.

``python -m benchmarks.rawg_worker WHO FOLDER``. The usual way asks for one page after the other, by month of release,
tries again what fails, and makes a frame of it all and a star of that, which replace the files of the last time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.child import Child

if TYPE_CHECKING:
    import pandas as pd

    from lakehouse.settings import Settings

FIRST, AGAIN, USUAL = "first", "again", "usual"


def ours(who: str) -> None:
    """Pull every game, or what was updated in the last days."""
    from lakehouse.domains.rawg.ingest import days_to_update, pull_windows
    from lakehouse.domains.rawg.windows import ROOTS
    from lakehouse.settings import load

    settings = load()
    child = Child()
    windows = list(ROOTS.values()) if who == FIRST else days_to_update(settings)
    start = time.perf_counter()
    done = pull_windows(settings, windows, run_id=who, on_landed=lambda landed, so_far: child.progress(so_far.items))
    bronze_seconds = time.perf_counter() - start
    build(settings)
    child.done(done.rows, done.commits, requests=done.requests, bronze_seconds=bronze_seconds)


def build(settings: Settings) -> None:
    """Silver and gold by dbt where there are news, as a process of its own.

    Its tests are not run, for the usual way has none.
    """
    from lakehouse.adapters.dbt.group import Group
    from lakehouse.adapters.dbt.project import DBT, DBT_PROJECT, dbt_environment
    from lakehouse.adapters.iceberg.catalog import connect
    from lakehouse.naming import Domain

    catalog, group = connect(settings), Group.of(Domain.RAWG)
    if group.is_built(catalog):
        return
    sources = group.sources(catalog)
    where = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)]
    command = [str(DBT), "--quiet", "run", "--select", f"group:{Domain.RAWG}", *where]
    subprocess.run(command, env=os.environ | dbt_environment(settings), check=True, stdout=sys.stderr)  # noqa: S603
    group.note_built(catalog, sources)


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
    star(frame, folder)
    child.done(len(frame), 1, requests=asked)


def star(games: pd.DataFrame, folder: Path) -> None:
    """Dimensions and bridges of all games, anew."""
    import pandas as pd

    for kind in ("platform", "store", "genre", "tag"):
        links = games[["id", f"{kind}s"]].explode(f"{kind}s").dropna()
        named = pd.DataFrame([one.get(kind, one) for one in links[f"{kind}s"]])[["id", "name", "slug"]]
        named.drop_duplicates("id").to_parquet(folder / f"dim_{kind}.parquet")
        bridge = pd.DataFrame({"game_id": links["id"].to_numpy(), f"{kind}_id": named["id"].to_numpy()})
        bridge["weight"] = 1 / bridge.groupby("game_id")["game_id"].transform("size")
        bridge.to_parquet(folder / f"bridge_game_{kind}.parquet")
    columns = ["id", "name", "released", "rating", "ratings_count", "metacritic", "added", "playtime"]
    games[columns].to_parquet(folder / "fact_games.parquet")


if __name__ == "__main__":
    usual(Path(sys.argv[2])) if sys.argv[1] == USUAL else ours(sys.argv[1])
