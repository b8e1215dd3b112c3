"""The work on one image, the same wherever it is done: evaluate, save, tell."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kdb.errors import STOPS, Cancel, DeviceError, ExecutionError, ModelError, Timeout, Unwritable, reason
from kdb.results.maps import HeatMap
from kdb.runs import rows
from kdb.runs.folder import RunFolder
from kdb.runs.images import Item
from kdb.runs.journal import Journal

Evaluate = Callable[[Item], HeatMap]
"""Makes the map of an image.  Raises an Error: of a ModelError or DeviceError no other image would fare better."""

CHANGED = "Changed"
"""The error_kind of an image whose file is another than when the run was made."""


class Worker:
    """Works on images of a run, and writes a journal of it; ``part`` is in the journal's name."""

    def __init__(self, folder: RunFolder, evaluate: Evaluate, part: str = "") -> None:
        self._folder, self._evaluate = folder, evaluate
        self._journal = Journal(folder.journals, part)
        self._node = socket.gethostname()
        self._made: set[Path] = set()

    def work(self, item: Item, accept_changed: bool = False) -> dict[str, Any]:
        """Make and save the map of an image, and return its row, which is in the journal then.

        An image that has changed fails, unless ``accept_changed``.  Whatever is wrong with the image is in the row.
        Raises Interrupted or Cancel where the work is stopped, ModelError and DeviceError where these are to blame, and
        ExecutionError where the folder cannot be written to: then no other image would fare better.
        """
        begun = time.perf_counter()
        with _writing(self._folder):
            self._journal.start(item.number)
        try:
            changed = None if accept_changed else item.changed()
            if changed is not None:
                error = ExecutionError(f"{changed}; a run is of the images as they were")
                row = rows.failed(item, error, time.perf_counter() - begun, self._node, kind=CHANGED)
            else:
                row = self._row(item, begun)
        except (KeyboardInterrupt, Cancel, ModelError, DeviceError, Unwritable):
            self.given_up(item.number)
            raise
        with _writing(self._folder):
            self._journal.row(row)
        return row

    def _row(self, item: Item, begun: float) -> dict[str, Any]:
        try:
            heat_map = self._evaluate(item)
            file = self._save(heat_map, item)
            return rows.done(item, heat_map, time.perf_counter() - begun, self._node, file)
        except (ModelError, DeviceError, Unwritable):
            raise
        except Exception as error:  # also what kdb did not foresee: the other images have no part in it
            if isinstance(error, STOPS) and not isinstance(error, Timeout):
                raise
            return rows.failed(item, error, time.perf_counter() - begun, self._node, _sha256(item))

    def _save(self, heat_map: HeatMap, item: Item) -> str:
        """Write the map in the run's formats, that which counts last; its file, relative to the run's folder."""
        file = ""
        for extension in reversed(self._folder.formats):
            file = self._folder.map_file(item.id, extension)
            path = self._folder.path / file
            with _writing(self._folder):
                if path.parent not in self._made:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self._made.add(path.parent)
                heat_map.save(path)
        return file

    def given_up(self, number: int) -> None:
        """Say that work on an image ends with this process, which is not the image's fault."""
        with suppress(OSError):
            self._journal.stopped(number)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()


@contextmanager
def _writing(folder: RunFolder) -> Iterator[None]:
    """Around writing to the run's folder: what the system refuses is told with how to go on."""
    try:
        yield
    except (OSError, Unwritable) as error:
        raise Unwritable(
            f"cannot write to the run's folder '{folder}': {reason(error)}; what is done is kept, and RESUME RUN "
            f"'{folder}' goes on"
        ) from error


def _sha256(item: Item) -> str | None:
    """Of the image's file, where it can be read."""
    if item.files is not None or not os.path.isfile(item.path):
        return None
    with suppress(OSError), open(item.path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return None
