"""What bronze says of the players, each event once; and gold held against it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from lakehouse.adapters.iceberg.catalog import ensure_table
from lakehouse.domains.players import agreement, lake
from lakehouse.domains.players.contract import PLAYER_EVENT
from lakehouse.settings import load

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
BUILT = AT + timedelta(hours=2)


@pytest.fixture
def bronze(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> Table:
    for module in (lake, agreement):
        monkeypatch.setattr(module, "connect", lambda settings: catalog)
    return ensure_table(catalog, PLAYER_EVENT)


def land(table: Table, *events: dict[str, Any]) -> None:
    """Append events of player `p`, who scores, an hour after another where nothing else is said."""
    schema = table.schema().as_arrow()
    usual = {"event_time": AT, "event_type": "player_score", "player_id": "p", "game_id": "g", "score": 5}
    usual |= {"kafka_timestamp": AT, "kafka_partition": 0, "ingested_at": AT}
    rows = [dict.fromkeys(schema.names) | usual | event for event in events]
    table.append(pa.Table.from_pylist(rows, schema))


def test_what_came_again_is_in_the_version_and_among_the_repeats_and_in_no_total(bronze: Table) -> None:
    land(
        bronze,
        {"event_id": "a", "kafka_offset": 7, "kafka_timestamp": AT + timedelta(days=2), "event_type": "move"},
        {"event_id": "a", "kafka_offset": 0},
        {"event_id": "b", "kafka_offset": 1, "score": 2},
        {"event_id": "b", "kafka_offset": 9, "score": 2},
        {"event_id": "gone", "kafka_offset": 3, "erased_at": AT},
        {"event_id": "c", "kafka_offset": 4, "player_id": "q", "event_type": "move", "score": None},
    )
    found = lake.of_lake(load())
    assert found.totals is not None
    assert found.scores is not None
    totals = {row.pop("player_id"): row for row in found.totals.to_pylist()}
    assert {player: (row["total_events"], row["version"]) for player, row in totals.items()} == {
        "p": (2, 4),
        "q": (1, 1),
    }
    assert json.loads(totals["p"]["event_breakdown"]) == {"player_score": 2}
    assert json.loads(totals["p"]["repeats"]) == {"move": 1, "player_score": 1}
    assert json.loads(totals["q"]["repeats"]) == {}
    scores = {(row["period"], row["period_start"]): row for row in found.scores.to_pylist()}
    assert set(scores) == {("daily", AT.date()), ("weekly", AT.date()), ("alltime", date(1970, 1, 1))}
    for row in scores.values():
        assert (row["score"], row["version"], row["repeated_events"], row["repeated_score"]) == (7, 3, 1, 2)


def test_gold_has_what_bronze_had_before_it_was_built_and_nothing_else(bronze: Table, catalog: SqlCatalog) -> None:
    columns = {"player_id": pa.string(), "events": pa.int64(), "_audit_loaded_at": pa.timestamp("us", "UTC")}

    def differing(**events: int) -> dict[str, tuple[int | None, int | None]]:
        rows = [dict(zip(columns, (player, count, BUILT), strict=True)) for player, count in events.items()]
        built = pa.Table.from_pylist(rows, pa.schema(columns))
        catalog.create_table("gold.dim_player", built.schema).append(built)
        found, _ = agreement._gold_against_bronze(load(), timedelta(minutes=3))
        catalog.drop_table("gold.dim_player")
        return {one.what: (one.said, one.said_otherwise) for one in found}

    late = BUILT - timedelta(minutes=2)
    land(bronze, {"event_id": "a", "kafka_offset": 0}, {"event_id": "a", "kafka_offset": 5}, {"event_id": "b"})
    land(bronze, {"event_id": "c", "ingested_at": late}, {"event_id": "d", "player_id": "new", "ingested_at": late})
    assert differing(p=2) == differing(p=3) == differing(p=3, new=1) == {}
    assert differing(p=1) == {"events of p": (1, 3)}
    assert differing(p=4, nobody=1) == {"events of p": (4, 3), "events of nobody": (1, None)}
