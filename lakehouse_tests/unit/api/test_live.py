"""What those are told who listen, and what it costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
from redis import ConnectionError as RedisAway

from lakehouse.api import live
from lakehouse.api.live import AWAY, HEARTBEAT, START, Board, Live, Player
from lakehouse.api.openapi import document
from lakehouse.api.reads import Reader
from lakehouse.domains.players.boards import Period

BOARD = Board("g", Period.DAILY, 10)


class Store(Reader):
    """Answers with what the test says, in its order, and waits until it says something."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Any] = asyncio.Queue()
        self.asked = 0

    async def board(self, game: str, period: Period, limit: int, around: str | None) -> dict[str, Any] | None:
        self.asked += 1
        told = await self.answers.get()
        if isinstance(told, Exception):
            raise told
        return {"game_id": game, "players": told}

    async def statistics(self, player: str) -> dict[str, Any] | None:
        return None


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_SECONDS", 0)


def run(scene: Callable[[Store, Live], Awaitable[None]]) -> None:
    """Play a scene; at its end nobody listens, so nothing may be asked any more."""

    async def play() -> None:
        store = Store()
        await scene(store, Live(store))
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(play())


def told(frame: bytes) -> Any:
    """What an event tells, read as a browser reads it."""
    event, data, *rest = frame.decode().split("\n")
    assert (event[:7], data[:6], rest) == ("event: ", "data: ", ["", ""])
    return event[7:], json.loads(data[6:])


def test_an_event_is_one_whatever_names_hold() -> None:
    nasty = "a\n\ndata: <script>\r\u2028"

    async def scene(store: Store, live: Live) -> None:
        store.answers.put_nowait([{"player_id": nasty}])
        stream = live.listen(Board(nasty, Period.DAILY, 10))
        assert await anext(stream) == START
        frame = await anext(stream)
        assert b"\r" not in frame
        assert told(frame) == ("board", {"game_id": nasty, "players": [{"player_id": nasty}]})
        await stream.aclose()

    run(scene)


def test_a_thousand_who_ask_the_same_are_one_question_and_hear_each_change_once() -> None:
    async def scene(store: Store, live: Live) -> None:
        streams = [live.listen(BOARD) for _ in range(1_000)]
        assert set(await hear(streams)) == {START}
        store.answers.put_nowait([1])
        assert {told(frame)[1]["players"][0] for frame in await hear(streams)} == {1}
        for answer in (1, 1, 1, 2):
            store.answers.put_nowait([answer])
        assert {told(frame)[1]["players"][0] for frame in await hear(streams)} == {2}
        assert store.asked <= 6
        for stream in streams:
            await stream.aclose()

    run(scene)


async def hear(streams: list[AsyncGenerator[bytes, None]]) -> list[bytes]:
    return await asyncio.gather(*(anext(stream) for stream in streams))


def test_a_player_is_told_of_beside_the_board() -> None:
    async def scene(store: Store, live: Live) -> None:
        stream = live.listen(BOARD, Player("p", "g", Period.DAILY))
        await anext(stream)
        store.answers.put_nowait([1])
        store.answers.put_nowait([2])
        heard = b""
        while heard.count(b"event: ") < 2:
            heard += await anext(stream)
        events = dict(told(frame + b"\n\n") for frame in heard.split(b"\n\n")[:-1])
        assert events["board"] == {"game_id": "g", "players": [1]}
        assert events["player"] == {"player_id": "p", "statistics": None, "around": {"game_id": "g", "players": [2]}}
        await stream.aclose()

    run(scene)


def test_while_redis_is_away_the_stream_says_so_and_goes_on_afterwards() -> None:
    async def scene(store: Store, live: Live) -> None:
        stream = live.listen(BOARD)
        await anext(stream)
        store.answers.put_nowait([1])
        before = await anext(stream)
        store.answers.put_nowait(RedisAway("secret"))
        assert await anext(stream) == AWAY
        assert b"secret" not in AWAY
        store.answers.put_nowait([1])
        assert await anext(stream) == before
        await stream.aclose()

    run(scene)


def test_a_fault_of_ours_ends_the_stream_instead_of_leaving_it_silent() -> None:
    async def scene(store: Store, live: Live) -> None:
        stream = live.listen(BOARD)
        await anext(stream)
        store.answers.put_nowait(KeyError("total_events"))
        with pytest.raises(KeyError):
            await anext(stream)

    run(scene)


def test_without_news_it_says_that_it_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_SECONDS", 0)

    async def scene(_: Store, live: Live) -> None:
        stream = live.listen(BOARD)
        assert [await anext(stream) for _ in range(3)] == [START, HEARTBEAT, HEARTBEAT]
        await stream.aclose()

    run(scene)


def test_when_the_service_ends_so_do_the_streams() -> None:
    async def scene(_: Store, live: Live) -> None:
        stream = live.listen(BOARD)
        await anext(stream)
        waiting = asyncio.ensure_future(anext(stream, None))
        await asyncio.sleep(0)
        live.close()
        assert await waiting is None
        assert [frame async for frame in live.listen(BOARD)] == [START]

    run(scene)


def test_only_so_many_may_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_LISTENERS", 2)

    async def scene(_: Store, live: Live) -> None:
        streams = [live.listen(BOARD) for _ in range(2)]
        for stream in streams:
            assert not live.is_full
            await anext(stream)
        assert live.is_full
        await streams[0].aclose()
        assert not live.is_full
        await streams[1].aclose()

    run(scene)


def test_it_is_described() -> None:
    told = document(asks_for_keys=True)["paths"]["/api/v1/games/{game_id}/leaderboards/{period}/live"]["get"]
    assert list(told["responses"]["200"]["content"]) == [live.MEDIA_TYPE]
    assert all(f"`{event}`" in told["description"] for event in (Board.event, Player.event, "away"))
