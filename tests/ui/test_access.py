"""Each point of docs/ui-security.md, held against a server that runs."""

from __future__ import annotations

import http.client
import json
import queue
import re
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import kdb
from kdb.errors import BindError, Error, ExecutionError, ModelError
from kdb.session.session import Session
from kdb.ui.page import FIRST, Page
from kdb.ui.server import command
from kdb.ui.server.access import RESPONSE_HEADERS, TICKET_SECONDS, Access
from kdb.ui.server.frames import decoded, encoded
from tests.ui.serving import Served, serving

OWN = [(b"host", b"127.0.0.1:8765"), (b"origin", b"http://127.0.0.1:8765")]


def shown(token: str) -> bytes:
    """What the page sends to show a token."""
    return json.dumps({"token": token}).encode()


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that another thread does at once."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestAccess:
    """Without a server."""

    def test_tokens_and_cookies_are_secret_and_of_one_server(self) -> None:
        made = [Access(8765) for _ in range(20)]
        tokens = {each.token for each in made} | {each.ticket() for each in made}
        assert len(tokens) == 40 and all(re.fullmatch(r"[\w-]{43}", each) for each in tokens)  # 256 bits
        cookies = {each.exchanged(each.token) for each in made}
        assert len(cookies) == 20 and not any(token in str(each) for token in tokens for each in cookies)
        assert made[0].exchanged(made[1].token) is None

    def test_a_cookie_is_for_the_socket_alone_and_out_of_reach_of_scripts(self) -> None:
        access = Access(4321)
        cookie = str(access.exchanged(access.token))
        assert cookie.startswith("kdb-4321=")
        assert cookie.split("; ")[1:] == ["Path=/socket", "HttpOnly", "SameSite=Strict"]

    def test_a_token_is_good_for_many_browsers_and_a_ticket_for_one(self) -> None:
        now = 0.0
        access = Access(8765, clock=lambda: now)
        assert access.exchanged(access.token) == access.exchanged(access.token) is not None
        ticket, late = access.ticket(), access.ticket()
        assert access.exchanged(ticket) == access.exchanged(access.token)
        assert access.exchanged(ticket) is None
        now = TICKET_SECONDS + 1
        assert access.exchanged(late) is None

    @pytest.mark.parametrize("token", ["", "x", "\ud800", "ü" * 43, "x" * 10_000])
    def test_what_is_no_token_is_refused(self, token: str) -> None:
        assert Access(8765).exchanged(token) is None

    @pytest.mark.parametrize(
        ("host", "own"),
        [
            (b"127.0.0.1:8765", True),
            (b"localhost:8765", True),
            (b"LOCALHOST:8765", True),
            (b"127.0.0.1", False),
            (b"127.0.0.1:80", False),
            (b"[::1]:8765", False),
            (b"evil.example:8765", False),
            (b"127.0.0.1.evil.example:8765", False),
            (b"localhost:8765.evil.example", False),
            (b"localhost:8765@evil.example", False),
            (b"localhost.:8765", False),
            (b"0.0.0.0:8765", False),
            (b"127.1:8765", False),
            (b"", False),
            (b"\xff", False),
        ],
    )
    def test_hosts(self, host: bytes, own: bool) -> None:
        assert Access(8765).host_is_own([(b"host", host)]) is own

    def test_a_host_stands_once(self) -> None:
        access = Access(8765)
        assert not access.host_is_own([])
        assert not access.host_is_own([(b"host", b"localhost:8765"), (b"Host", b"evil.example")])

    def test_the_port_of_http_may_be_left_out(self) -> None:
        assert Access(80).host_is_own([(b"host", b"localhost")])

    @pytest.mark.parametrize(
        ("origin", "own"),
        [
            (b"http://127.0.0.1:8765", True),
            (b"http://localhost:8765", False),  # another name than that of the request
            (b"https://127.0.0.1:8765", False),
            (b"http://127.0.0.1:8766", False),
            (b"http://127.0.0.1", False),
            (b"http://127.0.0.1:8765.evil.example", False),
            (b"http://evil.example", False),
            (b"null", False),
            (b"", False),
        ],
    )
    def test_origins(self, origin: bytes, own: bool) -> None:
        assert Access(8765).origin_is_own([OWN[0], (b"origin", origin)]) is own

    def test_an_origin_stands_once_beside_an_own_host(self) -> None:
        access = Access(8765)
        assert access.origin_is_own(OWN)
        assert not access.origin_is_own(OWN[:1]) and not access.origin_is_own(OWN[1:])
        assert not access.origin_is_own([*OWN, (b"origin", b"http://evil.example")])
        assert not access.origin_is_own([(b"host", b"evil.example"), (b"origin", b"http://evil.example")])

    def test_cookies(self) -> None:
        access = Access(8765)
        own = str(access.exchanged(access.token)).partition(";")[0]
        for value in (own, f"a=b; {own}", f"{own}; a=b", f"kdb-8765=wrong; {own}"):
            assert access.has_cookie([(b"cookie", value.encode())])
        secret = own.partition("=")[2]
        for value in ("", own[:-1], own + "x", f"kdb-8766={secret}", secret, "kdb-8765=", f"kdb-8765={access.token}"):
            assert not access.has_cookie([(b"cookie", value.encode())])
        assert not access.has_cookie([]) and not access.has_cookie([(b"cookie", b"kdb-8765=\xff")])


def test_the_server_listens_to_this_machine_alone() -> None:
    listening = command.listener(0)
    with listening:
        host, port = listening.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(ExecutionError, match=f"port {port} is in use"):
            command.listener(port)
        # Any other address of this machine.
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.2", port), timeout=2)


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ui") / "static"
    folder.mkdir()
    for name in ("index.html", "page.js", "page.css", "kdb.js", "kdb.css", "icon.svg", "other.txt"):
        (folder / name).write_text(f"the file {name}")
    (folder.parent / "secret.py").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def served(static: Path) -> Iterator[Served]:
    pytest.importorskip("uvicorn")
    with serving(static) as server:
        yield server


@pytest.mark.ui
class TestFiles:
    @pytest.mark.parametrize(
        ("path", "name", "kind"),
        [
            ("/", "index.html", "text/html"),
            ("/static/page.js", "page.js", "text/javascript"),
            ("/static/kdb.js", "kdb.js", "text/javascript"),
            ("/static/kdb.css", "kdb.css", "text/css"),
            ("/static/icon.svg", "icon.svg", "image/svg+xml"),
        ],
    )
    def test_the_page_is_for_everyone_as_it_has_no_secrets(
        self, served: Served, path: str, name: str, kind: str
    ) -> None:
        status, headers, body = served.asked("GET", path)
        assert (status, body.decode()) == (200, f"the file {name}")
        assert headers["content-type"].removesuffix("; charset=utf-8") == kind
        assert served.asked("HEAD", path)[::2] == (200, b"")

    @pytest.mark.parametrize(
        "path",
        [
            "/static", "/static/", "/static//", "/static/.", "/static/..", "/static/../secret.py",
            "/static//etc/passwd",
            "/static/%2e%2e/secret.py", "/static/%2e%2e%2fsecret.py", "/static/..%5csecret.py", "/static/..\\secret.py",
            "/static/%252e%252e%252fsecret.py", "/static/../static/page.js", "/static/./page.js", "/static/other.txt",
            "/static/..%2fsecret.py", "/static/index.html", "/static/page.js/", "/static/page.js%00", "/static/PAGE.JS",
            "/static/page.js%00.css", "//etc/passwd", "/etc/passwd", "/../../etc/passwd", "/index.html", "/.git/config",
            "/%00", "/docs", "/session/",
        ],
    )  # fmt: skip
    def test_all_else_is_not_there(self, served: Served, path: str) -> None:
        status, headers, body = served.asked("GET", path)
        assert status == 404 and "location" not in headers
        assert b"secret" not in body and b"page.js" not in body and b"root:" not in body

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FOO"])
    @pytest.mark.parametrize("path", ["/", "/static/page.js"])
    def test_files_are_read_alone(self, served: Served, method: str, path: str) -> None:
        assert served.asked(method, path, served.own)[0] == 405

    def test_the_socket_and_the_token_are_not_pages(self, served: Served) -> None:
        assert served.asked("GET", "/socket")[0] == 404
        assert served.asked("GET", "/session")[0] == 405

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", "/"), ("GET", "/static/page.js"), ("GET", "/nothing"), ("PUT", "/"), ("POST", "/session")],
    )
    def test_every_answer_says_what_a_page_may_do(self, served: Served, method: str, path: str) -> None:
        _, headers, _ = served.asked(method, path)
        for name, value in RESPONSE_HEADERS:
            assert headers[name.decode()] == value.decode()
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';") and "unsafe" not in policy
        assert headers["cache-control"] == "no-store" and headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers and "x-powered-by" not in headers
        assert not any(name.startswith("access-control-") for name in headers)

    def test_an_answer_to_what_is_not_http_names_no_software(self, served: Served) -> None:
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
            connection.sendall(b"NONSENSE\r\n\r\n")
            answer = connection.recv(1 << 16)
        assert (
            answer.startswith(b"HTTP/1.1 400") and b"uvicorn" not in answer.lower() and b"python" not in answer.lower()
        )


@pytest.mark.ui
class TestHostsAndTokens:
    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", ""]
    )
    @pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/static/page.js"), ("POST", "/session")])
    def test_another_name_of_this_machine_is_refused(self, served: Served, host: str, method: str, path: str) -> None:
        headers = {"Host": host.format(port=served.port), "Origin": served.own["Origin"]}
        status, answered, body = served.asked(
            method, path, headers, shown(served.access.token) if method == "POST" else b""
        )
        assert status == 403 and b"the file" not in body and "set-cookie" not in answered
        assert "content-security-policy" in answered

    def test_a_request_without_or_with_two_hosts_is_refused(self, served: Served) -> None:
        assert served.asked("GET", "/", {"Host": None})[0] in (400, 403)
        assert served.asked("GET", "/", {"host": "evil.example"})[0] in (400, 403)

    def test_the_token_is_changed_for_a_cookie(self, served: Served) -> None:
        for token in (served.access.token, served.access.ticket()):
            status, headers, body = served.asked("POST", "/session", served.own, shown(token))
            assert (status, body) == (204, b"") and headers["set-cookie"].startswith(f"kdb-{served.port}=")
            assert served.access.token not in headers["set-cookie"]

    @pytest.mark.parametrize(
        "body",
        [
            b"", b"wrong", b"\xff\xfe", b"[" * 200, b"1" * 200, b"[]", b"{}", b'"token"', b'{"token": ""}',
            b'{"token": [1]}', b'{"token": "wrong"}', b'{"token": "\\ud800"}',
        ],
    )  # fmt: skip
    def test_a_wrong_token_is_refused(self, served: Served, body: bytes) -> None:
        status, headers, _ = served.asked("POST", "/session", served.own, body)
        assert status == 403 and "set-cookie" not in headers

    def test_a_token_in_an_address_does_nothing(self, served: Served) -> None:
        status, headers, _ = served.asked("POST", f"/session?token={served.access.token}", served.own)
        assert status == 403 and "set-cookie" not in headers

    def test_a_long_token_is_not_read(self, served: Served) -> None:
        assert served.asked("POST", "/session", served.own, b"x" * 100_000)[0] == 413

    @pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:1", "https://{host}"])
    def test_a_token_from_another_page_is_refused(self, served: Served, origin: str | None) -> None:
        given = None if origin is None else origin.format(host=served.own["Host"])
        headers = {**served.own, "Origin": given}
        status, answered, _ = served.asked("POST", "/session", headers, shown(served.access.token))
        assert status == 403 and "set-cookie" not in answered

    def test_localhost_is_a_name_too(self, served: Served) -> None:
        name = f"localhost:{served.port}"
        headers = {"Host": name, "Origin": f"http://{name}"}
        assert served.asked("GET", "/", headers)[0] == 200
        assert served.asked("POST", "/session", headers, shown(served.access.token))[0] == 204


@pytest.mark.ui
class TestSocket:
    def opened(self, served: Served, path: str = "/socket", **changed: str | None) -> http.client.HTTPResponse:
        """The answer to a request for a socket, with some headers changed, or taken away."""
        headers: dict[str, str | None] = {
            **served.own,
            "Cookie": served.cookie,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            **changed,
        }
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        connection.putrequest("GET", path, skip_host=True)
        for name, value in headers.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        connection.close()
        return answer

    def test_a_page_of_the_server_is_let_in(self, served: Served) -> None:
        before = len(served.pages)
        assert self.opened(served).status == 101
        until(lambda: len(served.pages) == before + 1)
        assert served.pages[-1].closed.wait(10)

    @pytest.mark.parametrize(
        "changed",
        [
            {"Cookie": None},
            {"Cookie": "kdb-{port}=wrong"},
            {"Cookie": "kdb-{port}={token}"},
            {"Cookie": "other={secret}"},
            {"Origin": None},
            {"Origin": "null"},
            {"Origin": "http://evil.example"},
            {"Origin": "http://localhost:{port}"},
            {"Origin": "https://127.0.0.1:{port}"},
            {"Host": "evil.example"},
            {"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"},
        ],
    )
    def test_others_are_refused_before_there_is_a_socket(self, served: Served, changed: dict[str, str | None]) -> None:
        before = len(served.pages)
        values = {"port": served.port, "token": served.access.token, "secret": served.cookie.partition("=")[2]}
        headers = {name: None if value is None else value.format(**values) for name, value in changed.items()}
        assert self.opened(served, **headers).status == 403
        assert len(served.pages) == before

    @pytest.mark.parametrize("path", ["/", "/socket/", "/session", "/other", "/static/page.js"])
    def test_there_is_one_socket(self, served: Served, path: str) -> None:
        before = len(served.pages)
        assert self.opened(served, path).status in (403, 404)
        assert len(served.pages) == before

    def connected(self, served: Served) -> object:
        from websockets.sync.client import connect

        return connect(
            f"ws://127.0.0.1:{served.port}/socket",
            origin=served.own["Origin"],  # type: ignore[arg-type]
            additional_headers={"Cookie": served.cookie},
            max_size=None,
            compression=None,
        )

    def test_messages_with_buffers_go_both_ways(self, served: Served) -> None:
        with self.connected(served) as client:
            sent = [{"kind": "upload", "id": i, "text": "ü\ud800"} for i in range(3)]
            buffers = [np.arange(1000 * i, dtype=np.uint8).tobytes() for i in range(3)]
            for content, buffer in zip(sent, buffers, strict=True):
                client.send(encoded(content, [buffer, b"123"]))
            got = [decoded(client.recv(timeout=10)) for _ in sent]
            assert sorted((content["content"]["id"], *map(bytes, views)) for content, views in got) == [
                (i, buffers[i], b"123") for i in range(3)
            ]
            page = served.pages[-1]
        assert page.closed.wait(10)

    @pytest.mark.parametrize("message", [b"", b"\0" * 8, "text", b"\xff" * 4])
    def test_what_is_no_frame_ends_the_socket(self, served: Served, message: bytes | str) -> None:
        from websockets.exceptions import ConnectionClosedError

        with self.connected(served) as client:
            client.send(message)
            with pytest.raises(ConnectionClosedError) as ended:
                client.recv(timeout=10)
            assert ended.value.rcvd.code == 1007
        assert served.pages[-1].closed.wait(10) and served.pages[-1].requests == []

    def test_a_message_larger_than_any_image_ends_the_socket_before_it_is_read(self, served: Served) -> None:
        before = len(served.pages)
        connection = socket.create_connection(("127.0.0.1", served.port), timeout=10)
        with connection:
            lines = [
                "GET /socket HTTP/1.1", *(f"{k}: {v}" for k, v in served.own.items()), f"Cookie: {served.cookie}",
                "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            ]  # fmt: skip
            connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 101")
            # A binary frame of 2^29 bytes, masked, of which none is sent.
            connection.sendall(struct.pack("!BBQI", 0x82, 0xFF, 1 << 29, 0))
            answer = connection.recv(1 << 16)
        assert answer[:1] == b"\x88" and struct.unpack("!H", answer[2:4]) == (1009,)
        until(lambda: len(served.pages) == before + 1)
        assert served.pages[-1].closed.wait(10) and served.pages[-1].requests == []

    def test_there_are_so_many_pages_and_no_more(self, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        from websockets.exceptions import ConnectionClosed

        from kdb.ui.server import app

        monkeypatch.setattr(app, "PAGES", 1)
        until(lambda: all(page.closed.is_set() for page in served.pages))
        with self.connected(served) as client:
            client.send(encoded({"id": 1}))
            assert decoded(client.recv(timeout=10))[0]["content"] == {"id": 1}
            with self.connected(served) as other, pytest.raises(ConnectionClosed) as ended:
                other.recv(timeout=10)
            assert ended.value.rcvd.code == 1013
            client.send(encoded({"id": 2}))
            assert decoded(client.recv(timeout=10))[0]["content"] == {"id": 2}


@pytest.mark.ui
def test_nothing_is_logged_that_would_open_the_page(
    static: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("uvicorn")
    with caplog.at_level(0), serving(static) as served:
        served.asked("POST", "/session", served.own, shown(served.access.token))
        served.asked("GET", f"/?token={served.access.token}")
        assert TestSocket().opened(served).status == 101
        cookie = served.cookie.partition("=")[2]
    captured = capfd.readouterr()
    for secret in (served.access.token, cookie):
        assert secret not in captured.out + captured.err + caplog.text


class TestStatements:
    """What statements of a page may do: those of a session under a root."""

    @pytest.fixture
    def session(self, tmp_path: Path) -> Iterator[Session]:
        root = tmp_path / "root"
        (root / "folder").mkdir(parents=True)
        outside = tmp_path / "outside"
        outside.mkdir()
        picture(outside / "cat.png")
        picture(root / "cat.png")
        (root / "link.png").symlink_to(outside / "cat.png")
        (root / "linked").symlink_to(outside)
        (root / "broken.png").symlink_to(outside / "new.png")
        with kdb.connect(root=root) as db:
            torch.manual_seed(0)
            net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
            db.register_model("tiny", net.eval(), input_size=24, mean=0, std=1)
            yield db

    def test_a_file_under_the_root_is_read(self, session: Session) -> None:
        assert session.execute("OCCLUDE 'cat.png' WITH patch(8, 8) STRIDE 8 USING tiny").complete  # type: ignore[union-attr]

    @pytest.mark.parametrize("path", ["../outside/cat.png", "{top}/outside/cat.png", "link.png", "linked/cat.png",
                                      "folder/../../outside/cat.png", "linked/*.png", "../outside/*"])  # fmt: skip
    def test_a_file_elsewhere_is_neither_read_nor_written(self, session: Session, tmp_path: Path, path: str) -> None:
        path = path.format(top=tmp_path)
        before = sorted((tmp_path / "outside").iterdir())
        with pytest.raises(BindError, match="outside the root"):
            session.execute(f"OCCLUDE '{path}' USING tiny")
        if "*" not in path:
            with pytest.raises(BindError, match="outside the root"):
                session.execute(f"OCCLUDE 'cat.png' WITH patch(8, 8) STRIDE 8 USING tiny INTO '{path}'")
        for statement in ("VERIFY '{}'", "OCCLUDE 'cat.png' USING '{}'", "OCCLUDE 'cat.png' USING tiny INTO RUN '{}'"):
            with pytest.raises(Error):
                session.execute(statement.format(path))
        assert sorted((tmp_path / "outside").iterdir()) == before

    def test_nothing_is_written_through_a_link_that_leads_nowhere(self, session: Session, tmp_path: Path) -> None:
        with pytest.raises(BindError, match="outside the root"):
            session.execute("OCCLUDE 'cat.png' WITH patch(8, 8) STRIDE 8 USING tiny INTO 'broken.png'")
        assert not (tmp_path / "outside" / "new.png").exists()

    @pytest.mark.parametrize(
        "statement",
        ["OCCLUDE 'cat.png' USING 'net.pt2'", "CREATE MODEL net FROM 'net.pt2'", "OCCLUDE 'cat.png' USING net"],
    )
    def test_no_statement_loads_a_program(self, session: Session, tmp_path: Path, statement: str) -> None:
        net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 24, 24),)), tmp_path / "root" / "net.pt2")
        with pytest.raises((BindError, ModelError)):
            session.execute(statement)

    def test_a_picture_that_unpacks_to_more_than_pictures_may_is_refused(
        self, session: Session, tmp_path: Path
    ) -> None:
        bomb(tmp_path / "root" / "bomb.png", 12_000, 12_000)
        assert (tmp_path / "root" / "bomb.png").stat().st_size < 200_000
        start = time.monotonic()
        with pytest.raises(ExecutionError, match="more than"):
            session.execute("OCCLUDE 'bomb.png' USING tiny")
        assert time.monotonic() - start < 2


def picture(path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path)


def bomb(path: Path, height: int, width: int) -> None:
    """A small PNG of many pixels of grey."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 1) * height), 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


class TestPage:
    """What requests of a page may do beside statements."""

    @pytest.fixture
    def page(self, tmp_path: Path) -> Iterator[Asked]:
        root, outside = tmp_path / "root", tmp_path / "outside"
        for folder in (root, outside / "run"):
            folder.mkdir(parents=True)
        picture(outside / "cat.png")
        (root / "linked").symlink_to(outside)
        with kdb.connect(root=root) as session:
            asked = Asked(session)
            yield asked
            asked.page.close()

    @pytest.mark.parametrize("folder", ["..", "../outside", "linked", "{top}/outside", "/", "a/../../outside/run"])
    @pytest.mark.parametrize("kind", ["browse", "gallery", "card"])
    def test_folders_elsewhere_are_not_listed(self, page: Asked, kind: str, folder: str, tmp_path: Path) -> None:
        if kind != "browse":
            pytest.importorskip("pyarrow")  # of runs
        answer = page.ask(kind, folder=folder.format(top=tmp_path), offset=0, label=None, image="cat.png")
        assert answer["kind"] == "refused" and "outside the root" in answer["error"]["message"]

    def test_a_link_that_leads_elsewhere_is_not_listed(self, page: Asked) -> None:
        assert page.ask("browse", folder="")["entries"] == []

    @pytest.mark.parametrize(
        "name", ["../../outside/new.png", "..\\new.png", "/new.png", "a\0b.png", ".png", "", "x" * 5000]
    )
    def test_an_upload_is_written_nowhere_else(self, page: Asked, name: str, tmp_path: Path) -> None:
        before = sorted(tmp_path.rglob("*"))
        data = (tmp_path / "outside" / "cat.png").read_bytes()
        assert page.ask("upload", [data], name=name, text=FIRST)["kind"] in ("form", "refused")
        assert sorted(tmp_path.rglob("*")) == before

    def test_an_upload_that_unpacks_to_too_much_is_refused(self, page: Asked, tmp_path: Path) -> None:
        bomb(tmp_path / "bomb.png", 12_000, 12_000)
        answer = page.ask("upload", [(tmp_path / "bomb.png").read_bytes()], name="bomb.png", text=FIRST)
        assert answer["kind"] == "refused" and "more than" in answer["error"]["message"]

    def test_an_upload_is_no_program(self, page: Asked, tmp_path: Path) -> None:
        net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 24, 24),)), tmp_path / "net.pt2")
        answer = page.ask("upload", [(tmp_path / "net.pt2").read_bytes()], name="net.pt2", text=FIRST)
        assert answer["kind"] == "refused"


class Asked:
    """A page that lists folders, and the answers to what it is asked."""

    def __init__(self, session: Session) -> None:
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self.page = Page(session, lambda content, buffers: self.events.put(content), browsing=True)

    def ask(self, kind: str, buffers: Sequence[bytes] = (), **fields: object) -> dict[str, Any]:
        self.page.receive({"id": 1, "kind": kind, **fields}, buffers)
        return self.events.get(timeout=20)
