"""What no query may do, for tests of what watches it; imports little, since processes of their own import it."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import kdb


def mischief(folder: Path) -> Callable[[random.Random], str]:
    """Attempt after attempt does something else that there may not be."""

    def silent() -> None:
        raise kdb.BindError("")

    def outside() -> None:
        Path("/tmp/of-another").write_text("x")

    deeds: list[Callable[[], object]] = [
        lambda: (folder / "own").write_text("x"),
        lambda: [][0],
        silent,
        lambda: subprocess.run(["true"]),
        lambda: os.system("true"),
        outside,
        lambda: os.rename(folder / "own", "/tmp/of-another"),
        lambda: socket.create_connection(("127.0.0.1", 9)),
        lambda: os._exit(3),
        lambda: time.sleep(60),
        lambda: (bytearray(b"x") * (400 << 20), time.sleep(5)),
        lambda: sys.stdout.write("what libraries print\n"),
    ]

    def attempt(draw: random.Random) -> str:
        made.append(1)
        deeds[done + len(made) - 1]()
        return "answered"

    # A new process begins after one that was ended.
    made, done = list[int](), int(sys.argv[3])
    return attempt


def broken(folder: Path) -> Callable[[random.Random], str]:
    """A target of which nothing can be made."""
    raise ValueError("nothing to damage")
