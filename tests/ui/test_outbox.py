"""What waits for a page: order, newer maps in place of older ones, threads, and a browser that does not read."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from kdb.ui.server.frames import decoded
from kdb.ui.server.outbox import Full, Outbox


def sent(posted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is sent of messages that were all posted before the first could be."""

    async def run() -> list[dict[str, Any]]:
        outbox = Outbox(asyncio.get_running_loop())
        for each in posted:
            outbox.post(each)
        return await received(outbox)

    return asyncio.run(run())


async def received(outbox: Outbox, pause: float = 0.05) -> list[dict[str, Any]]:
    """What an outbox sends until nothing comes for a while."""
    got: list[dict[str, Any]] = []

    async def send(frame: bytes) -> None:
        got.append(decoded(frame)[0])

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(outbox.deliver(send), pause)
    return got


def test_messages_are_sent_in_order() -> None:
    messages = [{"kind": kind, "id": i} for i, kind in enumerate(("welcome", "form", "form", "picture", "labels"))]
    assert sent(messages) == messages


def test_a_newer_map_takes_the_place_of_one_that_waits_and_overtakes_nothing() -> None:
    first = {"kind": "map", "id": 1, "map": 7, "done": 10}
    other = {"kind": "map", "id": 2, "map": 8, "done": 10}
    picture = {"kind": "picture", "key": "new"}
    progress = [{"kind": "progress", "id": 1, "slot": "a", "done": i} for i in range(5)]
    second = {"kind": "map", "id": 1, "map": 7, "done": 20, "picture": "new"}
    finished = {"kind": "finished", "id": 1}
    posted = [first, other, progress[0], picture, progress[1], second, *progress[2:], finished]
    assert sent(posted) == [other, picture, second, progress[-1], finished]


def test_what_was_sent_is_not_replaced() -> None:
    async def run() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        maps = [{"kind": "map", "id": 1, "map": 7, "done": i} for i in range(2)]
        outbox.post(maps[0])
        assert await received(outbox) == maps[:1]
        outbox.post(maps[1])
        assert await received(outbox) == maps[1:]

    asyncio.run(run())


def test_threads_post_while_others_are_sent() -> None:
    async def run() -> list[dict[str, Any]]:
        outbox = Outbox(asyncio.get_running_loop())

        def post(thread: int) -> None:
            for i in range(200):
                outbox.post({"kind": "form", "id": i, "thread": thread}, [bytes(100)])

        threads = [threading.Thread(target=post, args=(i,)) for i in range(3)]
        for each in threads:
            each.start()
        got = await received(outbox, 0.2)
        for each in threads:
            each.join()
        return got + await received(outbox)

    got = asyncio.run(run())
    for thread in range(3):
        assert [each["id"] for each in got if each["thread"] == thread] == list(range(200))


def test_a_slow_browser_is_sent_the_newest_map_alone_and_little_memory_is_held() -> None:
    async def run() -> list[int]:
        outbox = Outbox(asyncio.get_running_loop(), limit=3 << 20)
        got: list[int] = []

        async def send(frame: bytes) -> None:
            await asyncio.sleep(0.02)
            got.append(decoded(frame)[0]["done"])

        sending = asyncio.create_task(outbox.deliver(send))
        for i in range(100):
            outbox.post({"kind": "map", "id": 1, "map": 1, "done": i}, [bytes(1 << 20)])
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)
        assert not sending.done()
        sending.cancel()
        return got

    got = asyncio.run(run())
    assert got == sorted(got) and got[-1] == 99 and len(got) < 50


def test_a_browser_that_reads_nothing_is_given_up_and_what_waits_forgotten() -> None:
    async def run() -> None:
        outbox = Outbox(asyncio.get_running_loop(), limit=1000)
        for i in range(100):
            outbox.post({"kind": "form", "id": i}, [bytes(100)])

        async def send(frame: bytes) -> None:
            raise AssertionError("nothing is left")

        with pytest.raises(Full):
            await outbox.deliver(send)

    asyncio.run(run())


def test_nothing_is_kept_after_the_end_nor_of_a_loop_that_has_ended() -> None:
    async def run() -> Outbox:
        outbox = Outbox(asyncio.get_running_loop())
        outbox.post({"kind": "form"})
        outbox.close()
        outbox.post({"kind": "form"})
        assert await received(outbox) == []
        return outbox

    asyncio.run(run()).post({"kind": "form"})
