"""Clients that lie, hurry, wait or attack: they harm only themselves, and what others were told holds."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from urllib.parse import quote
from uuid import uuid4

import psutil
import pytest
import requests
from redis import Redis

from lakehouse.adapters.redis.client import connection_options
from lakehouse.api.events import MAX_DEPTH
from lakehouse.api.problems import MEDIA_TYPE
from lakehouse.api.protocol import MAX_HEAD_BYTES
from lakehouse.domains.players.boards import Period, begin_of, board_key, statistics_key, turned_key
from lakehouse.settings import LOOPBACK, load
from lakehouse_tests.integration.conftest import Service, event

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
POST = b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GOOD = json.dumps(event()).encode()
LENGTH = b"Content-Length: %d\r\n" % len(GOOD)


def get(path: bytes) -> bytes:
    return GET.replace(b"/healthz", path) + b"\r\n"


@pytest.fixture(autouse=True)
def unharmed(service: Service) -> Iterator[None]:
    """After each of them it is the same process that serves others."""
    pid = service.pid()
    yield
    assert service.post("events", event()).ok
    assert service.pid() == pid


def connect(service: Service) -> socket.socket:
    return socket.create_connection((LOOPBACK, int(service.address.rpartition(":")[2])), timeout=60)


def read(connection: socket.socket) -> bytes:
    """All until the server closes, in whatever way."""
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def say(service: Service, raw: bytes, *, is_all: bool = True) -> bytes:
    """Send bytes, and then no more."""
    with connect(service) as connection:
        try:
            connection.sendall(raw)
            if is_all:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it had enough
        return read(connection)


@pytest.mark.parametrize(
    "raw",
    [
        POST + b"Content-Length: 999\r\n\r\n" + GOOD,
        POST + b"Content-Length: 5\r\n\r\n" + GOOD,
        POST + LENGTH + b"Content-Length: 5\r\n\r\n" + GOOD,
        POST + LENGTH + LENGTH + b"\r\n" + GOOD,
        POST + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n" + GOOD,
        POST + b"Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n0\r\n\r\n",
        POST + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n",
        POST + b"Content-Length: +2\r\n\r\n{}",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n" + GOOD,
        POST + b"\r\n" + GOOD,
        CHUNKED + b"5\r\n" + GOOD + b"\r\n0\r\n\r\n",
        CHUNKED + b"fff\r\n" + GOOD + b"\r\n0\r\n\r\n",
        CHUNKED + b"f" * 30 + b"\r\n" + GOOD,
        CHUNKED + b"-5\r\n" + GOOD,
        CHUNKED + b"5;" + b"a" * 500_000,
        CHUNKED + b"0\r\n" + b"X: y\r\n" * 100_000,
        POST + LENGTH + b"Idempotency-Key: a\r\nb\r\n\r\n" + GOOD,
        POST + LENGTH + b"Idempotency-Key: a\r b\r\n\r\n" + GOOD,
        POST + LENGTH + b"Idempotency-Key: a\x00b\r\n\r\n" + GOOD,
        POST + LENGTH + b"Idempotency-Key: \xff\xfe\r\nConnection: close\r\n\r\n" + GOOD,
        POST + LENGTH + b"Idempotency-Key : a\r\n\r\n" + GOOD,
        GET + b"Host: localhost\r\n\r\n",
        GET.replace(b"localhost", b"evil.example") + b"\r\n",
        GET.replace(b"localhost", b"localhost.evil.example") + b"\r\n",
        GET + b"X: " + b"y" * MAX_HEAD_BYTES + b"\r\n\r\n",
        GET + b"X: y\r\n" * MAX_HEAD_BYTES + b"\r\n",
        GET + b"X: " + b"y" * 5_000_000,
        b"GET /healthz HTTP/1.0\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"NOBODY /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        GET.replace(b"GET", b"TRACE") + b"\r\n",
        GET.replace(b"GET", b"PROPFIND") + b"\r\n",
        get(b"*"),
        get(b"/" + b"a" * MAX_HEAD_BYTES),
        get(b"/healthz?" + b"a=b&" * MAX_HEAD_BYTES),
        get(b"/\xff\xfe"),
        get(b"/healthz/"),
        get(b"/docs/assets/%2e%2e/%2e%2e/__init__.py"),
        get(b"/docs/assets/..%2f..%2f__init__.py"),
        get(b"/docs/assets/%00"),
        get(b"/docs/assets/" + b"a" * 5_000),
        get(b"/api/v1/players/%00/statistics"),
        get(b"/api/v1/players//statistics"),
        get(b"/api/v1/players/" + b"a" * 101 + b"/statistics"),
        get(b"/api/v1/players/%2e%2e%2f%2e%2e/statistics"),
        get(b"/api/v1/players/%ED%A0%80/statistics"),
        get(b"/api/v1/games/%00/leaderboards/daily"),
        get(b"/api/v1/games/g/leaderboards/daily?around="),
        get(b"/api/v1/games/g/leaderboards/daily?limit=00000000500000000"),
        get(b"/api/v1/games/g/leaderboards/daily?limit=" + b"9" * 5_000),
        get(b"/api/v1/games/g/leaderboards/daily?limit=%C2%B2"),
    ],
    ids=lambda raw: str(raw[:120]),
)
def test_what_is_no_good_request_is_refused_or_dropped(service: Service, raw: bytes) -> None:
    answer = say(service, raw)
    if answer:
        head, _, body = answer.partition(b"\r\n\r\n")
        problem = json.loads(body)
        assert 400 <= problem["status"] < 500
        assert head.split()[1] == str(problem["status"]).encode()
        assert f"content-type: {MEDIA_TYPE}".encode() in head
        assert (b"allow: " in head.lower()) == (problem["status"] == 405)


def test_what_is_odd_but_good_is_taken(service: Service) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n"
    answers = {
        name: say(service, raw, is_all=False)
        for name, raw in {
            "longer than it said": POST + LENGTH + b"\r\n" + GOOD + b"and more than was told\r\n\r\n",
            "HTTP/1.0": POST.replace(b"1.1", b"1.0") + LENGTH + b"\r\n" + GOOD,
            "would rather speak HTTP/2": POST + LENGTH + upgrade + GOOD,
            "chunk extensions, trailers": POST
            + b"Connection: close\r\n"
            + CHUNKED.removeprefix(POST)
            + b"%x;a=b\r\n%s\r\n0\r\nX: y\r\n\r\n" % (len(GOOD), GOOD),
        }.items()
    }
    assert {name: answer.split()[1:2] for name, answer in answers.items()} == dict.fromkeys(answers, [b"200"])
    assert {json.loads(answer.split(b"\r\n\r\n")[1])["event_id"] for answer in answers.values()} <= set(
        service.on_topic()
    )


def test_requests_that_do_not_wait_are_answered_in_their_order(service: Service) -> None:
    """One after the other, up to the first that is no request."""
    events = [event(event_id=str(uuid4())) for _ in range(50)]
    bodies = [json.dumps(one).encode() for one in events]
    raw = b"".join(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies)
    answer = say(service, raw + b"NOBODY\r\n\r\n", is_all=False)
    ids = [json.loads(part.partition(b"\r\n\r\n")[2])["event_id"] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert ids == [one["event_id"] for one in events]
    assert set(ids) <= set(service.on_topic())


def test_slow_clients_are_sent_away_and_others_do_not_wait(service: Service) -> None:
    """Those that say nothing, a head, a body or the rest of a refused one byte by byte, and that take no answer."""
    body = POST + b"Content-Length: 999\r\n\r\n"
    beginnings = {
        "": b"",
        "\r": b"",
        "a": POST,
        "b": body,
        " ": body.replace(b"999", b"99999"),
    }
    with ExitStack() as at_end, ThreadPoolExecutor(len(beginnings)) as pool:
        idle = [at_end.enter_context(connect(service)) for _ in range(300)]
        deaf = at_end.enter_context(socket.socket())
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.connect(idle[0].getpeername())
        deaf.sendall(b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)

        def drip(byte: bytes, beginning: bytes) -> bytes:
            with connect(service) as connection:
                connection.sendall(beginning)
                connection.settimeout(0.2)
                heard = b""
                while True:
                    try:
                        connection.sendall(byte)
                        if not (part := connection.recv(4_096)):
                            return heard
                        heard += part
                    except TimeoutError:
                        continue
                    except OSError:
                        return heard

        dripping = [pool.submit(drip, byte.encode(), beginning) for byte, beginning in beginnings.items()]
        time.sleep(1)
        assert service.post("events", event()).ok
        heard = [one.result(timeout=60).split(b" ")[1:2] for one in dripping]
        assert heard == [[], [], [], [b"408"], [b"413"]]
        assert not any(map(read, idle))
        server, port = psutil.Process(service.pid()), deaf.getsockname()[1]
        while any(open_.raddr and open_.raddr.port == port for open_ in server.net_connections()):
            time.sleep(0.2)


HOSTILE_BODIES = {
    "deep": b'{"data": ' + b'{"a": ' * MAX_DEPTH + b"1" + b"}" * (MAX_DEPTH + 1),
    "deeper": b'{"data": ' + b"[" * 30_000,
    "not a number": b'{"data": {"a": NaN}}',
    "more than a double": b'{"data": {"a": 1e400}}',
    "too many digits": b'{"data": {"a": 1' + b"0" * 5_000 + b"}}",
    "an id of too many digits": b'{"player_id": 1' + b"0" * 5_000 + b"}",
    "a time of too many digits": b'{"timestamp": 1' + b"0" * 5_000 + b"}",
    "half a character": rb'{"player_id": "\ud800"}',
    "half a character in data": rb'{"data": {"a": "\udfff"}}',
    "half a character as UTF-8": b'{"player_id": "\xed\xa0\x80"}',
    "not UTF-8": b'{"data": {"a": "\xff\xfe"}}',
    "U+0000": rb'{"player_id": "a\u0000"}',
    "U+0000 in data": rb'{"data": {"a\u0000": 1}}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "an id that ends a header": rb'{"event_id": "11111111-1111-4111-8111-111111111111\r\nX: y"}',
    "two scores, the last is none": b'{"event_type": "player_score", "data": {"score": 1, "score": "x"}}',
}


@pytest.mark.parametrize("body", HOSTILE_BODIES.values(), ids=list(HOSTILE_BODIES))
def test_what_json_may_not_or_should_not_hold_is_refused(service: Service, body: bytes) -> None:
    """Each with all that an event needs, alone and as an event of many, of which the others are taken."""
    rest = json.dumps(event(event_type="x", data={}))[1:].encode()
    # The last of two members of a name counts, so the hostile one comes last.
    hostile = (b"{" + rest[:-1] + b", " + body.lstrip(b"\xef\xbb\xbf")[1:]).replace(b", }", b"}")
    hostile = (b"\xef\xbb\xbf" if body.startswith(b"\xef") else b"") + hostile
    one = requests.post(f"{service.address}/api/v1/events", hostile, headers=JSON_BODY, timeout=30)
    assert (one.status_code, one.headers["Content-Type"]) == (422, MEDIA_TYPE)
    lines = b"\n".join([GOOD, hostile, GOOD])
    many = requests.post(f"{service.address}/api/v1/events/batch", lines, headers=JSON_LINES, timeout=30).json()
    assert (many["accepted"], [refused["index"] for refused in many["refused"]]) == (2, [1])


JSON_BODY = {"Content-Type": "application/json"}
JSON_LINES = {"Content-Type": "application/x-ndjson"}


def test_a_million_members_are_too_many(service: Service) -> None:
    members = b"{" + b",".join(b'"%x":0' % number for number in range(1_000_000)) + b"}"
    answer = requests.post(f"{service.address}/api/v1/events", members, headers=JSON_BODY, timeout=30)
    assert answer.status_code == 413
    some = b"[{" + b",".join(b'"%x":0' % number for number in range(400_000)) + b"}]"
    answer = requests.post(f"{service.address}/api/v1/events/batch", some, headers=JSON_BODY, timeout=30)
    assert answer.status_code == 422


def test_of_two_members_of_a_name_the_last_counts_and_data_keeps_both(service: Service) -> None:
    raw = GOOD[:-1] + b', "player_id": "the last", "data": {"score": 1, "a": 1, "a": 2}}'
    answer = requests.post(f"{service.address}/api/v1/events", raw, headers=JSON_BODY, timeout=30)
    (record,) = service.on_topic()[answer.json()["event_id"]]
    assert record.key == b"the last"
    assert b'{"score": 1, "a": 1, "a": 2}' in record.value


TEXTS = [
    "'; drop table players.events; --",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "a\r\nSet-Cookie: b",
    "%00%0d%0a",
    "*[?]{}\u202e\U0001f600",
    '"\\',
    "$(id)`id`",
]


def test_texts_come_back_as_they_were_given(service: Service) -> None:
    """To the topic, and out of Redis, whatever they would mean elsewhere."""
    events = [event(event_type=text, player_id=text, game_id=text, data={text: text}) for text in TEXTS]
    ids = service.post("events/batch", events).json()["event_ids"]
    found = service.on_topic()
    at = datetime.now(UTC).isoformat()
    begin = begin_of(Period.ALLTIME, datetime.now(UTC).date())
    for text, sent, event_id in zip(TEXTS, events, ids, strict=True):
        (record,) = found[event_id]
        told = json.loads(record.value)
        assert {name: told[name] for name in sent if name != "timestamp"} | {"timestamp": sent["timestamp"]} == sent
        assert (record.key, dict(record.headers)["event_type"]) == (text.encode(), text.encode())
        with Redis(**connection_options(load())) as redis:
            totals = {"total_events": 1, f"event_{text}": 1, "first_event": at, "last_event": at}
            redis.hset(statistics_key(text), mapping=totals)
            redis.set(turned_key(Period.ALLTIME), begin.isoformat())
            redis.zadd(board_key(text, Period.ALLTIME), {text: 1})
        path = f"{service.address}/api/v1/{{}}/{quote(text, safe='')}/{{}}"
        statistics = requests.get(path.format("players", "statistics"), timeout=30).json()
        assert (statistics["player_id"], statistics["event_breakdown"]) == (text, {text: 1})
        board = requests.get(path.format("games", "leaderboards/alltime"), {"around": text}, timeout=30)
        assert (board.json()["game_id"], board.headers["Content-Type"]) == (text, "application/json")
        assert board.json()["players"] == [{"rank": 1, "player_id": text, "score": 1}]
