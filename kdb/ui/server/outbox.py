"""What waits to be sent to one page: posted from any thread, sent by the event loop one after another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any

from kdb.ui.server.frames import encoded
from kdb.ui.wire import Buffer

WAITING = 1 << 29
"""Most bytes that wait; a browser that leaves more unread is given up."""

_REPLACED = ("map", "progress")
"""Events whose newest one is enough."""


class Full(Exception):
    """More waits than may."""


class Outbox:
    """Frames in the order in which they were posted.

    A map or progress takes the place of the one before it of the same query if that still waits, so that a slow browser
    gets fewer of them, each as it is then.  It goes to the end of the queue: what a map refers to was posted before it,
    and is sent before it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int = WAITING) -> None:
        self._loop, self._limit = loop, limit
        self._lock = threading.Lock()
        self._posted = asyncio.Event()
        self._waiting: dict[Hashable, bytes] = {}  # in the order of sending
        self._bytes = self._count = 0
        self._closed = self._full = False

    def post(self, content: Mapping[str, Any], buffers: Sequence[Buffer] = ()) -> None:
        """Leave a message to be sent; from any thread.  It is copied, and forgotten once the outbox is closed."""
        frame = encoded(content, buffers)
        with self._lock:
            if self._closed:
                return
            key = self._key(content)
            self._bytes += len(frame) - len(self._waiting.pop(key, b""))
            self._waiting[key] = frame
            if self._bytes > self._limit:
                self._full = True
                self._forget()
            self._loop.call_soon_threadsafe(self._posted.set)

    async def deliver(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send what is posted until this is cancelled; raises Full for a browser that does not keep up."""
        while True:
            await self._posted.wait()
            self._posted.clear()
            while (frame := self._next()) is not None:
                await send(frame)

    def close(self) -> None:
        """Forget what waits, and what is posted from now on."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._closed = True
        self._waiting.clear()

    def _key(self, content: Mapping[str, Any]) -> Hashable:
        """The same for messages of which the newest is enough."""
        if content.get("kind") in _REPLACED:
            return tuple(str(content.get(name)) for name in ("kind", "id", "slot", "map"))
        self._count += 1
        return self._count

    def _next(self) -> bytes | None:
        with self._lock:
            if self._full:
                raise Full
            if not self._waiting:
                return None
            frame = self._waiting.pop(next(iter(self._waiting)))
            self._bytes -= len(frame)
            return frame
