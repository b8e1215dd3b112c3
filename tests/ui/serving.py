"""A server in a thread of the test's process, whose pages answer each request with what they were sent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdb.ui.server import command
from kdb.ui.server.access import Access
from kdb.ui.server.frames import Buffer


class Echo:
    """A page that answers from a thread of its own, as pages do."""

    def __init__(self, post: Any) -> None:
        self.post = post
        self.requests: list[tuple[dict[str, Any], list[bytes]]] = []
        self.closed = threading.Event()

    def receive(self, content: dict[str, Any], buffers: Sequence[Buffer]) -> None:
        self.requests.append((content, [bytes(each) for each in buffers]))
        answer = {"kind": "echo", "content": content}
        threading.Thread(target=self.post, args=(answer, [memoryview(each) for each in buffers])).start()

    def close(self) -> None:
        self.closed.set()


class Served:
    """A running server: its port, its access, and the pages that were opened."""

    def __init__(self, static: Path) -> None:
        self.listening = command.listener(0)
        self.port: int = self.listening.getsockname()[1]
        self.access = Access(self.port)
        self.pages: list[Echo] = []
        self.server = command.server(self.access, self._open, static)

    def _open(self, post: Any) -> Echo:
        self.pages.append(Echo(post))
        return self.pages[-1]

    @property
    def own(self) -> dict[str, str]:
        """The headers of a request of the page itself."""
        name = f"127.0.0.1:{self.port}"
        return {"Host": name, "Origin": f"http://{name}"}

    @property
    def cookie(self) -> str:
        """What a browser sends after it has shown the token."""
        given = self.access.exchanged(self.access.token)
        assert given is not None
        return given.partition(";")[0]

    def asked(
        self, method: str, path: str, headers: dict[str, str | None] | None = None, body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body of a request that is sent as it is written here."""
        all_headers = {"Host": self.own["Host"], "Connection": "close", **(headers or {})}
        if body:
            all_headers["Content-Length"] = str(len(body))
        lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in all_headers.items() if v is not None)]
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            answer = b""
            while part := connection.recv(1 << 16):
                answer += part
        head, _, rest = answer.partition(b"\r\n\r\n")
        status, *fields = head.decode("latin-1").split("\r\n")
        pairs = (field.partition(":") for field in fields)
        return int(status.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}, rest


@contextmanager
def serving(static: Path) -> Iterator[Served]:
    """A server on a free port, until the end of the block."""
    served = Served(static)
    thread = threading.Thread(target=served.server.run, kwargs={"sockets": [served.listening]})
    thread.start()
    try:
        yield served
    finally:
        served.server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
