"""The cache folder: files that save later processes time, such as traces, and that can be deleted at any time.

Files may be damaged or written by another version, so readers check what they read.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from platformdirs import user_cache_path

from kdb.system.files import write_atomically


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


def read(path: Path) -> bytes | None:
    """The content of ``path``, or None if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def write(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically, readable by the user alone; do nothing if the folder is not writable."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: file.write(data), private=True)
