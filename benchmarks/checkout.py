"""Another checkout's kdb in a process of its own, so that two versions of the code can be asked the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

_LOOP = """
import json, os, sys
import kdb
assert os.path.realpath(kdb.__file__).startswith(os.path.realpath(os.getcwd()) + os.sep), kdb.__file__
replies, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed goes where errors go
for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), file=replies, flush=True)
"""


class Checkout:
    """A process of this interpreter in the folder ``path``, whose kdb it imports; to be used in a ``with``.

    ``script`` is Python that defines ``answer(request)``, from JSON to JSON.  It runs as text, so that the checkout
    need not have it, and had best use kdb's public interface alone.  The process has an empty cache of its own: no
    trace that another version kept, and no profile that was measured.
    """

    def __init__(self, path: str | Path, script: str) -> None:
        self.path = Path(path).resolve()
        self._cache = TemporaryDirectory(prefix="kdb-cache-")
        self._process = subprocess.Popen(
            [sys.executable, "-c", script + _LOOP],
            cwd=self.path,
            env={**os.environ, "KDB_CACHE": self._cache.name},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, request: object) -> Any:
        """What ``answer`` makes of ``request``.

        Raises:
            RuntimeError: the process ended; it has told why on stderr.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # then there is nothing to read either
        reply = self._process.stdout.readline()
        if not reply:
            raise RuntimeError(f"the process in {self.path} ended with status {self._process.wait()}")
        return json.loads(reply)

    def __enter__(self) -> Checkout:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()
        self._process.communicate()  # closes its input, which ends it
        self._cache.cleanup()
