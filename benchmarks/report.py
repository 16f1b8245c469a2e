"""The table of `README.md`, rendered from the results: ``python -m benchmarks.report``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import save

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
Result = dict[str, Any]


def publish(name: str, result: Result, console: Console) -> None:
    """Write a result, and show its aims."""
    console.print(f"written: {save(name, result)}")
    show(result, console)


def show(result: Result, console: Console) -> None:
    """The aims of one result on the terminal."""
    table = Table("aim", "measured", "met")
    for aim in result["aims"]:
        table.add_row(aim["aim"], _number(aim["measured"]), "yes" if aim["met"] else "NO")
    console.print(table)


def render(results: list[Result]) -> str:
    """The table, in Markdown: a line a contender, and the aims below it."""
    lines = [
        "| benchmark | what | rows/s | rows/CPU s | peak MB | files | snapshots | exact |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for result in results:
        for contender in result.get("contenders", {}).values():
            median = contender["median"]
            cells = [_number(median[name]) for name in ("rows_per_second", "rows_per_cpu_second")]
            cells += [_number(median[name]) if name in median else "" for name in ("peak_mb", "files", "snapshots")]
            cells += ["yes" if contender["exact"] else "**no**"]
            lines.append(f"| {result['benchmark']} | {contender['title']} | {' | '.join(cells)} |")
        for aim in result["aims"]:
            met = "met" if aim["met"] else "**missed**"
            lines.append(f"| {result['benchmark']} | aim: {aim['aim']} | {_number(aim['measured'])} | | | | | {met} |")
    for result in results:
        found = result["machine"]
        lines += [
            "",
            f"{result['benchmark']}: {found['date']}, {found['cpu']}, {found['cores']} cores, {found['memory_gb']} GB, "
            f"Python {found['python']}, Trino {found['versions']['trino_server']}, Kafka {found['versions']['kafka']}, "
            f"PyIceberg {found['versions']['pyiceberg']}; load at start {found['load_at_start']}. {_scale(result)}",
        ]
    return "\n".join(lines)


NAMES = (
    *("microbatch", "ingestion", "latency", "history", "compaction", "backfill", "streaming", "growth", "dimension"),
    *("http_ingest", "serving", "visible", "mtg", "rawg"),
)


def update_readme(names: tuple[str, ...] = NAMES) -> None:
    """Put the table between the two marks of the README."""
    paths = [HERE / "results" / f"{name}.json" for name in names]
    table = render([json.loads(path.read_text()) for path in paths if path.exists()])
    readme = HERE / "README.md"
    head, rest = readme.read_text().split(BEGIN)
    readme.write_text(f"{head}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}")


def _scale(result: Result) -> str:
    if "scale" in result:
        return str(result["scale"])
    if "rounds" in result:
        return f"{result['rows']:,} events of {result['mean_event_bytes']:.0f} bytes, median of {result['rounds']}."
    return f"{result['rate']:,} events/s for {result['seconds']} s."


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


if __name__ == "__main__":
    update_readme()
