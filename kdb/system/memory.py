"""The memory that this process may still take, and what is said where there is not enough of it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from kdb.errors import ExecutionError, behind_of

MEGABYTE = 1 << 20

_TOLD = re.compile(r"can't allocate memory|not enough memory|bad_alloc|[Cc]annot allocate memory|[Oo]ut of memory")
"""How libraries say in a RuntimeError that they got no memory."""

ADVICE = "fewer positions (STRIDE, WITHIN), fewer classes, a smaller input, SET threads and SET batch_size lower it"


def available() -> int | None:
    """Bytes that this process may still take: of the machine, of its container and of its own limit; None if unknown.

    Memory that holds files alone counts as free; swap does not count.
    """
    return min((max(each, 0) for each in (*_machine(), *_containers(), *_own()) if each is not None), default=None)


def require(nbytes: int, what: str) -> None:
    """Raise ExecutionError where ``what`` takes more than is available."""
    within(nbytes, what, available(), True)


def within(nbytes: int, what: str, most: int | None, is_auto: bool) -> None:
    """Raise ExecutionError where ``what`` takes more than ``most``: what is available (``is_auto``), or was set."""
    if most is not None and nbytes > most:
        raise ExecutionError(f"{what} takes {megabytes(nbytes)}, and {allowed(most, is_auto)}; {ADVICE}")


def allowed(limit: int, is_auto: bool) -> str:
    """In words, how much there is."""
    return f"{megabytes(limit)} {'are available' if is_auto else 'is the most that SET memory_limit allows'}"


def megabytes(nbytes: int) -> str:
    """A size as settings have it, rounded up."""
    return f"{-(-nbytes // MEGABYTE):,} MB"


@contextmanager
def told() -> Iterator[None]:
    """Around a statement: memory that libraries did not get is an ExecutionError, wherever it was missing."""
    try:
        yield
    except Exception as error:
        missing = _shortage(error)
        if missing is None:
            raise
        size = _asked(missing)
        what = f"an array of {megabytes(size)}" if size else str(missing).partition("\n")[0] or "the next array"
        raise ExecutionError(f"there is not enough memory for {what}; {ADVICE}") from error


def _shortage(error: BaseException) -> BaseException | None:
    """What says that there is no memory: the error or what caused it; None where it is about something else."""

    def says(each: BaseException) -> bool:
        return isinstance(each, MemoryError) or (isinstance(each, RuntimeError) and bool(_TOLD.search(str(each))))

    return next(filter(says, behind_of(error, contexts=False)), None)


def _asked(error: BaseException) -> int | None:
    """The bytes that were asked for, where the error says so: numpy's and PyTorch's do."""
    size = getattr(error, "_total_size", None)
    found = re.search(r"allocate (\d+) bytes", str(error))
    return int(size) if size is not None else int(found[1]) if found else None


def _machine() -> Iterator[int]:
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        yield 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
        return
    with suppress(OSError, ValueError, AttributeError):  # elsewhere: what the machine has
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _containers() -> Iterator[int]:
    """What is left in each control group of Linux that this process is in, of version 2 and 1, and that limits it."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            root, files = Path("/sys/fs/cgroup"), ("memory.max", "memory.current")
            if controllers:
                root, files = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
            if controllers and "memory" not in controllers.split(","):
                continue
            own = PurePosixPath(path.lstrip("/"))
            for folder in (own, *own.parents) if own.parts else (own,):
                with suppress(OSError, ValueError):  # "max", for one
                    limit, used = (root / folder / name for name in files)
                    if (most := int(limit.read_text())) < sys.maxsize // 2:  # version 1 has no other word for "max"
                        yield most - int(used.read_text()) + _files(root / folder / "memory.stat")


def _files(statistics: Path) -> int:
    """The bytes of a group that hold files and could be freed."""
    with suppress(OSError, ValueError):
        facts = dict(line.split() for line in statistics.read_text().splitlines())
        return int(facts.get("total_inactive_file", facts.get("inactive_file", 0)))
    return 0


def _own() -> Iterator[int]:
    """What the process's own limit on its addresses leaves."""
    if sys.platform == "linux":
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            with suppress(OSError, ValueError):
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                yield limit - pages * resource.getpagesize()
