"""The product's sink in a process of its own, as `lakehouse serve sink` runs it, until it has taken all there is."""

from __future__ import annotations

import threading

from benchmarks.child import Child
from lakehouse import settings as settings_module
from lakehouse.adapters.kafka.client import describe_topic, open_admin
from lakehouse.adapters.postgres.client import open_postgres
from lakehouse.domains.players.serving import TOPICS, serve
from lakehouse.naming import PLAYER_EVENTS_PROCESSED
from lakehouse.settings import Settings

LOOK_SECONDS = 0.1
POSITIONS = (
    "select coalesce(sum(position), 0), coalesce(sum(position) filter (where topic = %s), 0) from players.positions"
)


def watch(settings: Settings, messages: int, child: Child, stop: threading.Event) -> None:
    """End the sink when PostgreSQL says that so many messages are taken; Redis is told before."""
    with open_postgres(settings, "benchmark") as connection, connection.cursor() as cursor:
        connection.autocommit = True
        while not stop.wait(LOOK_SECONDS):
            cursor.execute(POSITIONS, (PLAYER_EVENTS_PROCESSED.name,))
            taken, events = cursor.fetchone() or (0, 0)
            child.progress(int(events))
            if taken >= messages:
                stop.set()


def main() -> None:
    """Serve."""
    settings, stop = settings_module.load(), threading.Event()
    states = {topic.name: describe_topic(open_admin(settings), topic.name) for topic in TOPICS}
    ends = {name: sum(p.end for p in state.partitions.values()) for name, state in states.items() if state}
    child = Child()
    watcher = threading.Thread(target=watch, args=(settings, sum(ends.values()), child, stop))
    watcher.start()
    serve(settings, stop)
    watcher.join()
    child.done(ends[PLAYER_EVENTS_PROCESSED.name], 0, messages=sum(ends.values()))


if __name__ == "__main__":
    main()
