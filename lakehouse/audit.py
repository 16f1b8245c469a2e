"""The audit of everything, and what an operator may do about it, as the command line and the demo run it."""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Collection, Iterator
from datetime import datetime
from functools import partial

import pyarrow as pa

from lakehouse.adapters.iceberg.catalog import connect
from lakehouse.adapters.kafka.resource import KafkaResource
from lakehouse.domains.apis import APIS
from lakehouse.domains.feeds import FEEDS, FILES
from lakehouse.domains.pipelines import LANDINGS
from lakehouse.errors import LakehouseError
from lakehouse.ledger.account import Report
from lakehouse.ledger.acknowledge import Loss, acknowledge_gone, acknowledge_lost
from lakehouse.ledger.audit import audit
from lakehouse.ledger.lookup import read_dead_letters, select_dead_letters
from lakehouse.ledger.origin import is_delivery
from lakehouse.ledger.replay import Replay, replay, send_again
from lakehouse.ledger.streamed import settled_before
from lakehouse.settings import Settings
from lakehouse.stack.flink import judge
from lakehouse.streaming.statements import fields_of

REPLAY_OF = "lakehouse_replay_of"
"""Header of a record that was sent again: the dead letter it was."""


def run_audit(settings: Settings, *, deep: bool = False) -> Report:
    """Audit every feed and every stream of every domain.

    Raises:
        LakehouseError: the catalog or the brokers do not answer.
    """
    kafka = KafkaResource()
    return audit(
        connect(settings),
        FEEDS,
        kafka.topic,
        kafka.probe,
        pipelines=LANDINGS,
        apis=APIS,
        settled_before=settled_before(settings),
        deep=deep,
    )


def acknowledge_losses(settings: Settings, topic: str, *, why: str) -> list[Loss]:
    """Count what Kafka deleted before it was read as lost, in the name of the user who runs this.

    Raises:
        LakehouseError: no feed or stream reads the topic, it does not exist, or nothing can be acknowledged.
    """
    feed = next((feed for feed in FEEDS if feed.topic_name == topic), None)
    pipeline = next((pipeline for pipeline in LANDINGS if pipeline.topic.name == topic), None)
    state = KafkaResource().topic(topic)
    who = getpass.getuser()
    if feed and state:
        return acknowledge_lost(connect(settings), feed, topic, state, who=who, why=why)
    if pipeline and state:
        accounts = [account for account in run_audit(settings).accounts if account.source == topic]
        return acknowledge_gone(connect(settings), pipeline.contract, topic, state, accounts, who=who, why=why)
    known = ", ".join([*(feed.topic_name for feed in FEEDS), *(pipeline.topic.name for pipeline in LANDINGS)])
    raise LakehouseError(f"topic {topic} is not read by any feed or stream, or does not exist; there is {known}")


def replay_dead_letters(
    settings: Settings,
    *,
    source: str | None = None,
    reason: str | None = None,
    since: datetime | None = None,
    ids: Collection[str] = (),
    is_dry_run: bool = False,
) -> Iterator[tuple[str, Replay]]:
    """Try dead letters again that fit all that is given, source by source, against today's contracts.

    Raises:
        LakehouseError: none fits, a source has no contract any more, or the catalog does not answer.
    """
    catalog = connect(settings)
    fitting = select_dead_letters(catalog, source=source, reason=reason, since=since, ids=ids, columns=("source",))
    if not fitting.num_rows:
        raise LakehouseError("no dead letter fits; `lakehouse dead-letters list` shows what there is")
    contracts = {feed.topic_name: feed.contract for feed in FEEDS}
    streamed = {pipeline.topic.name: pipeline.contract for pipeline in LANDINGS}
    sources = sorted(fitting["source"].unique().to_pylist())
    for name in sources:
        if name in {api.source for api in APIS}:
            raise LakehouseError(f"what {name} sent is not replayed: the next pull of its window judges it again")
        if not is_delivery(name) and name not in (contracts | streamed):
            raise LakehouseError(f"no feed reads {name} any more; name it in KAFKA_TOPIC to replay its records")
    run_id = f"replay-{uuid.uuid4()}"
    for name in sources:
        parts = read_dead_letters(catalog, source=name, reason=reason, since=since, ids=ids)
        if name in streamed:
            contract = streamed[name]
            ask, send = partial(judge, settings, fields_of(contract)), partial(_send_again, settings, name)
            yield name, send_again(catalog, contract, parts, ask, send, run_id=run_id, is_dry_run=is_dry_run)
        else:
            contract = FILES if is_delivery(name) else contracts[name]
            yield name, replay(catalog, contract, parts, run_id=run_id, is_dry_run=is_dry_run)


def _send_again(settings: Settings, topic: str, letters: pa.Table) -> None:
    """Send the records of dead letters to their topic, each with the letter it was in a header."""
    from lakehouse.adapters.kafka.produce import send

    columns = (letters[name].to_pylist() for name in ("original_key", "original_payload", "dead_letter_id"))
    send(settings, topic, ((key, value, {REPLAY_OF: id_.encode()}) for key, value, id_ in zip(*columns, strict=True)))
