"""The cache folder: files that save later processes time, such as traces, and that can be deleted at any time.

Files may be damaged or written by another version, so readers check what they read.  A folder that others may write is
not used at all: what they put there would pass every check that a file of kdb's own passes.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import stat
from pathlib import Path

from platformdirs import user_cache_path

from kdb.errors import printable
from kdb.system.files import write_atomically

log = logging.getLogger(__name__)

TRACES = 64 << 20
"""Most bytes of all traces: one of a usual network has tens of kibibytes, so that a thousand and more are kept."""


def folder() -> Path:
    """The environment variable ``KDB_CACHE``, or else the user's cache folder on this system; it may not exist yet.

    Where this is no possible folder, as /dev/null, nothing is cached.
    """
    if chosen := os.environ.get("KDB_CACHE"):
        return Path(os.path.expanduser(chosen))
    try:
        found = user_cache_path("kdb", appauthor=False)
    except RuntimeError:  # a process without a home, as in some containers; older platformdirs return a relative path
        return Path(os.devnull)
    return found if found.is_absolute() else Path(os.devnull)


def traces() -> Path:
    """The folder of the traces, which holds nothing else."""
    return folder() / "traces"


def read(path: Path) -> bytes | None:
    """The content of ``path``, or None if it cannot be read, or if others may write its folder."""
    try:
        if not _is_own(path.parent):
            return None
        data = path.read_bytes()
    except OSError:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # it was used now, says :func:`bound`
    return data


def write(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically, readable by the user alone.

    Does nothing if the folder is not writable, or if others may write it.  Folders are made for the user alone.
    """
    with contextlib.suppress(OSError):
        for parent in reversed((path.parent, *path.parent.parents)):
            if not parent.exists():
                parent.mkdir(mode=0o700, exist_ok=True)
        if _is_own(path.parent):
            write_atomically(path, lambda file: file.write(data), private=True)


def remove(path: Path) -> None:
    """Remove the file ``path``, if it is there and that is possible."""
    with contextlib.suppress(OSError):
        if _is_own(path.parent):
            os.unlink(path)


def bound(folder: Path, most: int) -> None:
    """Remove the JSON files of ``folder`` that were used longest ago, until the others have at most so many bytes."""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.name.endswith(".json") and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime, status.st_size, entry.path))
    size = sum(each[1] for each in found)
    for _, bytes_, path in sorted(found):
        if size <= most:
            break
        with contextlib.suppress(OSError):  # another process may have removed it
            os.unlink(path)
        size -= bytes_


def _is_own(place: Path) -> bool:
    """Whether only the user, and root, may write ``place`` and, if it is inside, the cache folder.

    Windows has other permissions, of which Python tells nothing.  Raises OSError for a folder that is not there.
    """
    if os.name != "posix":
        return True
    for each in {place, folder() if place.is_relative_to(folder()) else place}:
        status = os.stat(each)
        if status.st_uid not in (0, os.getuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            _warn(each)
            return False
    return True


@functools.cache
def _warn(place: Path) -> None:
    """Once for each folder."""
    log.warning("the cache folder %s is not used: others may write it, or own it", printable(str(place)))
