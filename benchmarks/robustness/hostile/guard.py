"""Attempts on a target, in a process of their own: what each led to, and what it did that no query may do.

The process tells of any program that it starts, any file that it would change outside its folder, and any connection
that it makes, and stops itself at the first; another process stops it where one attempt takes too long or too much
memory.  Run as a module it is that process: ``python -m benchmarks.robustness.hostile.guard MODULE:FUNCTION SEED FIRST
COUNT``.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import selectors
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 10.0
"""Most that an attempt may take."""
BYTES = 2 << 30
"""Most that the process may grow."""
STARTING = 120.0
"""Seconds in which the process must be ready: it imports torch and prepares the target."""
TOLD = 5
"""Faults of a kind of which the details are kept."""

Attempt = Callable[[random.Random], str]
"""Damages something by chance and gives it to kdb; returns what came of it in a word, or raises kdb's error."""
Prepare = Callable[[Path], Attempt]
"""Makes what is to be damaged, in a folder."""

STARTS = frozenset({"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.system"})
CHANGES = {
    "os.chmod": (0,),
    "os.chown": (0,),
    "os.link": (0, 1),
    "os.mkdir": (0,),
    "os.remove": (0,),
    "os.rename": (0, 1),
    "os.rmdir": (0,),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "os.utime": (0,),
    "shutil.rmtree": (0,),
    "sqlite3.connect": (0,),
}
"""Audit events that change files, and which of their arguments are paths."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Forbidden(BaseException):
    """Not an Exception, so that nothing on the way mistakes it for a damaged file."""


def forbid(folder: Path) -> None:
    """From now on, this process raises Forbidden instead of starting a program, of changing a file that is not in
    ``folder``, and of connecting to anything."""
    inside = f"{folder.resolve()}{os.sep}"

    def outside(path: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False  # a descriptor, which was opened before
        name = os.fsdecode(path)
        return name not in (os.devnull, ":memory:") and not os.path.realpath(name).startswith(inside)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in STARTS or event in ("subprocess.Popen", "socket.connect", "socket.bind"):
            raise Forbidden(f"{event} {arguments}")
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING and outside(arguments[0]):
            raise Forbidden(f"writes {arguments[0]!r}")
        if any(outside(arguments[place]) for place in CHANGES.get(event, ())):
            raise Forbidden(f"{event} {arguments}")

    sys.addaudithook(hook)


def attempts(attempt: Attempt, seed: int, first: int, count: int) -> None:
    """Make ``count`` of them from number ``first`` on, and say on standard output what each leads to."""
    import kdb

    warnings.simplefilter("ignore")
    say({"ready": True})
    for number in range(first, first + count):
        say({"begins": number})
        said: dict[str, Any] = {"ends": number}
        try:
            said["outcome"] = attempt(random.Random(f"{seed}.{number}"))
        except kdb.Error as error:
            said["outcome"] = type(error).__name__
            if not str(error).strip():
                said |= {"outcome": "raw", "details": f"{type(error).__name__} without a message"}
        except Forbidden as error:
            said |= {"outcome": "forbidden", "details": str(error)}
        except Exception as error:
            said |= {"outcome": "raw", "details": f"{type(error).__name__}: {error}"[:500]}
        say(said)
    say({"done": True})


def say(what: dict[str, Any]) -> None:
    """Write a line of JSON to whoever watches."""
    os.write(SPOKEN, json.dumps(what).encode() + b"\n")


SPOKEN = 1
"""The descriptor of what is said; standard output goes elsewhere while attempts are made."""


@dataclass
class Found:
    """What attempts led to, added up: how many had which outcome, and the first faults of each kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    details: list[str] = field(default_factory=list)
    slowest: float = 0.0
    growth: int = 0

    def add(self, outcome: str, details: str | None = None) -> None:
        """Count an outcome; ``details`` are of a fault."""
        self.outcomes[outcome] += 1
        if details is not None and self.outcomes[outcome] <= TOLD:
            self.details.append(f"{outcome}: {details}")


FAULTS = ("raw", "forbidden", "crashed", "slow", "large")
"""Outcomes that there may not be."""


def watched(prepare: Prepare, seed: int, count: int) -> Found:
    """What ``count`` attempts lead to; after one that ends the process, the next begins in a new one.

    ``prepare``, a function of a module, is called in that process.  Attempt i draws from ``Random(f"{seed}.{i}")``.
    Raises RuntimeError if no attempt begins.
    """
    found, first = Found(), 0
    while first < count:
        first = _watch(f"{prepare.__module__}:{prepare.__name__}", seed, first, count - first, found) + 1
    return found


def _watch(target: str, seed: int, first: int, count: int, found: Found) -> int:
    """Watch one process; returns the number of the last attempt that it made."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "HOME": folder, "TMPDIR": folder, "KDB_CACHE": f"{folder}/cache"}
        environment["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/inductor"  # which its exporter makes
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", __spec__.name, target, str(seed), str(first), str(count)]
        with (
            (Path(folder) / "errors.txt").open("w+") as errors,
            subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors) as process,
        ):
            try:
                return _Watch(process, errors, found).listen()
            finally:
                process.kill()


class _Watch:
    """Listens to a process until it ends, or ends it."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[str], found: Found) -> None:
        self.process, self.errors, self.found = process, errors, found
        self.last: int | None = None
        """The last attempt that began."""
        self.done = False
        """Whether all attempts are made; how long the process takes to end is of no matter."""
        self.at_first: int | None = None
        """Bytes that the process held when it was ready."""
        self.since = time.monotonic()

    def listen(self) -> int:
        """Returns the number of the last attempt."""
        assert self.process.stdout is not None
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while True:
                if selector.select(0.2):
                    data = os.read(self.process.stdout.fileno(), 1 << 16)
                    if not data:
                        return self.ended()
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        self.hear(json.loads(line))
                if self.done:
                    return self.number()
                if fault := self.fault():
                    self.found.add(fault, str(self.last))
                    return self.number()

    def hear(self, said: dict[str, Any]) -> None:
        now = time.monotonic()
        if "ready" in said:
            self.at_first = resident(self.process.pid)
        elif "begins" in said:
            self.last = said["begins"]
        elif "done" in said:
            self.done = True
        else:
            self.found.slowest = max(self.found.slowest, round(now - self.since, 3))
            self.found.add(said["outcome"], f"{self.last}: {said['details']}" if "details" in said else None)
        self.since = now

    def fault(self) -> str | None:
        """What there is to end the process for."""
        if self.at_first is not None:
            growth = resident(self.process.pid) - self.at_first
            self.found.growth = max(self.found.growth, growth)
            if growth > BYTES:
                return "large"
        late = time.monotonic() - self.since > (STARTING if self.last is None else SECONDS)
        return "slow" if late else None

    def ended(self) -> int:
        status = self.process.wait()
        if status:
            self.found.add("crashed", f"{self.last}: status {status}")
        return self.number()

    def number(self) -> int:
        if self.last is None:
            self.errors.seek(0)
            raise RuntimeError(f"no attempt began: {self.errors.read()[-2000:]}")
        return self.last


def resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def main(target: str, seed: str, first: str, count: str) -> None:
    """The process that makes attempts, in an empty folder."""
    # What libraries print must not come between what is said here.
    global SPOKEN
    SPOKEN = os.dup(1)
    os.dup2(2, 1)
    module, _, function = target.partition(":")
    folder = Path.cwd()
    attempt = getattr(importlib.import_module(module), function)(folder)
    forbid(folder)
    attempts(attempt, int(seed), int(first), int(count))


if __name__ == "__main__":
    main(*sys.argv[1:])
