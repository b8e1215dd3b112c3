"""Atomic writes: readers of a file see its old content or its whole new content, and never a part."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO


def write_atomically(path: Path, write: Callable[[IO[bytes]], object], private: bool = False) -> None:
    """Let ``write`` fill a temporary file in the folder of ``path``, then rename it to ``path``.

    The file has the permissions of any new file, or those of its owner alone where ``private``.  If ``write`` or the
    renaming raises, the old file stays and the temporary one is removed.  Raises OSError.
    """

    def opened(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600 if private else 0o666)

    temporary = path.with_name(f".kdb-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb", opener=opened) as file:
            write(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
