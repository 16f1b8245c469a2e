"""Real grievances through the whole path, twice: every message is accounted for, every mart row is what it should be.

Judged by the producer's record and a recomputation in plain Python; the product's numbers are only compared with them.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lakehouse.domains.feeds import ensure_topics
from lakehouse.settings import load
from lakehouse_tests import recount
from lakehouse_tests.conftest import REAL_DATA, Feed, Message, Stack, audit_of_topic, questions_of_the_readme
from lakehouse_tests.real_data import convert
from lakehouse_tests.real_data.convert import Record
from lakehouse_tests.recount import Row, Sent

pytestmark = [pytest.mark.real_data, pytest.mark.timeout(900)]

TENANTS = "(tenant_id like 'nyc%' or tenant_id = 'CHECKINGDSSWORKING')"
SEED = 311


def read(folder: Path) -> list[Record]:
    return [
        *convert.nyc311_short(folder / "nyc311" / "nyc311_2026-06_10k.csv.gz"),
        *convert.nyc311_full(folder / "nyc311" / "nyc311_2022-05_full_columns.csv"),
        *convert.digit(folder / "digit" / "pgr_indexed_documents.json"),
    ]


def as_delivered(chance: random.Random, events: list[Record]) -> list[Message]:
    """In any order, some twice, some broken."""
    messages: list[Message] = [(event["entity_id"].encode(), convert.encode(event), None) for event in events]
    messages += chance.sample(messages, k=len(messages) // 20)
    for number, event in enumerate(chance.sample(events, k=len(events) // 50)):
        reason, broken = convert.BREAKS[number % len(convert.BREAKS)]
        messages.append((event["entity_id"].encode(), broken(event), reason))
    chance.shuffle(messages)
    return messages


def run_daily() -> None:
    """The scheduled job, as a user starts it."""
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "lakehouse.definitions", "-j", "pgr_daily"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]


@dataclass(frozen=True)
class Delivery:
    """All that was sent, and the feed it went through."""

    feed: Feed
    sent: list[Sent]

    @property
    def events(self) -> list[recount.Event]:
        return recount.first_of_duplicates(self.sent)


@pytest.fixture(scope="module")
def feed(stack: Stack) -> Iterable[Feed]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_KAFKA_TOPIC", "real-pgr-events")
        ensure_topics(load())
        yield Feed(stack, "real-pgr-events")


@pytest.fixture(scope="module", params=["built at once", "after late events"])
def delivery(request: pytest.FixtureRequest, feed: Feed, parts: list[list[Message]], sent: list[Sent]) -> Delivery:
    """First most of the events; then, on top, those that come late and what happened to the cases since."""
    sent += feed.send(parts[request.param == "after late events"])
    run_daily()
    return Delivery(feed, list(sent))


@pytest.fixture(scope="module")
def sent() -> list[Sent]:
    return []


@pytest.fixture(scope="module")
def parts() -> list[list[Message]]:
    chance = random.Random(SEED)
    events = read(Path(os.environ[REAL_DATA]) / "pgr")
    chance.shuffle(events)
    first, late = events[: len(events) * 4 // 5], events[len(events) * 4 // 5 :]
    return [as_delivered(chance, first), as_delivered(chance, [*late, *convert.later(events)])]


def test_every_message_is_in_bronze_or_among_the_dead_letters_once_with_its_exact_bytes(delivery: Delivery) -> None:
    assert delivery.feed.discrepancies(delivery.sent) == []


def test_silver_holds_every_event_once(delivery: Delivery) -> None:
    found = delivery.feed.stack.sql(
        f"select event_id, tenant_id, entity_id, event_type, event_time from iceberg.silver.pgr_events where {TENANTS}"
    )
    assert len({row[0] for row in found}) == len(found)
    with_id = {event["event_id"] for event in delivery.events if event.get("event_id")}
    assert with_id <= {row[0] for row in found}
    wanted = [(e["tenant_id"], e["entity_id"], e["event_type"], recount.moment(e)) for e in delivery.events]
    assert sorted(tuple(row[1:]) for row in found) == sorted(wanted)


def test_every_case_has_the_lifecycle_that_its_events_say(delivery: Delivery) -> None:
    wanted = recount.lifecycle(delivery.events)
    assert_same(rows(delivery, "gold.pgr_case_lifecycle"), wanted, "tenant_id", "entity_id")


def test_every_day_has_the_funnel_that_its_events_say(delivery: Delivery) -> None:
    wanted = recount.funnel(delivery.events)
    assert_same(rows(delivery, "gold.pgr_funnel_daily"), wanted, "event_date", "tenant_id", "ward_id", "channel")


def test_every_day_ends_with_the_backlog_that_the_events_so_far_say(delivery: Delivery) -> None:
    """The days go up to the last event in the table, which other tests may have sent."""
    ((last_day,),) = delivery.feed.stack.sql("select max(event_date) from iceberg.silver.pgr_events")
    wanted = recount.backlog(delivery.events, min(last_day, datetime.now(UTC).date()))
    found = rows(delivery, "gold.pgr_backlog_daily")
    assert_same(found, wanted, "backlog_date", "tenant_id", "ward_id", "channel", "status")


@pytest.mark.parametrize("delivery", ["after late events"], indirect=True)
def test_the_questions_of_the_readme_have_answers(delivery: Delivery) -> None:
    questions = questions_of_the_readme("pgr")
    assert len(questions) >= 4
    for question in questions:
        assert delivery.feed.stack.sql(question), question


def test_the_audit_is_complete_and_counts_what_was_sent(delivery: Delivery) -> None:
    report = audit_of_topic(deep=True)
    accounts = [account for account in report.accounts if account.source == delivery.feed.topic]
    refused = sum(message.error_type is not None for message in delivery.sent)
    assert report.verdict == "complete"
    assert sum(account.bronze for account in accounts) == len(delivery.sent) - refused
    assert sum(account.dead_letters for account in accounts) == refused
    assert sum(account.in_flight for account in accounts) == 0


def test_a_complaint_known_by_name_has_its_known_life(delivery: Delivery) -> None:
    """By hand from the file: submitted 2024-10-03 04:59:21.688, resolved 09:14:28.167 that day, 336 h promised."""
    (case,) = [r for r in rows(delivery, "gold.pgr_case_lifecycle") if r["entity_id"] == "PB-PGR-2024-09-03-000206"]
    assert case["current_status"] == "RESOLVED"
    assert case["time_to_resolve_seconds"] == 15_306
    assert (case["sla_hours"], case["is_sla_breached"], case["reopen_count"]) == (336, False, 0)


def rows(delivery: Delivery, table: str) -> list[Row]:
    """Rows of the real tenants, without the audit columns."""
    names = [
        column
        for (column,) in delivery.feed.stack.sql(
            "select column_name from iceberg.information_schema.columns"
            " where table_schema || '.' || table_name = ? order by ordinal_position", table,
        )
        if not column.startswith("_audit_") and column != "case_id"
    ]  # fmt: skip
    found = delivery.feed.stack.sql(f"select {', '.join(names)} from iceberg.{table} where {TENANTS}")
    return [dict(zip(names, row, strict=True)) for row in found]


def assert_same(found: list[Row], wanted: dict[Any, Row], *key: str) -> None:
    by_key = {tuple(row[name] for name in key): row for row in found}
    assert len(by_key) == len(found)
    assert by_key.keys() == wanted.keys()
    assert [(row, wanted[k]) for k, row in by_key.items() if row != wanted[k]] == []
