"""What was refused lately is counted by source, reason and hour."""

from datetime import UTC, datetime, timedelta

from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.domains.pgr.contract import SERVICE_EVENT
from lakehouse.ledger.refusals import recent_refusals
from lakehouse.ledger.writer import LedgeredWriter
from lakehouse_tests.events import TOPIC, kafka_batch, numbered

TABLES = [SERVICE_EVENT.table]


def test_a_day_is_counted_by_hour_against_what_came_in(catalog: SqlCatalog) -> None:
    writer = LedgeredWriter(catalog, SERVICE_EVENT, TOPIC, run_id="run")
    writer.append(kafka_batch(numbered(range(8), bad=[3, 7])))
    writer.append(kafka_batch({8: b"", 9: None}))
    now = datetime.now(UTC)
    day = recent_refusals(catalog, TABLES, now)
    assert (day.accepted, day.refused, day.share) == (6, 4, 0.4)
    rows = [(row["source"], row["error_type"], row["dead_letters"]) for row in day.by_hour.to_pylist()]
    assert sorted(rows) == [(TOPIC, "EMPTY_VALUE", 1), (TOPIC, "INVALID_JSON", 2), (TOPIC, "NULL_VALUE", 1)]
    assert all(row["hour"].minute == 0 for row in day.by_hour.to_pylist())


def test_what_is_older_does_not_count(catalog: SqlCatalog) -> None:
    LedgeredWriter(catalog, SERVICE_EVENT, TOPIC, run_id="run").append(kafka_batch(numbered(range(8), bad=[3])))
    day = recent_refusals(catalog, TABLES, datetime.now(UTC) + timedelta(hours=25))
    assert (day.accepted, day.refused, day.share) == (0, 0, 0.0)


def test_without_any_table_nothing_was_refused(catalog: SqlCatalog) -> None:
    assert recent_refusals(catalog, TABLES, datetime.now(UTC)).share == 0.0
