"""The list of a run's images, fixed when the run is made: names, paths, true classes, and the state of each file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kdb.errors import ExecutionError, reason
from kdb.queries.manifests import Truth
from kdb.queries.sources import Listed
from kdb.results.frames import import_optional
from kdb.runs import naming
from kdb.system.files import write_atomically

MISSING = -1
"""The size of a file that is not there."""
BATCH = 1 << 12
"""Images of the list that are taken into memory at once."""


@dataclass(frozen=True)
class Item:
    """One image of a run: its ``number`` in the list, from 0, its name, and its path or that of its series.

    ``files`` are those of a series; ``size`` in bytes and ``changed_ns`` were the file's when the run was made.
    """

    number: int
    id: str
    path: str
    files: tuple[str, ...] | None
    size: int
    changed_ns: int

    def changed(self) -> str | None:
        """In words, how its file is another than when the run was made; None where it is the same."""
        size, changed_ns = _state(self.path, self.files)
        if self.size == MISSING or size == MISSING or (size, changed_ns) == (self.size, self.changed_ns):
            return None  # a file that is missing is told by its reader
        what = f"has {size:,} bytes, and had {self.size:,}" if size != self.size else "was written to"
        return f"'{self.path}' {what} since the run was made"


class Images:
    """The list, which is memory-mapped: a million images take no memory of a process."""

    def __init__(self, table: Any) -> None:
        self._table = table

    @classmethod
    def of(cls, listed: Listed) -> Images:
        """The list of the files that a query names, as they are now.

        Raises BindError for two of one name.
        """
        pyarrow = import_optional("pyarrow")
        names = naming.ids(listed)
        of_files = (_state(path, listed.series.get(i)) for i, path in enumerate(listed.paths))
        states = np.fromiter(of_files, np.dtype((np.int64, 2)), len(names))
        truths = listed.truths
        whole = truths is not None and any(isinstance(each, int) for each in truths)
        kind = pyarrow.int64() if whole else pyarrow.string()
        columns = {
            "id": pyarrow.array(names, pyarrow.string()),
            "path": pyarrow.array(map(_utf8, listed.paths), pyarrow.string()),
            "truth": pyarrow.nulls(len(names), kind) if truths is None else pyarrow.array(truths, kind),
            "size": pyarrow.array(states[:, 0]),
            "changed_ns": pyarrow.array(states[:, 1]),
            "files": pyarrow.array(map(listed.series.get, range(len(names))), pyarrow.list_(pyarrow.string())),
        }
        return cls(pyarrow.table(columns))

    @classmethod
    def read(cls, path: Path) -> Images:
        """Those that :meth:`write` wrote; raises ExecutionError for a file that is missing or damaged."""
        pyarrow = import_optional("pyarrow")
        try:
            with pyarrow.memory_map(str(path)) as source:
                return cls(pyarrow.ipc.open_file(source).read_all())
        except (OSError, ValueError) as error:
            raise ExecutionError(f"cannot read the run's list of images, '{path}': {reason(error)}") from error

    def write(self, path: Path) -> None:
        """Write the list; raises OSError."""
        pyarrow = import_optional("pyarrow")

        def into(file: Any) -> None:
            with pyarrow.ipc.new_file(file, self._table.schema) as writer:
                writer.write_table(self._table, max_chunksize=1 << 16)

        write_atomically(path, into)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, number: int) -> Item:
        row = self._table.slice(number, 1).to_pylist()[0]
        files = None if row["files"] is None else tuple(row["files"])
        return Item(number, row["id"], row["path"], files, row["size"], row["changed_ns"])

    @cached_property
    def digest(self) -> str:
        """The SHA-256, in hexadecimal, of names, paths and true classes in their order."""
        sha = hashlib.sha256()
        for rows in self.batches():
            for name, path, truth in rows:
                sha.update(f"{name}\0{path}\0{truth!r}\n".encode("utf-8", "surrogatepass"))
        return sha.hexdigest()

    def batches(self) -> Iterator[list[tuple[str, str, Truth]]]:
        """(name, path, true class) of each image, so many at a time."""
        for start in range(0, len(self), BATCH):
            part = self._table.slice(start, BATCH)
            columns = [part.column(name).to_pylist() for name in ("id", "path", "truth")]
            yield list(zip(*columns, strict=True))

    @property
    def truth_type(self) -> Any:
        """The type of true classes in pyarrow."""
        return self._table.schema.field("truth").type


def _state(path: str, files: tuple[str, ...] | None) -> tuple[int, int]:
    """Bytes and the time of the last change, of all files; (MISSING, 0) where one is missing."""
    size = changed = 0
    for file in files or (path,):
        try:
            found = os.stat(file)
        except (OSError, ValueError):
            return MISSING, 0
        size, changed = size + found.st_size, max(changed, found.st_mtime_ns)
    return size, changed


def _utf8(path: str) -> str:
    """The path; raises ExecutionError for one whose bytes are no UTF-8, which no table holds."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ExecutionError(f"a run keeps paths in UTF-8, and {path!r} is none: rename the file") from None
    return path
