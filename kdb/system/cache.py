"""Files kept between processes: what can be computed again, such as traces.  Losing one costs time and nothing else.

Whoever reads one checks what is in it: files may be damaged, of another version, or not kdb's at all.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path


def folder() -> Path:
    """Where kdb keeps them: ``KDB_CACHE``, or else the system's folder for caches of this user.

    It need not exist.  With ``KDB_CACHE`` at a path that can be no folder (as /dev/null), nothing is kept.
    """
    if chosen := os.environ.get("KDB_CACHE"):
        return Path(os.path.expanduser(chosen))
    try:
        home = Path.home()
    except RuntimeError:  # a process without a user, as in some containers: nothing is kept
        return Path(os.devnull)
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "kdb"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "kdb" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "kdb"


def read(path: Path) -> bytes | None:
    """What ``path`` holds, or None where there is nothing to read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def write(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path``, whole or not at all; where that cannot be done, as in a read-only home, do nothing."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, beside = tempfile.mkstemp(prefix=path.name, dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
            os.replace(beside, path)
        except BaseException:
            os.unlink(beside)
            raise
