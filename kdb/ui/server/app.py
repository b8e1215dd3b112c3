"""The application: the page's files, the exchange of the token for a cookie, and one socket for each open page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from kdb.ui.server import frames
from kdb.ui.server.access import RESPONSE_HEADERS, SOCKET, Access
from kdb.ui.server.outbox import Full, Outbox
from kdb.ui.wire import Buffer

FILES = {
    "page.js": "text/javascript",
    "page.css": "text/css",
    "kdb.js": "text/javascript",
    "kdb.css": "text/css",
    "icon.svg": "image/svg+xml",
}
"""What the page consists of, beside index.html."""

PAGES = 32
"""Most pages that are open at once; each has a thread."""
TOKEN = 256
"""Most bytes of a request that shows a token."""

MALFORMED, BUSY = 1007, 1013
"""Why a socket is closed: a message is no frame; there are too many pages, or one does not read what it is sent."""


class AnyPage(Protocol):
    """What the server needs of :class:`kdb.ui.page.Page`."""

    def receive(self, content: dict[str, Any], buffers: Sequence[Buffer]) -> None:
        """A request of the browser; returns at once."""

    def close(self) -> None:
        """Stop what is under way."""


Post = Callable[[dict[str, Any], list[Buffer]], None]
Open = Callable[[Post], AnyPage]
"""Makes a page that posts what it has to say."""


def application(access: Access, open_page: Open, static: Path) -> ASGIApp:
    """The page of ``static`` for those who have ``access``, each in a page of its own.

    What there is of the files is fixed now: no request reads one.
    """
    files = {name: (static / name).read_bytes() for name in ("index.html", *FILES)}

    async def index(request: Request) -> Response:
        return Response(files["index.html"], media_type="text/html")

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            return PlainTextResponse("Not Found", 404)
        return Response(files[name], media_type=FILES[name])

    async def session(request: Request) -> Response:
        """A token, as ``{"token": ..}``, for a cookie."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > TOKEN:
                return PlainTextResponse("Content Too Large", 413)
        cookie = access.exchanged(_token(body)) if access.origin_is_own(request.headers.raw) else None
        if cookie is None:
            return PlainTextResponse("Forbidden", 403)
        return Response(status_code=204, headers={"set-cookie": cookie})

    app = Starlette(
        routes=[
            Route("/", index),
            Route("/static/{name}", file),
            Route("/session", session, methods=["POST"]),
            WebSocketRoute(SOCKET, Sockets(access, open_page).serve),
        ]
    )
    app.router.redirect_slashes = False
    return Guarded(app, access)


def _token(body: bytes) -> str:
    try:
        return str(json.loads(body)["token"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""


class Guarded:
    """An application that is reached by this machine's own names alone, and says in each answer what a page may do."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or a socket that wants to be opened."""

        async def send_guarded(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                message["headers"] = [*message.get("headers", ()), *RESPONSE_HEADERS]
            await send(message)

        app = self._app if self._access.host_is_own(scope["headers"]) else _refused
        await app(scope, receive, send_guarded)


async def _refused(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).close()  # before it was accepted: 403
    else:
        await PlainTextResponse("Forbidden", 403)(scope, receive, send)


class Sockets:
    """The sockets of open pages."""

    def __init__(self, access: Access, open_page: Open) -> None:
        self._access, self._open_page = access, open_page
        self._pages = 0

    async def serve(self, socket: WebSocket) -> None:
        """One socket, from its opening to its end."""
        headers = socket.headers.raw
        if not (self._access.origin_is_own(headers) and self._access.has_cookie(headers)):
            await socket.close()  # before it was accepted: 403
            return
        await socket.accept()
        if self._pages >= PAGES:
            await socket.close(BUSY)
            return
        outbox = Outbox(asyncio.get_running_loop())
        page = self._open_page(outbox.post)
        self._pages += 1
        sending = asyncio.create_task(self._send(socket, outbox))
        try:
            await self._receive(socket, page)
        finally:
            sending.cancel()
            outbox.close()
            self._pages -= 1
            await asyncio.to_thread(page.close)  # waits for a batch that is under way

    async def _receive(self, socket: WebSocket, page: AnyPage) -> None:
        while (message := await socket.receive())["type"] == "websocket.receive":
            try:
                content, buffers = frames.decoded(message.get("bytes") or b"")
            except frames.Malformed:
                await socket.close(MALFORMED)
                return
            page.receive(content, buffers)

    async def _send(self, socket: WebSocket, outbox: Outbox) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):  # the browser has gone, which the receiving end is told too
            try:
                await outbox.deliver(socket.send_bytes)
            except Full:
                await socket.close(BUSY)
