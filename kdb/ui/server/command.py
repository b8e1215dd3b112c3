"""The command ``kdb ui``."""

from __future__ import annotations

import argparse
import errno
import socket
import threading
import webbrowser
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from kdb.errors import ExecutionError, printable, reason
from kdb.system.interrupts import deferred
from kdb.system.paths import Root
from kdb.ui.server.access import Access
from kdb.ui.server.frames import REQUEST

if TYPE_CHECKING:
    import uvicorn

    from kdb.ui.server.app import Open

STATIC = Path(__file__).resolve().parents[1] / "static"
"""The page, as it is built."""

HOST = "127.0.0.1"
PORT = 8765
"""The port where it is free and none was asked for."""
SHUTDOWN_SECONDS = 5
"""How long queries that are under way may take to stop."""

_NEEDED = ("starlette", "uvicorn", "websockets")


def main(argv: Sequence[str], out: TextIO) -> int:
    """Serve the page until Ctrl-C; returns the exit status.

    Raises BindError for a folder or study that is none, and ExecutionError where the packages of the extra are missing
    or the port cannot be had.
    """
    arguments = _arguments(argv)
    if not all(map(find_spec, _NEEDED)):
        raise ExecutionError(
            f"kdb ui needs {', '.join(_NEEDED[:-1])} and {_NEEDED[-1]}: pip install 'kdb-occlusion[ui]'"
        )
    root = Root.at(arguments.root)
    with ExitStack() as stack:
        listening = stack.enter_context(listener(arguments.port))
        access = Access(listening.getsockname()[1])
        address = f"http://{HOST}:{listening.getsockname()[1]}/#token="
        # Before PyTorch is imported, which takes some seconds: a browser that is faster waits in the socket's queue.
        print(f"kdb ui reads and writes files in {printable(str(root.folder))}, and is at", file=out)
        print(f"    {address}{access.token}\nIt starts within seconds. Ctrl-C ends it.", file=out, flush=True)
        try:
            with deferred():
                from kdb.session.session import connect
                from kdb.ui.page import Page
            session = stack.enter_context(connect(arguments.study, root=arguments.root))
            if not arguments.no_browser:
                # Some browsers return when they are closed.
                ticketed = address + access.ticket()
                threading.Thread(target=webbrowser.open, args=(ticketed,), daemon=True).start()
            server(access, lambda post: Page(session, post, browsing=True)).run(sockets=[listening])
        except KeyboardInterrupt:  # raised once all is closed, as it is how one ends the server
            print("\nended", file=out)
    return 0


def server(access: Access, open_page: Open, static: Path = STATIC) -> uvicorn.Server:
    """The server for those who have ``access``; its ``run`` takes the sockets to listen on.

    No pings: a browser on this machine cannot vanish without its connection being closed, and one whose machine was
    asleep would be given up.  No compression, as nothing leaves the machine.  Neither paths nor cookies are logged.
    """
    import uvicorn

    from kdb.ui.server.app import application

    return uvicorn.Server(
        uvicorn.Config(
            application(access, open_page, static),
            loop="asyncio",
            http="h11",
            ws="websockets-sansio",
            ws_max_size=REQUEST,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
    )


def listener(port: int | None) -> socket.socket:
    """A socket that listens on this machine for this machine, on ``port``, or on ``PORT`` or any free one.

    Raises ExecutionError where the port that was asked for cannot be had.
    """
    if port is not None:
        return _listener(port)
    try:
        return _listener(PORT)
    except ExecutionError:
        return _listener(0)


def _listener(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows, where another program could take a share of the port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:  # a server that has just ended does not keep the port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((HOST, port))
        made.listen(128)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise ExecutionError(f"port {port} is in use; without --port kdb ui takes a free one") from error
        raise ExecutionError(f"cannot listen on port {port}: {reason(error)}") from error
    return made


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="kdb ui",
        description="Serve the page of kdb to browsers of this machine, until Ctrl-C. The address that is printed has "
        "a token: whoever has it, on this machine, can use the page.",
    )
    parser.add_argument(
        "--root",
        metavar="DIR",
        default=".",
        help="read and write no files elsewhere; paths are relative to it (the current folder)",
    )
    parser.add_argument("--study", metavar="FILE", help="keep models, settings and tunings in this file under the root")
    parser.add_argument(
        "--port", metavar="N", type=_port, help=f"listen on this port; by default {PORT}, or any other if it is in use"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address alone, and open no browser")
    return parser.parse_args(argv)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 0, for any free one, to 65535")
    return int(text)
