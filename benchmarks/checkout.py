"""Runs the kdb of another checkout in a process of its own, so that two versions can be compared."""

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
replies, sys.stdout = sys.stdout, sys.stderr  # anything else that is printed goes to stderr
for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), file=replies, flush=True)
"""


class Checkout:
    """A Python process in the folder ``path`` that imports the kdb found there; a context manager.

    ``script`` is Python source that defines ``answer(request)``, from JSON to JSON.  It is passed as text, as an older
    checkout may not contain it, and should use kdb's public interface only.  The process has an empty cache folder of
    its own, so that it reuses neither traces of other versions nor measured cost profiles.
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
        """The result of ``answer(request)``, both in terms of JSON.

        Raises:
            RuntimeError: the process ended; the reason is on stderr.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the process ended; readline below returns nothing
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
        self._process.communicate()  # closes its stdin, which ends it
        self._cache.cleanup()
