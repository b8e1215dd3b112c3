"""Atomic writes: readers of a file see its old content or its whole new content, and never a part.

That holds for a process that is killed and for a machine that loses power: the new content is on the disk before it
gets its name.  What a killed process leaves is a file ``.kdb-HOST-PID-RANDOM.tmp``, which a later write to the folder
removes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

OLD = 24 * 3600
"""Seconds after which a temporary file is left over, whoever wrote it."""

_TEMPORARY = re.compile(r"\.kdb-([0-9a-f]{8})-(\d{1,10})-[0-9a-f]{16}\.tmp")

_tidied: set[tuple[int, str]] = set()
"""Folders in which this process, of that id, has looked for left-over files: once is enough."""


def followed(path: str | os.PathLike[str]) -> Path:
    """``path``, or if it is a link the file that it leads to, which need not exist."""
    return Path(os.path.realpath(path) if os.path.islink(path) else path)


def write_atomically(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object], private: bool = False) -> None:
    """Let ``write`` fill a temporary file in the folder of ``path``, then rename it to ``path``.

    Where ``path`` is a link, the file it leads to is replaced and the link stays.  A file that is there keeps its mode;
    a new one has that of any new file, or is its owner's alone where ``private``.  If anything raises, the old file
    stays.  Raises OSError, also for what is no regular file and for a file that may not be written.
    """
    path = followed(path)
    mode = mode_kept(path)
    with _filled(path, write, private or mode is not None) as temporary:
        if mode is not None and not private:
            os.chmod(temporary, mode)
        os.replace(temporary, path)


def create_atomically(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """The same for a file that must not be there yet: raises FileExistsError if another process was quicker."""
    path = followed(path)
    with _filled(path, write, private=False) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links: exclusive all the same, though not atomic
            with open(path, "xb") as file:
                file.write(temporary.read_bytes())


def mode_kept(path: str | os.PathLike[str]) -> int | None:
    """The permissions that a file at ``path`` keeps when it is replaced, None if there is none yet.

    Raises OSError for what is not replaced: a folder, a device, a file that is read-only.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError("it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is no regular file")
    if not os.access(path, os.W_OK):
        raise PermissionError("the file that is there is read-only")
    return stat.S_IMODE(status.st_mode)


@contextmanager
def _filled(path: Path, write: Callable[[IO[bytes]], object], private: bool) -> Iterator[Path]:
    """A temporary file beside ``path`` with its new content, on the disk; afterwards its folder is on the disk too."""
    _tidy(path.parent)

    def opened(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600 if private else 0o666)

    temporary = path.with_name(f".kdb-{_host()}-{os.getpid()}-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb", opener=opened) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        with contextlib.suppress(OSError):  # renamed, or never made; on another error that one is told
            temporary.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the folder's names to the disk, where the system can: not Windows, nor some network file systems."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# ---- what killed processes leave


@lru_cache
def _host() -> str:
    """This machine, as far as process ids go: a container has processes of its own."""
    parts = [os.environ.get("COMPUTERNAME", "") if os.name == "nt" else os.uname().nodename]
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()[:8]


def _tidy(folder: Path) -> None:
    """Remove temporary files of processes that are gone, or that are old; once a folder and process."""
    key = os.getpid(), os.path.abspath(folder)
    if key in _tidied:
        return
    _tidied.add(key)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name)
            if found and entry.is_file(follow_symlinks=False) and _is_left(entry, found[1], int(found[2])):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def _is_left(entry: os.DirEntry[str], host: str, process: int) -> bool:
    if time.time() - entry.stat(follow_symlinks=False).st_mtime > OLD:
        return True
    return host == _host() and os.name == "posix" and not _is_alive(process)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # asks, and sends nothing; on Windows it would end the process
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True
