"""The always-on job on real servers: Kafka → Flink → bronze, duplicates and the queue of refused records.

Every test is judged by what an independent client reads from the two topics, and by what Trino reads from the tables.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
import requests
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation

from lakehouse import stream
from lakehouse.adapters.iceberg.catalog import connect, ensure_table
from lakehouse.audit import replay_dead_letters, run_audit
from lakehouse.domains.conversions.erasure import blanked, by_id
from lakehouse.domains.conversions.source import conversion_events
from lakehouse.domains.conversions.stream import PIPELINE
from lakehouse.domains.disorder import Message
from lakehouse.errors import LakehouseError
from lakehouse.maintenance.erasure import forget, is_remembered, rewrite, select
from lakehouse.naming import TableName
from lakehouse.settings import load
from lakehouse.stack import down, up
from lakehouse_tests.conftest import Stack
from lakehouse_tests.streams import DISORDER, QUEUE, TOPIC, Stream, eventually, fields, tick

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def streaming(stack: Stack) -> Iterator[Stream]:
    """Flink beside the other servers, with the job running; commits come every other second. Read by Trino."""

    def read(table: TableName, columns: Sequence[str]) -> list[Sequence[Any]]:
        return list(stack.sql(f"select {', '.join(columns)} from iceberg.{table}"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_CHECKPOINT_SEC", "2")
        settings = load()
        up(settings, servers=["flink"])
        try:
            stream.start(settings, PIPELINE)
            with closing(Stream(settings, read)) as found:
                yield found
        finally:
            down(settings, ["flink"])


def test_every_record_is_in_exactly_one_place(streaming: Stream) -> None:
    streaming.send(list(conversion_events(20_000, seed=1, shares=DISORDER)))
    streaming.until_landed()
    assert streaming.duplicates()
    assert {record.headers["error_type"] for record in streaming.refused().values()} == {
        *("NULL_VALUE", "EMPTY_VALUE", "INVALID_UTF8", "INVALID_JSON", "NOT_AN_OBJECT", "MISSING_FIELD", "WRONG_TYPE"),
        *("INVALID_TIMESTAMP", "OUT_OF_RANGE", "TOO_LONG", "NUL_CHARACTER"),
    }


GOOD: dict[str, Any] = {"event_id": "e", "event_time": "2026-11-21T10:00:00Z", "event_type": "SINGLE"}
DAMAGE = {
    b'{"event_id": "a", "event_time": "2026-11-21T10:00:00Z", "event_type": "SINGLE"} x': "INVALID_JSON",
    b'{"event_id": "a", "event_time": "2026-11-21T10:00:00Z", "event_type": "SINGLE",}': "INVALID_JSON",
    b'{"event_id": "\\ud800", "event_time": "2026-11-21T10:00:00Z", "event_type": "SINGLE"}': "INVALID_UTF8",
    b'{"event_id": "\xed\xa0\x80", "event_time": "2026-11-21T10:00:00Z", "event_type": "SINGLE"}': "INVALID_UTF8",
    b'{"a": ' * 200 + b"1" + b"}" * 200: "TOO_DEEP",
    b" ": "INVALID_JSON",
    b"null": "NOT_AN_OBJECT",
    json.dumps(GOOD | {"event_time": "2026-11-21"}).encode(): "INVALID_TIMESTAMP",
    json.dumps(GOOD | {"event_time": "2026-11-21T24:00:00Z"}).encode(): "INVALID_TIMESTAMP",
    json.dumps(GOOD | {"event_time": "2026-02-29T10:00:00Z"}).encode(): "INVALID_TIMESTAMP",
    json.dumps(GOOD | {"event_time": "2026-11-21T10:00:00+15:00"}).encode(): "INVALID_TIMESTAMP",
    json.dumps(GOOD | {"event_time": "1899-12-31T23:59:59Z"}).encode(): "INVALID_TIMESTAMP",
    json.dumps(GOOD | {"event_time": 1.5}).encode(): "WRONG_TYPE",
    json.dumps(GOOD | {"event_time": {}}).encode(): "WRONG_TYPE",
    json.dumps(GOOD | {"input_number": "7"}).encode(): "WRONG_TYPE",
    json.dumps(GOOD | {"page_limit": 10**30}).encode(): "OUT_OF_RANGE",
    json.dumps(GOOD | {"status": "\U0001f600" * 101}).encode(): "TOO_LONG",
    json.dumps(GOOD | {"beside": {"deep": ["a\0b"]}}).encode(): "NUL_CHARACTER",
}


def test_every_kind_of_damage_is_named_and_costs_only_itself(streaming: Stream) -> None:
    before = set(streaming.topic(TOPIC))
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ")
    good = [
        json.dumps(GOOD | {"event_id": str(uuid4()), "event_time": time_} | more).encode()
        for time_, more in (
            (now, {}),
            (now[:16], {"status": "\U0001f600" * 100}),
            ("2026-11-21T10:00:00.123456789+05:30", {"user_id": "", "input_number": None}),
            ("2026-11-21T10:00:00-0330", {"input_number": -(2**63), "unknown": [1, {"a": None}]}),
        )
    ]
    future = json.dumps(GOOD | {"event_time": (datetime.now(UTC) + timedelta(hours=2)).isoformat()}).encode()
    expected: dict[bytes, str] = DAMAGE | {future: "FUTURE_TIME"}
    streaming.send([(b"k", value) for value in [*expected, *good]])
    sent = streaming.until_landed()
    refused, rows = streaming.refused(), streaming.rows()
    new = {coordinate: record for coordinate, record in sent.items() if coordinate not in before}
    assert {r.value: refused[c].headers["error_type"] for c, r in new.items() if c in refused} == expected
    times = {record.value: rows[c]["event_time"] for c, record in new.items() if c in rows}
    assert set(times) == set(good)
    assert times[good[2]] == datetime(2026, 11, 21, 4, 30, 0, 123456, tzinfo=UTC)
    assert times[good[3]] == datetime(2026, 11, 21, 13, 30, tzinfo=UTC)


def test_late_events_are_landed_and_flagged(streaming: Stream) -> None:
    def event(age: timedelta) -> Message:
        at = (datetime.now(UTC) - age).isoformat()
        event_id = str(uuid4())
        return event_id.encode(), json.dumps(GOOD | {"event_id": event_id, "event_time": at}).encode()

    for partition in range(3):
        streaming.send([event(timedelta(0))], partition)
    streaming.until_landed()
    ages = {"in time": timedelta(minutes=1), "late": timedelta(minutes=30), "beyond": timedelta(hours=3)}
    events = {name: event(age) for name, age in ages.items()}
    streaming.send(list(events.values()), partition=0)
    streaming.until_landed()
    flags = {row["event_id"]: (row["is_late_arrival"], row["is_beyond_lateness"]) for row in streaming.rows().values()}
    assert {name: flags[(key or b"").decode()] for name, (key, _) in events.items()} == {
        "in time": (False, False),
        "late": (True, False),
        "beyond": (True, True),
    }


def test_stopped_and_started_at_another_parallelism_it_goes_on_where_it_was(streaming: Stream) -> None:
    settings = streaming.settings
    older = stream.savepoint(settings, PIPELINE)
    assert "/savepoints/" in older
    assert "/savepoints/" in stream.stop(settings, PIPELINE)
    assert stream.status(settings, PIPELINE).state == "FINISHED"
    streaming.send(list(conversion_events(5_000, seed=4, shares=DISORDER)))
    with pytest.raises(LakehouseError, match="is not the newest state of conversions"):
        stream.start(settings, PIPELINE, state=older)
    stream.start(settings, PIPELINE, parallelism=2)
    with pytest.raises(LakehouseError, match="runs already"):
        stream.start(settings, PIPELINE)
    streaming.until_landed()


def test_what_was_landed_is_reported_with_how_the_stream_is(streaming: Stream) -> None:
    streaming.send(list(conversion_events(1_000, seed=6)))
    streaming.until_landed()
    # Of a job that was just started Flink shows the watermark only when it next collects its numbers.
    eventually(lambda: stream.status(streaming.settings, PIPELINE).watermark is not None)
    eventually(lambda: stream.status(streaming.settings, PIPELINE).lag == 0)
    result = tick()
    events = {"/".join(event.asset_key.path): event.metadata for event in result.asset_events}
    told = {name: [metadata[key].value for key in ("rows", "dagster/row_count")] for name, metadata in events.items()}
    rows = streaming.rows().values()
    assert told == {
        "bronze/conversion_events": [len(rows), len(rows)],
        "bronze/duplicates": [len(streaming.duplicates()), len(streaming.all_duplicates())],
    }
    bronze = events["bronze/conversion_events"]
    assert bronze["late_arrival"].value == sum(bool(row["is_late_arrival"]) for row in rows)
    assert bronze["beyond_lateness"].value == sum(bool(row["is_beyond_lateness"]) for row in rows)
    said = bronze["stream"].value
    assert isinstance(said, dict)
    assert said["state"] == "RUNNING"
    newest = max(row["event_time"] for row in rows)
    assert datetime.fromisoformat(str(said["watermark"])) <= newest
    assert tick(result.cursor).asset_events == []


def test_what_was_refused_is_landed_among_the_dead_letters_once(stack: Stack, streaming: Stream) -> None:
    refused = streaming.refused()
    assert streaming.land_queue() == len(refused)
    assert streaming.land_queue() == 0
    statement = (
        "select kafka_partition, kafka_offset, error_type, original_payload, original_key"
        " from iceberg.bronze.dead_letters where source = ?"
    )
    found = stack.sql(statement, TOPIC)
    sent = streaming.topic(TOPIC)
    assert {(p, o): (reason, value, key) for p, o, reason, value, key in found} == {
        coordinate: (letter.headers["error_type"], sent[coordinate].value, sent[coordinate].key)
        for coordinate, letter in refused.items()
    }
    assert len(found) == len(refused)


def test_the_audit_says_what_an_independent_reader_counts(streaming: Stream) -> None:
    accounts = streaming.accounts()
    assert [gap for account in accounts for gap in account.gaps] == []
    own = [account for account in accounts if account.source == TOPIC]
    ends = {partition: offset + 1 for partition, offset in sorted(streaming.topic(TOPIC))}
    assert {account.partition: account.position for account in own} == ends
    assert sum(account.bronze for account in own) == len(streaming.rows())
    assert sum(account.duplicates for account in own) == len(streaming.duplicates())
    assert sum(account.dead_letters for account in own) == len(streaming.refused())
    assert sum(account.skipped + account.in_flight for account in own) == 0
    (queue,) = (account for account in accounts if account.source == QUEUE)
    assert queue.dead_letters + queue.duplicates == len(streaming.topic(QUEUE))


def test_a_letter_is_sent_again_and_landed_once(streaming: Stream) -> None:
    """An event that was from the future when it was first sent."""
    event_id = str(uuid4())
    event = json.dumps(GOOD | {"event_id": event_id, "event_time": datetime.now(UTC).isoformat()}).encode()
    long_ago = int((datetime.now(UTC) - timedelta(hours=2)).timestamp() * 1000)
    streaming.producer.send(TOPIC, key=b"k", value=event, partition=0, timestamp_ms=long_ago).get(timeout=60)
    streaming.until_landed()
    streaming.land_queue()

    def replay(*, is_dry_run: bool = False) -> list[tuple[str, int, int, int]]:
        since = datetime.fromtimestamp(long_ago / 1000, UTC)
        done = replay_dead_letters(
            streaming.settings, source=TOPIC, reason="FUTURE_TIME", since=since, is_dry_run=is_dry_run
        )
        return [(name, found.accepted, found.refused, found.already) for name, found in done]

    before = len(streaming.topic(TOPIC))
    (waiting,) = replay(is_dry_run=True)
    assert waiting[1] >= 1
    assert len(streaming.topic(TOPIC)) == before
    assert replay() == [waiting]
    assert [again[1:] for again in replay()] == [(0, waiting[2], waiting[1])]
    sent = streaming.until_landed()
    assert len(sent) == before + waiting[1]
    (landed,) = (coordinate for coordinate, row in streaming.rows().items() if row["event_id"] == event_id)
    (letter,) = (coordinate for coordinate, record in streaming.refused().items() if record.value == event)
    assert sent[landed].headers == {"lakehouse_replay_of": f"{TOPIC}:{letter[0]}:{letter[1]}"}
    streaming.land_queue()
    assert [gap for account in streaming.accounts() for gap in account.gaps] == []


def test_secrets_are_not_in_the_interface(streaming: Stream) -> None:
    url, secret = streaming.settings.flink_address, streaming.settings.catalog_db_password.get_secret_value()
    jobs = [job["jid"] for job in requests.get(f"{url}/jobs/overview", timeout=10).json()["jobs"]]
    pages = ["/jobmanager/config", *(f"/jobs/{job}{part}" for job in jobs for part in ("", "/config", "/plan"))]
    assert jobs
    assert not [page for page in pages if secret in requests.get(url + page, timeout=10).text]


def test_an_erasure_beside_the_job_and_while_it_is_stopped_loses_and_repeats_nothing(
    stack: Stack, streaming: Stream
) -> None:
    """Started again, the job asks the table's history what it has committed: the snapshots that said so are gone."""
    settings, name = streaming.settings, PIPELINE.contract.table
    catalog = connect(settings)
    events = list(conversion_events(3_000, seed=8))
    users = [
        user for user, _ in Counter(fields((value or b"").decode())["user_id"] for _, value in events).most_common(3)
    ]
    first, second = [user for user in users if user is not None][:2]
    blank = partial(blanked, PIPELINE.contract, datetime.now(UTC))

    def erase(user: str) -> Table:
        table = ensure_table(catalog, PIPELINE.contract)
        assert select(table, by_id(user)).num_rows
        forget(catalog, name, rewrite(table, by_id(user), blank, {}, operation=Operation.REPLACE))
        table.refresh()
        assert not is_remembered(table, by_id(user))
        return table

    streaming.send(events[:2_000])
    eventually(lambda: streaming.landed() == len(streaming.topic(TOPIC)))
    sending = Thread(target=streaming.send, args=(events[2_000:],))
    sending.start()
    erase(first)
    sending.join()
    stream.stop(settings, PIPELINE)
    assert not select(erase(second), by_id(second)).num_rows
    stream.start(settings, PIPELINE)
    streaming.send(list(conversion_events(500, seed=9)))
    eventually(lambda: streaming.landed() == len(streaming.topic(TOPIC)))
    streaming.land_queue()
    assert len(streaming.all_rows()) == len(streaming.rows()), "a coordinate is twice in bronze"
    report = run_audit(settings)
    assert [gap for account in streaming.accounts() for gap in account.gaps] == []
    ((count,),) = stack.sql(f"select count(*) from {name.sql} where erased_at is not null")
    assert report.erased[str(name)] == count > 0


def test_stopped_it_is_told_by_the_audit_and_does_not_start_without_the_state_it_left(
    stack: Stack, streaming: Stream
) -> None:
    settings = streaming.settings
    stream.stop(settings, PIPELINE)
    with pytest.raises(LakehouseError, match="does not run"):
        stream.stop(settings, PIPELINE)
    streaming.send([(b"k", b"{}")])
    (partition, offset) = min(streaming.rows())
    stack.sql(
        "delete from iceberg.bronze.conversion_events where kafka_partition = ? and kafka_offset = ?", partition, offset
    )
    eventually(lambda: any("wait since" in gap for account in streaming.accounts() for gap in account.gaps), 30)
    found = "; ".join(gap for account in streaming.accounts() for gap in account.gaps)
    assert f"1 offsets hold a record, but are nowhere: {offset}" in found
    shutil.rmtree(settings.home / "flink" / "state")
    with pytest.raises(LakehouseError, match=r"holds rows, but the state that conversions left is gone"):
        stream.start(settings, PIPELINE)
