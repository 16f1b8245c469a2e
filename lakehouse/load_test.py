"""Events by HTTP at a rate, and the wait until each acknowledged one is in every store."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from lakehouse.domains.players.boards import statistics_key
from lakehouse.domains.players.source import player_events
from lakehouse.errors import LakehouseError
from lakehouse.ledger.streamed import PATIENCE
from lakehouse.naming import PLAYER_EVENTS

if TYPE_CHECKING:
    from lakehouse.settings import Settings

CONNECTIONS = 32
TRIES = 5
SLACK_SECONDS = 60
"""For a busy machine, beside the checkpoints after which a record must be landed."""
LOOK_SECONDS = 1.0


@dataclass
class Load:
    """What was sent, and what the service answered."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Seconds from each request to its answer, tries that failed included."""
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Player of each event id."""
    refused: Counter[str] = field(default_factory=Counter)
    """Answers to events that were not taken."""
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def rate(self) -> float:
        """Acknowledged events a second."""
        return len(self.acknowledged) / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """Latency in seconds that so large a share of the requests stayed within."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    @property
    def players(self) -> list[str]:
        """All that events were acknowledged for."""
        return sorted(set(self.acknowledged.values()))


def send(address: str, count: int, rate: float, *, seed: int, on_sent: Callable[[int], None]) -> Load:
    """Post events one by one, each when its time has come; the players are new ones.

    An event that the service cannot take just now is sent again, with its id.

    Args:
        address: Of the service.
        count: Number of events.
        rate: Events a second.
        seed: The same seed makes the same events, but for ids, players and times.
        on_sent: Called with how many were answered.

    Raises:
        LakehouseError: there is no service at the address.
    """
    import requests

    load, lock, own = Load(), threading.Lock(), threading.local()

    def post(event: dict[str, Any], due: float) -> None:
        time.sleep(max(0.0, due - time.monotonic()))
        if not hasattr(own, "session"):
            own.session = requests.Session()
        event["timestamp"] = datetime.now(UTC).isoformat()
        began, answer = time.monotonic(), "no answer"
        for _ in range(TRIES):
            try:
                response = own.session.post(f"{address}/api/v1/events", json=event, timeout=30)
            except requests.RequestException as error:
                answer = type(error).__name__
                time.sleep(1)
                continue
            answer = "" if response.ok else f"{response.status_code} {response.json().get('detail', '')}"
            if response.status_code != requests.codes.unavailable:
                break
            time.sleep(float(response.headers.get("Retry-After", "1")))
        with lock:
            load.latencies.append(time.monotonic() - began)
            if answer:
                load.refused[answer] += 1
            else:
                load.acknowledged[event["event_id"]] = event["player_id"]
            on_sent(len(load.latencies))

    try:
        requests.get(f"{address}/healthz", timeout=5)
    except requests.RequestException:
        raise LakehouseError(f"no service answers at {address}: `lakehouse up api` starts it") from None
    start = time.monotonic()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for number, event in enumerate(_events(count, seed)):
            pool.submit(post, event, start + number / rate)
    load.seconds = time.monotonic() - start
    return load


def _events(count: int, seed: int) -> Iterator[dict[str, Any]]:
    run = uuid.uuid4().hex[:8]
    for _, value in player_events(count, seed=seed):
        event = json.loads(value or b"")
        del event["ingested_at"]
        yield event | {"event_id": str(uuid.uuid4()), "player_id": f"load-{run}-{event['player_id']}"}


def until_visible(
    settings: Settings, load: Load, *, on_look: Callable[[Mapping[str, int]], None]
) -> dict[str, float | None]:
    """Wait until every acknowledged event is in each store.

    Args:
        settings: Where the stores are.
        load: What was acknowledged.
        on_look: Called with how many events of it each store has.

    Returns:
        By store, after how many seconds it had all of them, once each; None where it has not, though it was waited for.

    Raises:
        LakehouseError: a store does not answer.
    """
    wanted, began = len(load.acknowledged), time.monotonic()
    deadline = began + PATIENCE * settings.checkpoint_sec + SLACK_SECONDS
    stores = {
        "bronze": _in_bronze,
        "PostgreSQL, events": _in_events,
        "PostgreSQL, totals": _in_totals,
        "Redis": _in_redis,
    }
    after: dict[str, float | None] = dict.fromkeys(stores)
    counts = dict.fromkeys(stores, 0)
    while any(seconds is None for seconds in after.values()) and time.monotonic() < deadline:
        for store, count in stores.items():
            if after[store] is None:
                counts[store] = count(settings, load)
                if counts[store] == wanted:
                    after[store] = time.monotonic() - began
        on_look(counts)
        time.sleep(LOOK_SECONDS)
    return after


def _in_bronze(settings: Settings, load: Load) -> int:
    from lakehouse.adapters.iceberg.catalog import connect, find_table
    from lakehouse.adapters.iceberg.filters import at_least

    table = find_table(connect(settings), PLAYER_EVENTS)
    if table is None:
        return 0
    since = at_least("event_time", (load.began_at - timedelta(seconds=1)).isoformat())
    ids = table.scan(row_filter=since, selected_fields=("event_id",)).to_arrow()["event_id"].to_pylist()
    found = [id_ for id_ in ids if id_ in load.acknowledged]
    # Less than all of them where one is there twice.
    return 2 * len(set(found)) - len(found)


def _in_events(settings: Settings, load: Load) -> int:
    statement = "select count(*) from players.events where event_id = any(%s) and event_time >= %s"
    return _ask(settings, statement, list(load.acknowledged), load.began_at - timedelta(seconds=1))


def _in_totals(settings: Settings, load: Load) -> int:
    statement = "select coalesce(sum(total_events), 0) from players.player_statistics where player_id = any(%s)"
    return _ask(settings, statement, load.players)


def _ask(settings: Settings, statement: str, *parameters: Any) -> int:
    from lakehouse.adapters.postgres.client import open_postgres

    with open_postgres(settings, "load test") as connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int((cursor.fetchone() or (0,))[0])


def _in_redis(settings: Settings, load: Load) -> int:
    from lakehouse.adapters.redis.client import open_redis

    with open_redis(settings) as redis, redis.pipeline(transaction=False) as pipe:
        for player in load.players:
            pipe.hget(statistics_key(player), "total_events")
        return sum(int(total or 0) for total in pipe.execute())
