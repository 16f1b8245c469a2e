"""The HTTP service on a real broker: what it acknowledges is on the topic, what it refuses is told."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakehouse.api.events import Refused, accept
from lakehouse.api.keys import AGE_SECONDS, create, known, revoke
from lakehouse.api.scope import Scope
from lakehouse.domains.players.contract import PLAYER_EVENT
from lakehouse.settings import LOOPBACK, load
from lakehouse.stack import down, up
from lakehouse.stack.flink import judge
from lakehouse.streaming.statements import fields_of
from lakehouse_tests.integration.conftest import Service, event

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

PROBLEM = "application/problem+json"


def test_an_event_is_on_the_topic_when_it_is_acknowledged(service: Service) -> None:
    sent = event()
    answer = service.post("events", sent)
    assert (answer.status_code, answer.json()["status"]) == (200, "success")
    event_id = answer.json()["event_id"]
    (record,) = service.on_topic()[event_id]
    assert record.key == sent["player_id"].encode()
    assert dict(record.headers) == {"event_type": b"player_score", "event_id": event_id.encode()}
    told = json.loads(record.value)
    assert {name: told[name] for name in sent} == sent | {"timestamp": told["timestamp"]}
    assert datetime.fromisoformat(told["timestamp"]) == datetime.fromisoformat(sent["timestamp"])
    assert abs(datetime.fromisoformat(told["ingested_at"]) - datetime.now(UTC)).total_seconds() < 60


@pytest.mark.parametrize("is_lines", [False, True])
def test_of_a_batch_all_good_events_are_taken_and_the_others_named(service: Service, is_lines: bool) -> None:
    events = [event(), event(data={}), event(player_id=""), event(event_id=str(uuid4()))]
    if is_lines:
        lines = "\n".join(map(json.dumps, events)) + "\n"
        headers = {"Content-Type": "application/x-ndjson"}
        answer = requests.post(f"{service.address}/api/v1/events/batch", data=lines, headers=headers, timeout=30)
    else:
        answer = service.post("events/batch", events)
    told = answer.json()
    assert (answer.status_code, told["status"], told["accepted"]) == (200, "partial", 2)
    assert [(one["index"], one["field"]) for one in told["refused"]] == [(1, "data.score"), (2, "player_id")]
    assert told["event_ids"][1] == events[3]["event_id"]
    assert set(told["event_ids"]) <= set(service.on_topic())


def test_the_largest_batch_is_taken_whole(service: Service) -> None:
    answer = service.post("events/batch", [event(player_id=f"p{number}") for number in range(10_000)])
    assert (answer.status_code, answer.json()["accepted"]) == (200, 10_000)
    assert len(set(answer.json()["event_ids"]) & set(service.on_topic())) == 10_000


def test_a_request_that_is_sent_again_with_its_key_has_the_same_ids(service: Service) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    sent = [event(), event()]
    ids = [service.post("events/batch", sent, headers=headers).json()["event_ids"] for _ in range(2)]
    assert ids[0] == ids[1]
    one = [service.post("events", sent[0], headers=headers).json()["event_id"] for _ in range(2)]
    assert one == [ids[0][0]] * 2


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/nowhere", b"", {}, 404),
        ("GET", "/api/v1/events", b"", {}, 405),
        ("POST", "/api/v1/events", b"{}", {"Content-Type": "text/plain"}, 415),
        ("POST", "/api/v1/events", b"{}", {}, 415),
        ("POST", "/api/v1/events", b"{", {"Content-Type": "application/json"}, 422),
        ("POST", "/api/v1/events", b"x" * 70_000, {"Content-Type": "application/json"}, 413),
        ("POST", "/api/v1/events", b"{}", {"Content-Type": "application/json", "Idempotency-Key": "k" * 256}, 400),
        ("POST", "/api/v1/events/batch", b"x" * 5_000_001, {"Content-Type": "application/json"}, 413),
        ("POST", "/api/v1/events/batch", b"[]", {"Content-Type": "application/json"}, 422),
        ("POST", "/api/v1/events/batch", b"[" + b"1," * 10_000 + b"1]", {"Content-Type": "application/json"}, 413),
        ("POST", "/api/v1/events/batch", b"[1, 2]", {"Content-Type": "application/json"}, 422),
        ("POST", "/api/v1/events/batch", b"[" * 100_000, {"Content-Type": "application/json"}, 422),
        ("GET", "/healthz", b"", {"Host": "evil.example"}, 400),
    ],
)
def test_every_mistake_is_told_as_a_problem(
    service: Service, method: str, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = requests.request(method, service.address + path, data=body, headers=headers, timeout=30)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == PROBLEM
    problem = answer.json()
    assert problem["status"] == status
    assert problem["detail"]
    assert "Traceback" not in answer.text


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(["event_id", "event_type", "player_id", "game_id", "timestamp", "data", "other"])
TIMES = st.datetimes(timezones=st.timezones() | st.just(UTC)).map(lambda at: at.isoformat(sep="T"))
EVENTS = st.builds(
    lambda changes, score: event(data={"score": score, "more": changes.get("data")}) | changes,
    st.dictionaries(NAMES, JSON_VALUES | TIMES | st.uuids().map(str), max_size=3),
    st.integers(-(2**40), 2**40) | JSON_VALUES,
)


def test_whatever_is_taken_the_stream_takes_as_well(service: Service) -> None:
    taken: list[bytes] = []

    @settings(max_examples=2_000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(EVENTS, st.booleans())
    def collect(one: dict[str, Any], is_ascii: bool) -> None:
        try:
            body = json.dumps(one, ensure_ascii=is_ascii).encode()
            taken.append(accept(body, datetime.now(UTC)).value)
        except (Refused, UnicodeEncodeError):
            pass

    collect()
    assert len(taken) > 200
    up(service.stack.settings, servers=["flink"])
    verdicts = judge(load(), fields_of(PLAYER_EVENT), taken)
    down(service.stack.settings, ["flink"])
    assert [(value, verdict) for value, verdict in zip(taken, verdicts, strict=True) if verdict] == []


def test_it_is_ready_and_counts(service: Service) -> None:
    assert requests.get(f"{service.address}/healthz", timeout=5).json() == {"status": "ok"}
    assert requests.get(f"{service.address}/readyz", timeout=5).json() == {"status": "ready"}

    def accepted() -> float:
        lines = requests.get(f"{service.address}/metrics", timeout=5).text.splitlines()
        (line,) = [line for line in lines if line.startswith("lakehouse_events_accepted_total")]
        return float(line.split()[1])

    before = accepted()
    service.post("events", event())
    assert accepted() == before + 1


def test_its_page_loads_nothing_from_elsewhere(service: Service) -> None:
    page = requests.get(f"{service.address}/docs", timeout=5)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "://" not in page.text
    for path in ("/docs/start.js", "/docs/assets/swagger-ui.css", "/docs/assets/swagger-ui-bundle.js", "/openapi.json"):
        assert path in page.text or path in requests.get(f"{service.address}/docs/start.js", timeout=5).text
        assert requests.get(service.address + path, timeout=5).ok, path


HEAD = b"POST /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        HEAD + b"Content-Length: 9\r\n\r\n{",
        HEAD + b"Content-Length: -1\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nzz\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\x00b\r\n\r\n",
        b"\x16\x03\x01rubbish\r\n\r\n",
    ],
)
def test_a_broken_request_harms_only_itself(service: Service, raw: bytes) -> None:
    port = int(service.address.rpartition(":")[2])
    with socket.create_connection((LOOPBACK, port), timeout=30) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(4096)
    assert not answer or answer.split()[1].startswith(b"4"), answer
    assert service.post("events", event()).ok


def test_told_to_end_it_answers_what_is_under_way(service: Service) -> None:
    """Every event that was acknowledged is on the topic, whatever the moment at which the service ends."""
    acknowledged: list[str] = []

    def send() -> None:
        while True:
            try:
                answer = service.post("events", event())
            except requests.RequestException:
                return
            if answer.ok:
                acknowledged.append(answer.json()["event_id"])

    pid = service.pid()
    with ThreadPoolExecutor(8) as pool:
        senders = [pool.submit(send) for _ in range(8)]
        time.sleep(2)
        psutil.Process(pid).send_signal(signal.SIGTERM)
        for sender in senders:
            sender.result(timeout=60)
    assert len(acknowledged) > 100
    assert set(acknowledged) <= set(service.on_topic())
    up(service.stack.settings, servers=["api"])
    assert service.pid() != pid


def test_whatever_is_killed_what_was_acknowledged_is_on_the_topic_and_nothing_that_was_not_sent(
    service: Service, tmp_path: Path
) -> None:
    """By clients that write down an id, and send its event until it is acknowledged."""
    before, acknowledged, is_over = set(service.on_topic()), set[str](), threading.Event()
    notes = tmp_path / "sent"

    def send() -> None:
        with notes.open("a", buffering=1) as file:
            while not is_over.is_set():
                one = event(event_id=str(uuid4()))
                file.write(one["event_id"] + "\n")
                while not acknowledge(one) and not is_over.is_set():
                    time.sleep(0.1)

    def acknowledge(one: dict[str, Any]) -> bool:
        try:
            answer = service.post("events", one)
        except requests.RequestException:
            return False
        if answer.ok:
            acknowledged.add(answer.json()["event_id"])
        return answer.ok

    def go_on(senders: list[Future[None]]) -> None:
        enough = len(acknowledged) + 100
        while len(acknowledged) < enough:
            assert not any(sender.done() for sender in senders)
            time.sleep(0.1)

    with ThreadPoolExecutor(4) as pool:
        senders = [pool.submit(send) for _ in range(4)]
        try:
            for _ in range(3):
                go_on(senders)
                service.stack.kill("api")
            go_on(senders)
            service.stack.kill("kafka")
            go_on(senders)
            psutil.Process(service.pid()).send_signal(signal.SIGTERM)
            go_on(senders)
            service.stack.kill("api")
        finally:
            is_over.set()
    for sender in senders:
        sender.result()
    up(service.stack.settings, servers=["api"])
    landed, sent = set(service.on_topic()) - before, set(notes.read_text().split())
    assert acknowledged <= landed <= sent


def test_while_the_broker_is_away_nothing_is_acknowledged_and_sending_again_counts_once(service: Service) -> None:
    kafka = psutil.Process(service.stack.pids("kafka")[0])
    kafka.suspend()
    try:
        sent = event()
        answer = service.post("events", sent)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        (event_id,) = answer.json()["event_ids"]
    finally:
        kafka.resume()
    again = service.post("events", sent | {"event_id": event_id})
    assert again.json()["event_id"] == event_id
    assert UUID(event_id)
    assert 1 <= len(service.on_topic()[event_id]) <= 2


@pytest.fixture(scope="module")
def guarded(service: Service) -> Iterator[Service]:
    """The same service, asking for keys, and for few events a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKEHOUSE_API_KEYS_REQUIRED", "true")
        patch.setenv("LAKEHOUSE_API_EVENTS_PER_SECOND", "20")
        up(load(), servers=["api"])
        yield service
    up(load(), servers=["api"])


def test_a_key_allows_what_its_scopes_say_until_it_is_revoked(guarded: Service) -> None:
    writer, reader = (create(load(), name, (scope,)) for name, scope in (("w", Scope.WRITE), ("r", Scope.READ)))
    url = f"{guarded.address}/api/v1/players/nobody/statistics"
    time.sleep(AGE_SECONDS)

    def post(token: str | None, **more: Any) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return guarded.post("events", event(), headers=headers, **more).status_code

    def ask(token: str) -> int:
        return requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30).status_code

    assert (post(writer), ask(reader)) == (200, 404)
    assert (post(reader), ask(writer)) == (403, 403)
    _, key_id, secret = writer.split("_", 2)
    near = (f"lh_{key_id}_", f"lh_{key_id}_{secret[:-1]}", f"lh_00000000_{secret}", f"xx_{key_id}_{secret}")
    wrong = (None, "x", "", *near)
    assert {post(token) for token in wrong} == {401}
    assert post(None, params={"api_key": writer, "access_token": writer}) == 401
    assert requests.get(f"{guarded.address}/readyz", timeout=30).status_code == 200
    revoke(load(), key_id)
    time.sleep(AGE_SECONDS)
    assert post(writer) == 401
    kept = {key.key_id: key for key in known(load())}
    assert kept[key_id].revoked_at
    assert secret.encode() not in kept[key_id].digest
    logs = "".join(file.read_text(errors="replace") for file in (guarded.stack.settings.home / "logs").glob("*.log"))
    assert secret not in logs


def test_a_key_that_sends_too_much_has_to_wait(guarded: Service) -> None:
    headers = {"Authorization": f"Bearer {create(load(), 'busy', (Scope.WRITE,))}"}
    time.sleep(AGE_SECONDS)
    answers = [guarded.post("events/batch", [event() for _ in range(15)], headers=headers) for _ in range(4)]
    assert answers[0].status_code == 200
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert answers[-1].headers["content-type"] == PROBLEM
