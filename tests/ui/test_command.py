"""``kdb ui`` as a process: what it prints, how it ends, and what it takes while nothing happens."""

from __future__ import annotations

import io
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kdb.errors import ExecutionError
from kdb.ui.server import command
from kdb.ui.server.access import Access

ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/#token=([\w-]{43})\n")


@contextmanager
def running(*arguments: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A process of ``kdb ui``, its port and its token."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kdb", "ui", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )
    try:
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(2)]
        found = ADDRESS.search("".join(printed))
        assert found, printed
        assert str(cwd) in printed[0]
        yield process, found[1], found[2]
    finally:
        process.kill()
        process.wait()


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.ui
@pytest.mark.slow
def test_a_server_starts_idles_and_ends(tmp_path: Path) -> None:
    with running("--no-browser", cwd=tmp_path) as (process, port, token):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            assert answer.status == 200 and token not in answer.read().decode()
        if sys.platform == "linux":
            before = cpu_seconds(process.pid)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(3)
            assert cpu_seconds(process.pid) - before < 0.1
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0 and errors == ""


@pytest.mark.ui
def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with command.listener(0) as taken:
        port = taken.getsockname()[1]
        arguments = [sys.executable, "-m", "kdb", "ui", "--no-browser", "--port", str(port)]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr == f"error: port {port} is in use; without --port kdb ui takes a free one\n"


def test_a_free_port_is_found_where_none_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with command.listener(0) as taken:
        monkeypatch.setattr(command, "PORT", taken.getsockname()[1])
        with command.listener(None) as found:
            assert found.getsockname()[1] not in (0, command.PORT)
    with command.listener(None) as found:
        assert found.getsockname()[1] == command.PORT


def test_a_port_that_is_not_for_everyone_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refused)
    with pytest.raises(ExecutionError, match="cannot listen on port 80: Permission denied"):
        command.listener(80)


def test_missing_packages_are_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from kdb import cli

    monkeypatch.setattr(command, "find_spec", lambda name: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # main leaves Ctrl-C ignored, as the process ends
    assert cli.main(["ui", "--no-browser"]) == 1
    assert capsys.readouterr().err == (
        "error: kdb ui needs starlette, uvicorn and websockets: pip install 'kdb-occlusion[ui]'\n"
    )


@pytest.mark.parametrize("port", ["-1", "65536", "x", "1.5", ""])
def test_what_is_no_port_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([f"--port={port}"], sys.stdout)
    assert ended.value.code == 2 and "no port" in capsys.readouterr().err


def test_a_root_that_is_none_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from kdb.errors import BindError

    pytest.importorskip("uvicorn")
    with pytest.raises(BindError, match="is no folder"):
        command.main(["--no-browser", "--port=0", "--root", str(tmp_path / "none")], sys.stdout)


@pytest.mark.ui
def test_the_browser_is_started_with_a_token_for_one_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvicorn")
    started: queue.Queue[str] = queue.Queue()
    tickets = []

    class Server:
        def __init__(self, access: Access, open_page: object) -> None:
            self.access = access

        def run(self, sockets: object) -> None:
            ticket = started.get(timeout=10).partition("#token=")[2]
            tickets.append((ticket, self.access.token, self.access.exchanged(ticket), self.access.exchanged(ticket)))
            raise KeyboardInterrupt

    monkeypatch.setattr(command, "server", Server)
    monkeypatch.setattr(command.webbrowser, "open", started.put)
    out = io.StringIO()
    assert command.main(["--port=0", "--root", str(tmp_path)], out) == 0
    ((ticket, token, first, second),) = tickets
    assert first is not None and second is None
    assert ticket not in out.getvalue() and token in out.getvalue()
