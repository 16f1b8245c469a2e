"""Holds a table against the ids that the producer wrote to a file. Imports nothing of `lakehouse`.

Reads the table with PyIceberg and compares multisets of event ids: what is missing, what is there too often, what was
never produced. Dead letters are held against the ids of the broken messages, found in the bytes that were kept.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

EVENT_ID = re.compile(rb'"event_id":\s*"([^"]+)"')

COMPARISON = """
    with produced as (select id, count(*) as n from produced_ids group by id),
    stored as (select id, count(*) as n from stored_ids group by id)
    select
        coalesce(sum(case when s.n is null then p.n else greatest(p.n - s.n, 0) end) filter (p.n is not null), 0),
        coalesce(sum(s.n - p.n) filter (s.n > p.n), 0),
        coalesce(sum(s.n) filter (p.n is null), 0)
    from produced p full join stored s using (id)
"""


def compare(produced: pa.Table, stored: pa.Table, expected: int | None) -> dict[str, int]:
    """Missing, duplicated and extra ids; with ``expected``, only so many of the produced ids had to be stored."""
    with duckdb.connect() as connection:
        connection.register("produced_ids", produced)
        connection.register("stored_ids", stored)
        row = connection.execute(COMPARISON).fetchone()
    missing, duplicated, extra = (int(number) for number in row or ())
    if expected is not None:
        missing -= produced.num_rows - expected
    return {"missing": missing, "duplicated": duplicated, "extra": extra}


def judge(catalog: SqlCatalog, name: str, ids: Path, expected: int | None) -> dict[str, Any]:
    """Verdict over the rows, and what the table consists of."""
    table = catalog.load_table(name)
    stored = table.scan(selected_fields=("event_id",)).to_arrow().rename_columns(["id"])
    verdict: dict[str, Any] = compare(read_ids(ids), stored, expected)
    verdict["rows"] = stored.num_rows
    return verdict | _make_up(table)


def judge_dead_letters(catalog: SqlCatalog, topic: str, broken: Path) -> dict[str, int]:
    """Verdict over the dead letters of a topic."""
    payloads: list[bytes | None] = []
    try:
        table = catalog.load_table("bronze.dead_letters")
        scan = table.scan(row_filter=f"source == '{topic}'", selected_fields=("original_payload",))
        payloads = scan.to_arrow()["original_payload"].to_pylist()
    except NoSuchTableError:
        pass
    found = [EVENT_ID.search(payload or b"") for payload in payloads]
    stored = Counter(match.group(1).decode() if match else "?" for match in found)
    produced = Counter(broken.read_text().split())
    return {
        "missing": (produced - stored).total(),
        "duplicated": sum(stored[id_] - produced[id_] for id_ in stored if 0 < produced[id_] < stored[id_]),
        "extra": sum(stored[id_] for id_ in stored if not produced[id_]),
        "rows": stored.total(),
    }


def judge_stream(catalog: SqlCatalog, topic: str, repeats: Path, queue: str, broken: Path) -> dict[str, Any]:
    """Verdict over the table of repeats, and over the queue of refused records, which may hold one more than once."""
    scan = catalog.load_table("bronze.duplicates").scan(f"kafka_topic == '{topic}'", selected_fields=("event_id",))
    refused = pa.table({"id": pa.array(sorted(_keys(queue)), pa.string())})
    return {
        "repeats": compare(read_ids(repeats), scan.to_arrow().rename_columns(["id"]), None),
        "refused": compare(read_ids(broken), refused, None),
    }


def judge_topic(topic: str, ids: Path) -> dict[str, Any]:
    """Verdict over the messages of a topic, which hold the ids."""
    found = [EVENT_ID.search(message.value() or b"") for message in _messages(topic)]
    stored = pa.array((match.group(1).decode() if match else "?" for match in found), pa.string())
    return {**compare(read_ids(ids), pa.table({"id": stored}), None), "rows": len(stored)}


def _keys(topic: str) -> set[str]:
    return {(message.key() or b"").decode() for message in _messages(topic)}


def _messages(topic: str) -> Iterator[Message]:
    """All that lie in a topic."""
    consumer = Consumer({"bootstrap.servers": os.environ["BENCH_KAFKA"], "group.id": "judge"})
    try:
        partitions = [
            TopicPartition(topic, number, 0) for number in consumer.list_topics(topic).topics[topic].partitions
        ]
        bounds = [consumer.get_watermark_offsets(partition) for partition in partitions]
        consumer.assign(partitions)
        waiting = sum(end - low for low, end in bounds)
        while waiting:
            for message in consumer.consume(min(10_000, waiting), 5.0):
                if error := message.error():
                    raise KafkaException(error)
                waiting -= 1
                yield message
    finally:
        consumer.close()


def read_ids(path: Path) -> pa.Table:
    """One id a line."""
    return pa.table({"id": pa.array(path.read_text().split(), pa.string())})


def _make_up(table: Table) -> dict[str, Any]:
    snapshot = table.current_snapshot()
    summary = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
    return {
        "snapshots": len(table.snapshots()),
        "files": int(summary.get("total-data-files", 0)),
        "megabytes": round(int(summary.get("total-files-size", 0)) / 1e6, 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", help="namespace.name; with `--is-topic` a topic")
    parser.add_argument("ids", type=Path)
    parser.add_argument("--expected", type=int, help="so many of the produced ids had to land; default: all")
    parser.add_argument("--topic", help="judge the dead letters of this topic, too")
    parser.add_argument("--broken", type=Path, help="ids of the messages that had to become dead letters")
    parser.add_argument("--repeats", type=Path, help="ids that had to become rows of the duplicates")
    parser.add_argument("--queue", help="topic of the broken messages, instead of the table of dead letters")
    parser.add_argument("--is-topic", action="store_true", help="judge the messages of a topic, which hold the ids")
    arguments = parser.parse_args()
    if arguments.is_topic:
        sys.stdout.write(json.dumps(judge_topic(arguments.table, arguments.ids)) + "\n")
        raise SystemExit
    lake = SqlCatalog("lake", uri=os.environ["BENCH_CATALOG_URI"], warehouse=os.environ["BENCH_WAREHOUSE"])
    result = judge(lake, arguments.table, arguments.ids, arguments.expected)
    if arguments.queue:
        result |= judge_stream(lake, arguments.topic, arguments.repeats, arguments.queue, arguments.broken)
    elif arguments.topic and arguments.broken:
        result["dead_letters"] = judge_dead_letters(lake, arguments.topic, arguments.broken)
    sys.stdout.write(json.dumps(result) + "\n")
